"""Draw a figure with plotly, for pages, and with matplotlib, for PNG files.

A figure is described once, so that both show the same numbers. Labels may contain names from other
people's studies, so plotly's tags and matplotlib's formulas (dollar signs) are escaped.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from optuna_metallmix.errors import requires
from optuna_metallmix.fork_lock import NO_FORK
from optuna_metallmix.metalearner import Floats


if TYPE_CHECKING:
    from plotly.graph_objects import Figure

INK, PAPER, GRID = "#222222", "#ffffff", "#dddddd"
"""Dark on white in every theme: optuna-dashboard (0.21) draws a stored figure as it is."""

_KEY_STEP = 0.06
"""Height of a line of the list of names, as a share of the height of the axes."""
_KEY_LINE = {
    "xref": "paper",
    "yref": "paper",
    "x": 1.03,
    "xanchor": "left",
    "yanchor": "top",
    "showarrow": False,
    "font": {"size": 11},
}


@dataclass(frozen=True)
class Axis:
    """An axis of a figure.

    Attributes:
        title: Title; empty for none.
        ticks: Labels at 0, 1, 2, ...; empty for a numeric axis.
        is_log: Whether the scale is logarithmic.
        limits: Smallest and largest value shown; ``None`` to fit the data.
    """

    title: str
    ticks: tuple[str, ...] = ()
    is_log: bool = False
    limits: tuple[float, float] | None = None

    def to_plotly(self) -> dict[str, Any]:
        """Return plotly's layout of the axis."""
        options: dict[str, Any] = {
            "title": {"text": _plotly_text(self.title)},
            "automargin": True,
            "gridcolor": GRID,
            "linecolor": INK,
            "zerolinecolor": INK,
        }
        if self.ticks:
            labels = [_plotly_text(label) for label in self.ticks]
            options |= {"tickvals": [*range(len(labels))], "ticktext": labels, "zeroline": False}
        elif self.is_log:
            options |= {"type": "log", "exponentformat": "power"}
        return options | ({"range": list(self.limits)} if self.limits else {})

    def draw(self, axes: Any, which: str) -> None:
        """Set up the axis ``which``, ``"x"`` or ``"y"``, of matplotlib's ``axes``."""
        options: dict[str, Any] = {f"{which}label": _matplotlib_text(self.title)}
        if self.is_log:
            options[f"{which}scale"] = "log"
        if self.ticks:
            labels = [_matplotlib_text(label) for label in self.ticks]
            options |= {f"{which}ticks": range(len(labels)), f"{which}ticklabels": labels}
        if self.limits:
            options[f"{which}lim"] = self.limits
        axes.set(**options)


@dataclass(frozen=True)
class Points:
    """Markers of one kind.

    Attributes:
        x, y: Positions, shape (n,).
        texts: Hover labels, shape (n,).
        color: The color of all, or a shade from 0 (low) to 1 (high) for each, shape (n,).
        size: The diameter in pixels.
        edge: The color of the outline; ``None`` for no outline.
        is_star: Whether they are stars instead of circles.
        names: Names of the first markers, shape (at most n,). Circles get numbers, and a list of
            names beside the figure: names of any length would overlap.
    """

    x: Floats
    y: Floats
    texts: tuple[str, ...]
    color: str | Floats
    size: int
    edge: str | None = None
    is_star: bool = False
    names: tuple[str, ...] = ()

    def to_plotly(self) -> dict[str, Any]:
        """Return plotly's trace of the markers."""
        marker: dict[str, Any] = {"size": self.size}
        marker |= {"symbol": "star"} if self.is_star else {}
        marker |= {"line": {"color": self.edge, "width": 1}} if self.edge else {}
        if isinstance(self.color, str):
            marker["color"] = self.color
        else:
            title = {"text": "value, low to high", "side": "right"}
            bar = {"title": title, "tickvals": [0, 1], "ticktext": ["low", "high"]}
            marker |= {"color": self.color.tolist(), "colorscale": "Viridis", "colorbar": bar}
            marker |= {"cmin": 0, "cmax": 1, "showscale": True}
        return {
            "type": "scatter",
            "mode": "markers+text" if self.numbers else "markers",
            "x": self.x.tolist(),
            "y": self.y.tolist(),
            "text": self.numbers,
            "textfont": {"color": PAPER, "size": 11},
            "hovertext": [_plotly_text(text) for text in self.texts],
            "hoverinfo": "text+x",
            "marker": marker,
        }

    def draw(self, axes: Any) -> None:
        """Draw the markers with matplotlib."""
        drawn = axes.scatter(
            self.x,
            self.y,
            c=self.color,
            s=self.size**2,
            marker="*" if self.is_star else "o",
            edgecolors=self.edge,
            zorder=3,
            **({} if isinstance(self.color, str) else {"cmap": "viridis", "vmin": 0, "vmax": 1}),
        )
        if not isinstance(self.color, str):
            bar = axes.figure.colorbar(drawn, label="value, low to high", ticks=[0, 1])
            bar.ax.set_yticklabels(["low", "high"])
        for number, x, y in zip(self.numbers, self.x, self.y, strict=False):
            axes.text(
                x, y, number, color=PAPER, fontsize=8, ha="center", va="center_baseline", zorder=4
            )

    @property
    def numbers(self) -> list[str]:
        """The numbers in the markers, shape (n_names,)."""
        return [] if self.is_star else [str(i) for i in range(1, len(self.names) + 1)]

    @property
    def key(self) -> list[str]:
        """The lines that name the markers, shape (n_names,)."""
        marks = ["★"] * len(self.names) if self.is_star else self.numbers
        return [f"{mark}  {name}" for mark, name in zip(marks, self.names, strict=True)]


@dataclass(frozen=True)
class Bars:
    """Horizontal bars, at 0, 1, 2, ... on the y axis.

    Attributes:
        starts: Start of each on the x axis, shape (n,).
        lengths: Signed lengths, shape (n,); negative bars extend to the left.
        texts: Labels at the ends of the bars, shape (n,).
        colors: Their colors, shape (n,).
    """

    starts: Floats
    lengths: Floats
    texts: tuple[str, ...]
    colors: tuple[str, ...]

    def to_plotly(self) -> dict[str, Any]:
        """Return plotly's trace of the bars."""
        return {
            "type": "bar",
            "orientation": "h",
            "base": self.starts.tolist(),
            "x": self.lengths.tolist(),
            "text": list(self.texts),
            "textposition": "outside",
            "cliponaxis": False,
            "hoverinfo": "text",
            "marker": {"color": list(self.colors)},
        }

    def draw(self, axes: Any) -> None:
        """Draw the bars with matplotlib."""
        bars = axes.barh(range(len(self.texts)), self.lengths, left=self.starts, color=self.colors)
        axes.bar_label(bars, self.texts, padding=3)


@dataclass(frozen=True)
class Heatmap:
    """A grid of colored cells.

    Attributes:
        x, y: The centers of the columns, shape (n,), and of the rows, shape (m,).
        values: The values, shape (m, n).
        title: Label of the color bar.
    """

    x: Floats
    y: Floats
    values: Floats
    title: str

    def to_plotly(self) -> dict[str, Any]:
        """Return plotly's trace of the cells."""
        return {
            "type": "heatmap",
            "x": self.x.tolist(),
            "y": self.y.tolist(),
            "z": self.values.tolist(),
            "colorscale": "Cividis",
            "colorbar": {"title": {"text": self.title, "side": "right"}},
        }

    def draw(self, axes: Any) -> None:
        """Draw the cells with matplotlib."""
        x, y = _edges(self.x, axes.get_xscale()), _edges(self.y, axes.get_yscale())
        mesh = axes.pcolormesh(x, y, self.values, cmap="cividis")
        axes.figure.colorbar(mesh, label=self.title)


def _edges(centers: Floats, scale: str) -> Floats:
    """Return the edges of cells; matplotlib infers those of several on a linear axis only."""
    points = np.log(centers) if scale == "log" else centers
    steps = np.pad(np.diff(points), 1, mode="edge") / 2 if len(points) > 1 else np.full(2, 0.5)
    edges = np.append(points - steps[:-1], points[-1] + steps[-1])
    return np.exp(edges) if scale == "log" else edges


@dataclass(frozen=True)
class FigureSpec:
    """A figure, independent of the library that draws it.

    Attributes:
        name: ``"effects"``, ``"suggestion"``, ``"dependence"`` or ``"studies"``.
        title: The title.
        x, y: The axes.
        layers: Layers, from back to front.
        is_equal: Whether both axes have the same scale.
    """

    name: str
    title: str
    x: Axis
    y: Axis
    layers: tuple[Points | Bars | Heatmap, ...]
    is_equal: bool = False

    def to_plotly(self) -> Figure:
        """Draw the figure with plotly.

        Raises:
            MetaLLMiXError: plotly is not installed.
        """
        with requires("plotly", failure="The figures cannot be drawn"):
            from plotly.graph_objects import Figure

        title = {"text": _plotly_text(self.title), "font": {"size": 15}}
        layout: dict[str, Any] = {
            "title": {**title, "y": 0.91, "yanchor": "top"},  # below plotly's buttons
            "xaxis": self.x.to_plotly(),
            "yaxis": self.y.to_plotly() | ({"scaleanchor": "x"} if self.is_equal else {}),
            "showlegend": False,
            "paper_bgcolor": PAPER,
            "plot_bgcolor": PAPER,
            "font": {"color": INK},
            "margin": {"l": 10, "r": 10, "t": 75, "b": 10},
        }
        if key := self.key:
            layout["annotations"] = [
                {**_KEY_LINE, "y": 1 - _KEY_STEP * i, "text": _plotly_text(line)}
                for i, line in enumerate(key)
            ]
            layout["margin"]["r"] = 20 + 7 * max(map(len, key))
        with NO_FORK:  # plotly imports some of its modules when they are used
            figure = Figure(data=[layer.to_plotly() for layer in self.layers], layout=layout)
        figure.layout.template = None  # it would be most of the figure's size
        return figure

    @property
    def key(self) -> list[str]:
        """The lines of the list of named markers."""
        return [line for layer in self.layers if isinstance(layer, Points) for line in layer.key]

    def to_png(self) -> bytes:
        """Draw the figure with matplotlib, and return the content of a PNG file.

        pyplot is not used, because its backend and current figure are the user's.

        Raises:
            MetaLLMiXError: matplotlib is not installed.
        """
        with requires("matplotlib", failure="The pictures cannot be drawn"):
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure

        file = BytesIO()
        # Threads share matplotlib's caches of fonts and formulas.
        with NO_FORK, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # the font lacks many scripts
            figure = Figure(figsize=(8, 5), facecolor=PAPER)
            self._draw(figure.add_subplot(axisbelow=True))
            FigureCanvasAgg(figure).print_figure(file, format="png", dpi=110, bbox_inches="tight")
        return file.getvalue()

    def _draw(self, axes: Any) -> None:
        axes.grid(color=GRID)
        self.x.draw(axes, "x")
        self.y.draw(axes, "y")
        for layer in self.layers:
            layer.draw(axes)
        for i, line in enumerate(self.key):
            axes.text(
                1.03, 1 - _KEY_STEP * i, _matplotlib_text(line), transform=axes.transAxes, va="top"
            )
        low, high = axes.get_xlim()
        if low < 0 < high and not self.x.ticks:
            axes.axvline(0, color=INK, linewidth=1, zorder=0.8)  # below the layers
        if self.is_equal:
            axes.set_aspect("equal", adjustable="datalim")
            axes.margins(0.15)


def _plotly_text(text: str) -> str:
    return escape(text, quote=False)


def _matplotlib_text(text: str) -> str:
    return text.replace("$", r"\$")

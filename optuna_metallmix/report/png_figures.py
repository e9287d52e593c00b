"""Draw a suggestion's figures as PNG files with matplotlib, for notes, pages and folders."""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np

from optuna_metallmix.metalearner import Floats
from optuna_metallmix.report.figures import GRID
from optuna_metallmix.report.figures import INK
from optuna_metallmix.report.figures import PAPER
from optuna_metallmix.report.figures import Axis
from optuna_metallmix.report.figures import Bars
from optuna_metallmix.report.figures import FigureSpec
from optuna_metallmix.report.figures import Heatmap
from optuna_metallmix.report.figures import Layer
from optuna_metallmix.report.figures import PictureError
from optuna_metallmix.report.figures import Points
from optuna_metallmix.report.figures import describe_figures
from optuna_metallmix.suggestion import Suggestion


_LOCK = threading.Lock()
"""matplotlib's caches of fonts and formulas are shared by all threads."""


@dataclass(frozen=True)
class Picture:
    """A figure as a PNG file.

    Attributes:
        name: The file's name without its ending.
        title: The figure's title.
        png: The content of the file.
    """

    name: str
    title: str
    png: bytes


def draw_pictures(suggestion: Suggestion) -> tuple[Picture, ...]:
    """Draw the figures of a suggestion, as many as its past allows.

    Raises:
        PictureError: matplotlib is not installed.
    """
    specs = describe_figures(suggestion)
    try:
        with _LOCK:
            return tuple(Picture(spec.name, spec.title, draw_png(spec)) for spec in specs)
    except ImportError as error:
        raise PictureError(
            f"The pictures were not drawn, because matplotlib cannot be imported ({error}). "
            'Run: pip install "optuna-metallmix[shap]"'
        ) from error


def draw_png(spec: FigureSpec) -> bytes:
    """Draw a figure without pyplot, whose backend and current figure are the user's."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), facecolor=PAPER)
    axes = figure.add_subplot(axisbelow=True)
    axes.grid(color=GRID)
    for which, axis in (("x", spec.x), ("y", spec.y)):
        _draw_axis(axes, which, axis)
    for layer in spec.layers:
        _draw_layer(axes, layer)
    low, high = axes.get_xlim()
    if low < 0 < high and not spec.x.ticks:
        axes.axvline(0, color=INK, linewidth=1, zorder=0.8)  # below the layers
    if spec.is_equal:
        axes.set_aspect("equal", adjustable="datalim")
        axes.margins(0.15)
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the font lacks many scripts
        FigureCanvasAgg(figure).print_figure(file, format="png", dpi=110, bbox_inches="tight")
    return file.getvalue()


def _draw_axis(axes: Any, which: str, axis: Axis) -> None:
    options: dict[str, Any] = {f"{which}label": _text(axis.title)}
    if axis.is_log:
        options[f"{which}scale"] = "log"
    if axis.ticks:
        labels = [_text(label) for label in axis.ticks]
        options |= {f"{which}ticks": range(len(labels)), f"{which}ticklabels": labels}
    if axis.limits:
        options[f"{which}lim"] = axis.limits
    axes.set(**options)


def _draw_layer(axes: Any, layer: Layer) -> None:
    if isinstance(layer, Heatmap):
        x, y = _edges(layer.x, axes.get_xscale()), _edges(layer.y, axes.get_yscale())
        mesh = axes.pcolormesh(x, y, layer.values, cmap="cividis")
        axes.figure.colorbar(mesh, label=layer.title)
    elif isinstance(layer, Bars):
        bars = axes.barh(
            range(len(layer.texts)), layer.lengths, left=layer.starts, color=layer.colors
        )
        axes.bar_label(bars, layer.texts, padding=3)
    else:
        _draw_points(axes, layer)


def _edges(centers: Floats, scale: str) -> Floats:
    """Return the edges of cells; matplotlib finds those of several cells on a linear axis only."""
    places = np.log(centers) if scale == "log" else centers
    steps = np.pad(np.diff(places), 1, mode="edge") / 2 if len(places) > 1 else np.full(2, 0.5)
    edges = np.append(places - steps[:-1], places[-1] + steps[-1])
    return np.exp(edges) if scale == "log" else edges


def _draw_points(axes: Any, layer: Points) -> None:
    has_shades = not isinstance(layer.color, str)
    shading = {"cmap": "viridis", "vmin": 0, "vmax": 1} if has_shades else {}
    drawn = axes.scatter(
        layer.x,
        layer.y,
        c=layer.color,
        s=layer.size**2,
        marker="*" if layer.is_star else "o",
        edgecolors=layer.edge,
        zorder=3,
        **shading,
    )
    if has_shades:
        bar = axes.figure.colorbar(drawn, label="value, low to high", ticks=[0, 1])
        bar.ax.set_yticklabels(["low", "high"])
    side = 1 if layer.is_star else -1
    options: dict[str, Any] = {"xytext": (0, side * (layer.size / 2 + 1))}
    options |= {
        "textcoords": "offset points",
        "ha": "center",
        "va": "bottom" if layer.is_star else "top",
        "color": INK,
    }
    for name, x, y in zip(layer.names, layer.x, layer.y, strict=False):
        axes.annotate(_text(name), (x, y), **options)


def _text(text: str) -> str:
    """Show a name or choice as it is: matplotlib typesets what is between dollar signs."""
    return text.replace("$", r"\$")

"""best values over trials and seconds -> a plotly figure that light and dark pages can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from optuna_metallmix._errors import MetaLLMiXError


if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, told apart by colour-blind people too (https://jfly.uni-koeln.de/color/), those
first that stand out on white as on black. Dashes tell the same once more."""
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_GREY = "#808080"
"""Of words and axes: as far from white as from black."""


@dataclass(frozen=True)
class Line:
    """One side in one panel; all in the units of the axes.

    Attributes:
        side: Its name.
        x: (k,) trials or seconds, ascending.
        y: (k,) the median from there on.
        band: The interval from there on: x, lower and upper end; empty where there is none.
    """

    side: str
    x: Sequence[float]
    y: Sequence[float]
    band: Sequence[tuple[float, float, float]] = ()


def draw(title: str, value_axis: str, panels: Sequence[tuple[str, Sequence[Line]]]) -> Figure:
    """Draw panels beside each other, the same side in the same colour.

    Args:
        title: The figure's.
        value_axis: What the values are, with unit or direction.
        panels: By the name of its axis with unit, the lines of each.

    Raises:
        MetaLLMiXError: plotly is not installed.
    """
    try:
        from plotly.subplots import make_subplots
    except ImportError as error:
        raise MetaLLMiXError(
            'There is no figure, because plotly is not installed: pip install "plotly>=5.20".'
        ) from error
    figure = make_subplots(cols=len(panels), shared_yaxes=True, horizontal_spacing=0.06)
    for column, (axis, lines) in enumerate(panels, start=1):
        for place, line in enumerate(lines):
            for trace in _traces(line, place, in_legend=column == 1):
                figure.add_trace(trace, row=1, col=column)
        figure.update_xaxes(title_text=axis, row=1, col=column)
    figure.update_yaxes(title_text=value_axis, row=1, col=1)
    return _styled(figure, title)


def _traces(line: Line, place: int, *, in_legend: bool) -> list[dict[str, Any]]:
    colour = _COLOURS[place % len(_COLOURS)]
    common = {"type": "scatter", "mode": "lines", "legendgroup": line.side, "line_shape": "hv"}
    edge = {**common, "line_width": 0, "showlegend": False, "hoverinfo": "skip"}
    traces: list[dict[str, Any]] = []
    if line.band:
        x, low, high = (list(column) for column in zip(*line.band, strict=True))
        fill = {"fill": "tonexty", "fillcolor": _pale(colour)}
        traces = [{**edge, "x": x, "y": low}, {**edge, "x": x, "y": high, **fill}]
    dash = _DASHES[place % len(_DASHES)]
    style = {"line_color": colour, "line_dash": dash, "line_width": 2.5, "showlegend": in_legend}
    return [*traces, {**common, **style, "name": line.side, "x": list(line.x), "y": list(line.y)}]


def _pale(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.2)"


def _styled(figure: Figure, title: str) -> Figure:
    """See-through, so that the page's own background, light or dark, is the figure's."""
    clear = "rgba(0, 0, 0, 0)"
    axis = {"gridcolor": "rgba(128, 128, 128, 0.25)", "zeroline": False, "linecolor": _GREY}
    figure.update_xaxes(rangemode="tozero", **axis)
    figure.update_yaxes(**axis)
    return figure.update_layout(
        template="none",
        title_text=title,
        font_color=_GREY,
        paper_bgcolor=clear,
        plot_bgcolor=clear,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )

"""Draw a suggestion's figures with plotly, for optuna-dashboard's page and for HTML files."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from typing import Any

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


if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def interactive_figures(suggestion: Suggestion) -> dict[str, Figure]:
    """Return the figures of a suggestion by id, as many as its past allows.

    Raises:
        PictureError: plotly is not installed.
    """
    specs = describe_figures(suggestion)
    try:
        return {f"metallmix-{spec.name}": _figure(spec) for spec in specs}
    except ImportError as error:
        raise PictureError(
            f"The figures were not drawn, because plotly cannot be imported ({error}). "
            'Run: pip install "optuna-metallmix[dashboard]"'
        ) from error


def _figure(spec: FigureSpec) -> Figure:
    from plotly.graph_objects import Figure

    layout = {
        # Below the buttons that plotly lays over the top.
        "title": {"text": _text(spec.title), "font": {"size": 15}, "y": 0.91, "yanchor": "top"},
        "xaxis": _axis(spec.x),
        "yaxis": _axis(spec.y) | ({"scaleanchor": "x"} if spec.is_equal else {}),
        "showlegend": False,
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "font": {"color": INK},
        "margin": {"l": 10, "r": 10, "t": 75, "b": 10},
    }
    figure = Figure(data=[_trace(layer) for layer in spec.layers], layout=layout)
    figure.layout.template = None  # it would be most of the figure's size
    return figure


def _axis(axis: Axis) -> dict[str, Any]:
    options: dict[str, Any] = {
        "title": {"text": _text(axis.title)},
        "automargin": True,
        "gridcolor": GRID,
        "linecolor": INK,
        "zerolinecolor": INK,
    }
    if axis.ticks:
        labels = [_text(label) for label in axis.ticks]
        options |= {"tickvals": list(range(len(labels))), "ticktext": labels, "zeroline": False}
    elif axis.is_log:
        options |= {"type": "log", "exponentformat": "power"}
    return options | ({"range": list(axis.limits)} if axis.limits else {})


def _trace(layer: Layer) -> dict[str, Any]:
    if isinstance(layer, Heatmap):
        return _heatmap(layer)
    return _bars(layer) if isinstance(layer, Bars) else _points(layer)


def _heatmap(layer: Heatmap) -> dict[str, Any]:
    return {
        "type": "heatmap",
        "x": layer.x.tolist(),
        "y": layer.y.tolist(),
        "z": layer.values.tolist(),
        "colorscale": "Cividis",
        "colorbar": {"title": {"text": layer.title, "side": "right"}},
    }


def _bars(layer: Bars) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "base": layer.starts.tolist(),
        "x": layer.lengths.tolist(),
        "text": list(layer.texts),
        "hoverinfo": "text",
        "marker": {"color": list(layer.colors)},
    }


def _points(layer: Points) -> dict[str, Any]:
    marker: dict[str, Any] = {"size": layer.size}
    marker |= {"symbol": "star"} if layer.is_star else {}
    marker |= {"line": {"color": layer.edge, "width": 1}} if layer.edge else {}
    if isinstance(layer.color, str):
        marker["color"] = layer.color
    else:
        title = {"text": "value, low to high", "side": "right"}
        bar = {"title": title, "tickvals": [0, 1], "ticktext": ["low", "high"]}
        marker |= {"color": layer.color.tolist(), "colorscale": "Viridis", "colorbar": bar}
        marker |= {"cmin": 0, "cmax": 1, "showscale": True}
    return {
        "type": "scatter",
        "mode": "markers+text" if layer.names else "markers",
        "x": layer.x.tolist(),
        "y": layer.y.tolist(),
        "text": [_text(name) for name in layer.names],
        "textposition": "top center" if layer.is_star else "bottom center",
        "hovertext": [_text(text) for text in layer.texts],
        "hoverinfo": "text+x",
        "marker": marker,
    }


def _text(text: str) -> str:
    """Show a name or choice as it is: plotly interprets tags."""
    return escape(text, quote=False)

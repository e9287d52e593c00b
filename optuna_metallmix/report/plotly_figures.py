"""figures' numbers -> plotly figures, for the dashboard's page and for files.

Colours are told apart by everyone: cividis, viridis where grey stands for what is not active, and
blue and vermilion of Okabe and Ito (2008), never without a sign beside. The ground is white and
the writing dark whatever the theme around: the dashboard (0.21) draws a stored figure as it is.
No template, which would be most of its size.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from optuna_metallmix.report.figures import EFFECT_AXIS
from optuna_metallmix.report.figures import SCORE_AXIS
from optuna_metallmix.report.figures import Axis
from optuna_metallmix.report.figures import Dependence
from optuna_metallmix.report.figures import StudyMap
from optuna_metallmix.report.figures import Swarm
from optuna_metallmix.report.figures import Waterfall
from optuna_metallmix.report.figures import dependence
from optuna_metallmix.report.figures import study_map
from optuna_metallmix.report.figures import swarm
from optuna_metallmix.report.figures import waterfall
from optuna_metallmix.suggestion import Suggestion
from optuna_metallmix.text import sanitize


if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#777777"
_INK, _PAPER, _LINES = "#222222", "#ffffff", "#dddddd"
_MAX_NAME = 40
_JITTER = 0.6180339887  # the golden section: neighbours fall apart, and again the same way


def interactive_figures(suggestion: Suggestion) -> dict[str, Figure]:
    """Return the figures of a suggestion by id, as many as its past allows; see the README.

    Raises:
        ImportError: plotly is not installed.
    """
    drawn: dict[str, Figure] = {}
    if suggestion.explanation is not None and suggestion.explanation.configs:
        drawn["metallmix-effects"] = _swarm(swarm(suggestion.explanation))
    if (steps := waterfall(suggestion)) is not None:
        drawn["metallmix-suggestion"] = _waterfall(steps)
    if (grid := dependence(suggestion)) is not None:
        drawn["metallmix-dependence"] = _dependence(grid)
    if (places := study_map(suggestion)) is not None:
        drawn["metallmix-studies"] = _map(places)
    return drawn


def _swarm(data: Swarm) -> Figure:
    n, k = data.effects.shape
    rows = np.broadcast_to(np.arange(k)[::-1], (n, k))
    spread = (np.arange(n)[:, None] * _JITTER % 1 - 0.5) * 0.6
    active = ~np.isnan(data.shades)
    traces = []
    for mask, colour in ((~active, GREY), (active, None)):
        marker: dict[str, Any] = {"size": 5, "color": colour}
        if colour is None:
            marker |= {"color": data.shades[mask].round(2).tolist(), **_bar("value, low to high")}
        traces.append(
            _points(
                data.effects[mask].round(4).tolist(),
                (rows + spread)[mask].round(2).tolist(),
                [_text(str(one)) for one in data.labels[mask]],
                marker,
            )
        )
    names = [_text(one) for one in data.names]
    ticks = {"tickvals": list(range(k))[::-1], "ticktext": names, "zeroline": False}
    return _figure(traces, "What the past's values did to the score", EFFECT_AXIS, "", y=ticks)


def _waterfall(data: Waterfall) -> Figure:
    effects = [effect for _, effect in data.steps]
    places = list(range(len(effects) + 2))[::-1]
    names = ["average of the past", *(_text(name) for name, _ in data.steps), "suggestion"]
    trace = {
        "type": "waterfall",
        "orientation": "h",
        "measure": ["absolute", *["relative"] * len(effects), "total"],
        "x": [data.base, *effects, data.predicted],
        "y": places,
        "text": [f"{data.base:.3f}", *(f"{one:+.3f}" for one in effects), f"{data.predicted:.3f}"],
        "increasing": {"marker": {"color": BLUE}},
        "decreasing": {"marker": {"color": VERMILION}},
        "totals": {"marker": {"color": GREY}},
    }
    ticks = {"tickvals": places, "ticktext": names}
    title = "From the average of the past to the suggestion"
    return _figure([trace], title, SCORE_AXIS, "", x={"range": _room(data)}, y=ticks)


def _room(data: Waterfall) -> list[float]:
    """Return an axis with room for the numbers beside the bars."""
    ends = [0.0, *np.cumsum([data.base, *(effect for _, effect in data.steps)]).tolist()]
    width = max(max(ends) - min(ends), 0.1)
    return [min(ends) - 0.15 * width * (min(ends) < 0), max(ends) + 0.15 * width]


def _dependence(data: Dependence) -> Figure:
    x, y = data.x, data.y
    heat = {
        "type": "heatmap",
        "x": _places(x),
        "y": _places(y),
        "z": data.scores.round(4).tolist(),
        "colorscale": "Cividis",
        "colorbar": {"title": {"text": SCORE_AXIS, "side": "right"}},
    }
    names, xs, ys = zip(*data.bests, strict=True) if data.bests else ((), (), ())
    best = {"size": 8, "color": _PAPER, "line": {"color": _INK, "width": 1}}
    here = {
        "size": 16,
        "symbol": "star",
        "color": VERMILION,
        "line": {"color": _PAPER, "width": 1},
    }
    traces = [
        heat,
        _points(list(xs), list(ys), [f"best of {_text(one)}" for one in names], best),
        _points([data.suggested[0]], [data.suggested[1]], ["suggestion"], here),
    ]
    title = "Partial dependence: suggestion (star), bests of past studies (dots)"
    return _figure(traces, title, _text(x.name), _text(y.name), x=_scale(x), y=_scale(y))


def _map(data: StudyMap) -> Figure:
    names = [_text(one) for one in data.names]
    colours = [VERMILION if data.has_target and i == 0 else BLUE for i in range(len(names))]
    marker = {
        "color": colours,
        "symbol": ["star" if one == VERMILION else "circle" for one in colours],
        "size": [16 if one == VERMILION else 10 for one in colours],
    }
    told = [
        f"{name}, {n} trials" if n else name for name, n in zip(names, data.n_trials, strict=True)
    ]
    points = _points(data.x.round(4).tolist(), data.y.round(4).tolist(), told, marker)
    if len(names) <= 15:
        points |= {"mode": "markers+text", "text": names, "textposition": "top center"}
        points |= {"hovertext": told}
    more = f", {data.n_more} more left out" if data.n_more else ""
    title = f"Past studies: near is alike{more}"
    return _figure([points], title, f"distance ({data.unit})", "", y={"scaleanchor": "x"})


def _figure(
    traces: list[dict[str, Any]], title: str, x_title: str, y_title: str, **axes: dict[str, Any]
) -> Figure:
    from plotly.graph_objects import Figure

    common = {"automargin": True, "gridcolor": _LINES, "linecolor": _INK, "zerolinecolor": _INK}
    layout = {
        # Below the buttons that plotly lays over the top.
        "title": {"text": title, "font": {"size": 15}, "y": 0.91, "yanchor": "top"},
        "xaxis": {**common, "title": {"text": x_title}, **axes.get("x", {})},
        "yaxis": {**common, "title": {"text": y_title}, **axes.get("y", {})},
        "showlegend": False,
        "paper_bgcolor": _PAPER,
        "plot_bgcolor": _PAPER,
        "font": {"color": _INK},
        "margin": {"l": 10, "r": 10, "t": 75, "b": 10},
    }
    figure = Figure(data=traces, layout=layout)
    figure.layout.template = None
    return figure


def _points(
    x: list[float], y: list[float], text: list[str], marker: dict[str, Any]
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": x,
        "y": y,
        "text": text,
        "hoverinfo": "text+x",
        "marker": marker,
    }


def _bar(title: str) -> dict[str, Any]:
    bar = {
        "title": {"text": title, "side": "right"},
        "tickvals": [0, 1],
        "ticktext": ["low", "high"],
    }
    return {"colorscale": "Viridis", "cmin": 0, "cmax": 1, "showscale": True, "colorbar": bar}


def _places(axis: Axis) -> list[float]:
    if axis.is_number:
        return [float(one) for one in axis.values]
    return [float(i) for i in range(len(axis.values))]


def _scale(axis: Axis) -> dict[str, Any]:
    if axis.is_number:
        return {"type": "log" if axis.is_log else "linear", "exponentformat": "power"}
    return {"tickvals": _places(axis), "ticktext": [_text(one) for one in axis.labels]}


def _text(text: str) -> str:
    """Show other people's text as text: plotly reads tags in it."""
    return escape(sanitize(text, _MAX_NAME), quote=False)

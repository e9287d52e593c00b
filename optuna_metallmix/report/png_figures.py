"""suggestion -> pictures as PNG: shap's own plots, partial dependence, the map of past studies.

matplotlib's Agg draws them, wherever the process runs and whatever the person's own backend is.
White ground, so that they can be read in a dark theme; colours as in ``_interactive.py``.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from optuna_metallmix.errors import MetaLLMiXError
from optuna_metallmix.report.figures import EFFECT_AXIS
from optuna_metallmix.report.figures import MAX_PARAMETERS
from optuna_metallmix.report.figures import SCORE_AXIS
from optuna_metallmix.report.figures import Axis
from optuna_metallmix.report.figures import Dependence
from optuna_metallmix.report.figures import StudyMap
from optuna_metallmix.report.figures import dependence
from optuna_metallmix.report.figures import study_map
from optuna_metallmix.report.plotly_figures import BLUE
from optuna_metallmix.report.plotly_figures import GREY
from optuna_metallmix.report.plotly_figures import VERMILION
from optuna_metallmix.suggestion import Suggestion
from optuna_metallmix.text import sanitize


if TYPE_CHECKING:
    import shap
    from matplotlib.figure import Figure

_LOCK = threading.Lock()
"""shap draws on pyplot's current figure, of which a process has one."""
_MAX_NAME = 40


class PictureError(MetaLLMiXError):
    """A picture could not be drawn; the message says which package is missing or what it said."""


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: What its file is called, without the ending.
        title: What it shows.
        png: The picture.
    """

    name: str
    title: str
    png: bytes


def draw_pictures(suggestion: Suggestion) -> tuple[Picture, ...]:
    """Draw what the past of a suggestion allows; nothing without a past.

    Raises:
        PictureError: shap or matplotlib is not installed, or raised.
    """
    try:
        return tuple(_drawn(suggestion))
    except ImportError as error:
        raise PictureError(
            f"The pictures were not drawn, because {error.name or error} is not installed: "
            'pip install "optuna-metallmix[shap]".'
        ) from error


def _drawn(suggestion: Suggestion) -> Iterator[Picture]:
    if suggestion.explanation is None:
        return
    if len(suggestion.explanation.configs):
        past = suggestion.explanation.shap_values
        yield Picture("effects", "What the past's values did to the score", _by_shap(_swarm, past))
    if (own := suggestion.shap_values) is not None:
        title = "From the average of the past to the suggestion"
        yield Picture("suggestion", title, _by_shap(_waterfall, own))
    if (grid := dependence(suggestion)) is not None:
        title = "Partial dependence: suggestion (star), bests of past studies (dots)"
        yield Picture("dependence", title, _dependence(grid))
    if (places := study_map(suggestion)) is not None:
        yield Picture("studies", "Past studies: near is alike", _map(places))


def _by_shap(draw: Callable[[shap.Explanation], None], values: shap.Explanation) -> bytes:
    values.feature_names = [_text(one) for one in values.feature_names]
    values.display_data = np.vectorize(_text, otypes=[object])(values.display_data)
    try:
        with _on_agg() as figure:
            draw(values)
            return _png(figure)
    except ImportError:
        raise
    except Exception as error:  # Other people's code: a picture is not worth a training.
        raise PictureError(
            f"A picture was not drawn, because shap raised {type(error).__name__} ({error}): "
            "pip install --upgrade shap matplotlib."
        ) from error


def _swarm(values: shap.Explanation) -> None:
    import shap
    from matplotlib import colormaps
    from matplotlib import pyplot

    colours = colormaps["viridis"]
    shap.plots.beeswarm(values, max_display=MAX_PARAMETERS, color=colours, show=False)
    pyplot.gca().set_xlabel(EFFECT_AXIS)


def _waterfall(values: shap.Explanation) -> None:
    import shap
    from matplotlib import pyplot

    shap.plots.waterfall(values, max_display=MAX_PARAMETERS + 1, show=False)
    pyplot.gcf().axes[0].set_xlabel(SCORE_AXIS, labelpad=24)  # the others stand on top of it


def _dependence(data: Dependence) -> bytes:
    figure, axes = _canvas()
    mesh = axes.pcolormesh(
        _places(data.x), _places(data.y), data.scores, cmap="cividis", shading="nearest"
    )
    figure.colorbar(mesh, label=SCORE_AXIS)
    for _, x, y in data.bests:
        axes.plot(x, y, "o", color="white", markeredgecolor="black")
    axes.plot(*data.suggested, "*", color=VERMILION, markeredgecolor="white", markersize=18)
    for axis, drawn, name in ((data.x, axes.xaxis, "x"), (data.y, axes.yaxis, "y")):
        getattr(axes, f"set_{name}label")(_text(axis.name))
        if axis.is_log:
            getattr(axes, f"set_{name}scale")("log")
        if not axis.is_number:
            drawn.set_ticks(_places(axis), [_text(one) for one in axis.labels])
    return _png(figure)


def _map(data: StudyMap) -> bytes:
    figure, axes = _canvas()
    first = int(data.has_target)
    axes.scatter(data.x[first:], data.y[first:], color=BLUE)
    axes.scatter(data.x[:first], data.y[:first], color=VERMILION, marker="*", s=250)
    for name, x, y in list(zip(data.names, data.x, data.y, strict=True))[:20]:
        axes.annotate(_text(name), (x, y), xytext=(4, 4), textcoords="offset points")
    axes.set_xlabel(f"distance ({data.unit})")
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(color=GREY, alpha=0.2)
    return _png(figure)


def _canvas() -> tuple[Figure, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5))
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


@contextmanager
def _on_agg() -> Iterator[Figure]:
    """Give pyplot a figure of Agg, and the person's backend and switches back afterwards."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # shap's own use of NumPy and matplotlib
        import matplotlib
        from matplotlib import pyplot

        backend = matplotlib.get_backend()
        was_interactive = pyplot.isinteractive()
        pyplot.switch_backend("agg")
        figure = pyplot.figure()
        try:
            yield figure
        finally:
            pyplot.close(figure)
            if backend.lower() != "agg":
                pyplot.switch_backend(backend)
            matplotlib.interactive(was_interactive)


def _png(figure: Figure) -> bytes:
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name may have letters that the font has not
        figure.savefig(file, format="png", dpi=110, bbox_inches="tight", facecolor="white")
    return file.getvalue()


def _places(axis: Axis) -> list[float]:
    if axis.is_number:
        return [float(one) for one in axis.values]
    return [float(i) for i in range(len(axis.values))]


def _text(text: str) -> str:
    """Show other people's text as text: matplotlib reads formulas in it."""
    return sanitize(text, _MAX_NAME).replace("$", r"\$")

"""best values and savings -> tables, as Markdown, HTML and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeAlias

from optuna_metallmix.errors import MetaLLMiXError
from optuna_metallmix.text import format_number
from optuna_metallmix.text import markdown_table


if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_DIGITS = 5
"""Searches that end close to each other differ in the fourth."""


@dataclass(frozen=True)
class BestAfter:
    """The best value of one side after so many trials.

    Attributes:
        side: Its name.
        n_trials: After how many.
        value: The median over its studies, in the objective's own unit; ``None`` where there was
            none yet.
        between: The bootstrap interval of that; ``None`` with one study, or where a sample has
            no value.
    """

    side: str
    n_trials: int
    value: float | None
    between: Interval | None


@dataclass(frozen=True)
class Table:
    """A table of texts under a title."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_markdown(self) -> str:
        """Write it as optuna-dashboard, GitHub and a terminal show it."""
        return f"### {self.title}\n\n{markdown_table(self.head, self.rows)}"

    def to_html(self) -> str:
        """Write it as a notebook and a browser show it."""
        head = "".join(f"<th>{escape(cell)}</th>" for cell in self.head)
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n"
            for row in self.rows
        )
        return (
            f"<h3>{escape(self.title)}</h3>\n<table>\n<thead><tr>{head}</tr></thead>\n"
            f"<tbody>\n{rows}</tbody>\n</table>"
        )


def best_table(best: Sequence[BestAfter], sides: Sequence[str], title: str) -> Table:
    """Write the best values after n trials, a column a side."""
    cells = {(one.n_trials, one.side): _best(one) for one in best}
    numbers = sorted({one.n_trials for one in best})
    rows = tuple((str(n), *(cells.get((n, side), "") for side in sides)) for n in numbers)
    return Table(title, ("after trials", *sides), rows)


def saving_table(found: Sequence[Saving]) -> Table:
    """Write what is saved, a row a pair of sides."""
    head = ("to be as good as", "at its best", "took", "takes", "trials saved", "seconds saved")
    return Table("Saved at equal quality", head, tuple(map(_saving, found)))


def to_csv(best: Iterable[BestAfter], found: Iterable[Saving]) -> str:
    """Write all numbers, one a line; never is ``inf``, what is not known is empty."""
    rows: list[tuple[object, ...]] = [
        ("measure", "side", "compared_with", "after_trials", "value", "low", "high")
    ]
    for one in best:
        rows += [("best value", one.side, "", one.n_trials, one.value, *(one.between or ("", "")))]
    for each in found:
        names = (each.side, each.bar, each.bar_trials)
        rows += [
            ("trials to be as good", *names, each.trials, "", ""),
            ("trials saved", *names, each.trials_saved, *(each.trials_between or ("", ""))),
            ("seconds saved", *names, each.seconds_saved, *(each.seconds_between or ("", ""))),
        ]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        ["" if cell is None or cell != cell else cell for cell in row] for row in rows
    )
    return text.getvalue()


def _best(one: BestAfter) -> str:
    if one.value is None:
        return "none yet"
    return _shown(one.value) + _between(one.between)


def _saving(one: Saving) -> tuple[str, ...]:
    if math.isinf(one.trials):
        takes = f"{one.side}: never in {one.n_trials}"
    else:
        takes = f"{one.side}: {_trials(one.trials)}"
    return (
        one.bar,
        _shown(one.value),
        _trials(one.bar_trials),
        takes,
        _saved(one.trials_saved, one.trials_between),
        _saved(one.seconds_saved, one.seconds_between),
    )


def _trials(n: float) -> str:
    return f"{n:.0f} trial{'s' if n > 1 else ''}"


def _saved(value: float, between: Interval | None) -> str:
    if math.isnan(value):
        return "unknown"
    return _shown(value) + _between(between)


def _between(between: Interval | None) -> str:
    if between is None or all(map(math.isinf, between)):
        return ""
    return f" ({_shown(between[0])} to {_shown(between[1])})"


def _shown(value: float) -> str:
    return "never" if math.isinf(value) else format_number(value, _DIGITS)


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


Interval: TypeAlias = tuple[float, float]
"""From, to. A trial count that is never reached is ``inf``, a saving of it ``-inf``."""


@dataclass(frozen=True)
class Saving:
    """How soon one side was as good as another at its best.

    Attributes:
        bar: The other side, whose best value is the bar.
        value: That value, in the objective's own unit.
        bar_trials: After how many trials the other had it.
        side: The side that is asked.
        n_trials: How many trials it had.
        trials: After how many of them it was as good; ``inf``: never.
        trials_saved: ``bar_trials`` less ``trials``; ``-inf`` where it never was.
        trials_between: The bootstrap interval of that; ``None`` with one study a side.
        seconds_saved: The same in wall seconds in which a trial was running; ``nan`` where a
            storage does not say.
        seconds_between: The bootstrap interval of that; ``None`` where there is none.
    """

    bar: str
    value: float
    bar_trials: int
    side: str
    n_trials: int
    trials: float
    trials_saved: float
    trials_between: Interval | None
    seconds_saved: float
    seconds_between: Interval | None

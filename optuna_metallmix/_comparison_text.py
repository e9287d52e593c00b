"""best values and savings -> tables, as Markdown, HTML and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from optuna_metallmix._markdown import table
from optuna_metallmix._numbers import format_number
from optuna_metallmix._saving import Saving
from optuna_metallmix._side import Interval


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
        return f"### {self.title}\n\n{table(self.head, self.rows)}"

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

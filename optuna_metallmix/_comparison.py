"""studies -> comparison: best value after n trials, and what is saved at equal quality."""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from optuna_metallmix._compared import Compared
from optuna_metallmix._compared import common_direction
from optuna_metallmix._compared import dashboard_path
from optuna_metallmix._compared import named_studies
from optuna_metallmix._compared import read_sides
from optuna_metallmix._comparison_figure import Line
from optuna_metallmix._comparison_figure import draw
from optuna_metallmix._comparison_text import BestAfter
from optuna_metallmix._comparison_text import Table
from optuna_metallmix._comparison_text import best_table
from optuna_metallmix._comparison_text import saving_table
from optuna_metallmix._comparison_text import to_csv
from optuna_metallmix._markdown import plain
from optuna_metallmix._saving import Saving
from optuna_metallmix._saving import savings
from optuna_metallmix._side import Axis
from optuna_metallmix._side import Interval
from optuna_metallmix._side import Side
from optuna_metallmix._side import middle


if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_ROUND = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)


@dataclass(frozen=True, repr=False)
class Comparison:
    """How far the sides came, and how soon; made by :func:`compare`.

    Attributes:
        sides: What was compared, in the order given.
        direction: ``"maximize"`` or ``"minimize"``.
        metric: What the objective's value is called.
        confidence: Share of the bootstrap samples that an interval holds.
        best: The best values after 1, 2, 5, 10, ... trials and at the end of each side.
        savings: For each pair of sides, how soon one was as good as the other at its best.
        dashboard_path: Where optuna-dashboard lays the studies over each other; ``None`` where
            they are in different storages, which no dashboard shows at once.
    """

    sides: tuple[Side, ...]
    direction: str
    metric: str
    confidence: float
    best: tuple[BestAfter, ...]
    savings: tuple[Saving, ...]
    dashboard_path: str | None
    _samples: tuple[tuple[Side, ...], ...] = ()

    @property
    def tables(self) -> tuple[Table, Table]:
        """The best values and the savings, as texts."""
        names = [one.name for one in self.sides]
        title = f"Best {self.metric} ({self.direction}d) after so many trials"
        return best_table(self.best, names, title), saving_table(self.savings)

    def to_markdown(self) -> str:
        """Write it as Markdown, as a study's note or a README shows it."""
        parts = [*(one.to_markdown() for one in self.tables), plain(self._how_to_read())]
        if self.dashboard_path is not None:
            parts += [f"In optuna-dashboard: [{self.dashboard_path}]({self.dashboard_path})"]
        return "\n\n".join(parts)

    def to_csv(self) -> str:
        """Write all its numbers, one a line, with the side, the measure and the interval."""
        return to_csv(self.best, self.savings)

    def plot(self) -> Figure:
        """Draw the best value over trials and, where the storage tells, over wall seconds.

        Raises:
            MetaLLMiXError: plotly is not installed.
        """
        panels = [("finished trials", [self._line(one, "trials") for one in self.sides])]
        if all(one.has_seconds for one in self.sides):
            lines = [self._line(one, "seconds") for one in self.sides]
            panels += [("wall seconds", lines)]
        better = "more" if self.direction == "maximize" else "less"
        value_axis = f"best {self.metric} ({better} is better)"
        return draw(" and ".join(one.name for one in self.sides), value_axis, panels)

    def _repr_html_(self) -> str:
        return (
            "\n".join(one.to_html() for one in self.tables)
            + f"\n<p>{escape(self._how_to_read())}</p>"
        )

    def __repr__(self) -> str:
        sides = ", ".join(f"{one.name!r}: {len(one.runs)} x {one.n_trials}" for one in self.sides)
        return f"Comparison({sides} trials)"

    def _how_to_read(self) -> str:
        n_runs = [len(one.runs) for one in self.sides]
        text = (
            "A pruned or failed trial counts and reaches nothing. Seconds are those in which a "
            "trial was running."
        )
        if max(n_runs) == 1:
            return f"{text} One study a side: chance decides much of this; run several seeds."
        runs = ", ".join(f"{one.name} {n}" for one, n in zip(self.sides, n_runs, strict=True))
        return (
            f"{text} Medians over studies ({runs}); in brackets the {self.confidence:.0%} "
            "bootstrap interval over them."
        )

    def _line(self, side: Side, axis: Axis) -> Line:
        """Give a side's median, from its first value to its end; its interval over trials."""
        sign = _sign(self.direction)
        at, levels = side.curve(axis)
        is_there = np.isfinite(levels)
        end = side.n_trials if axis == "trials" else max(run.seconds[-1] for run in side.runs)
        x, y = [*at[is_there].tolist(), float(end)], [*levels[is_there].tolist(), side.best]
        band = self._band(side, x) if axis == "trials" else []
        return Line(side.name, x, [sign * worth for worth in y], band)

    def _band(self, side: Side, numbers: Sequence[float]) -> list[tuple[float, float, float]]:
        drawn = _samples_of(side, self.sides, self._samples)
        sign = _sign(self.direction)
        ends = [(n, _between(drawn, int(n), self.confidence, sign)) for n in numbers]
        return [(n, *between) for n, between in ends if between is not None]


def compare(
    *studies: Compared, confidence: float = 0.95, n_resamples: int = 1_000, seed: int = 0
) -> Comparison:
    """Compare studies of one task: how good after how many trials, and what is saved.

    Source of the measures: trials and seconds to the best value of the other, as in COCO's
    fixed-target view (Hansen et al. 2021, https://doi.org/10.1080/10556788.2020.1808977); the
    intervals are a percentile bootstrap over the studies of a side.

    Args:
        studies: Studies, each a side of its own: ``compare(study_a, study_b)``; or names with the
            studies of each, such as one sampler's under several seeds:
            ``compare({"metallmix": [s1, s2], "tpe": [s3, s4]})``. At least two sides.
        confidence: Share of the samples that an interval holds, in (0, 1).
        n_resamples: How many bootstrap samples to draw, from 1.
        seed: Seeds them.

    Raises:
        HistoryError: A study has several objectives or no finished trial, a side has no value, or
            the directions differ.
        TypeError: Something is neither a study nor a mapping of names to studies.
        ValueError: There are fewer than two sides, a side without a study or with one twice, or
            two of one name; a number is out of its range.
    """
    if not (0 < confidence < 1 and n_resamples >= 1):
        raise ValueError(
            f"confidence={confidence} must be between 0 and 1 and n_resamples={n_resamples} at "
            "least 1."
        )
    named = named_studies(studies)
    flat = [study for some in named.values() for study in some]
    sides = read_sides(named)
    direction = common_direction(flat).name.lower()
    samples = _drawn(sides, n_resamples, np.random.default_rng(seed))
    return Comparison(
        sides,
        direction,
        (flat[0].metric_names or ["objective value"])[0],
        confidence,
        tuple(_best(sides, samples, confidence, _sign(direction))),
        tuple(savings(sides, samples, confidence, _sign(direction))),
        dashboard_path(flat),
        samples,
    )


def _drawn(
    sides: Sequence[Side], n_resamples: int, rng: np.random.Generator
) -> tuple[tuple[Side, ...], ...]:
    if all(len(side.runs) == 1 for side in sides):
        return ()
    return tuple(tuple(side.drawn(rng) for side in sides) for _ in range(n_resamples))


def _sign(direction: str) -> float:
    return 1.0 if direction == "maximize" else -1.0


def _best(
    sides: Sequence[Side], samples: Sequence[Sequence[Side]], confidence: float, sign: float
) -> Iterator[BestAfter]:
    ends = {side.n_trials for side in sides}
    numbers = sorted({n for n in _ROUND if n < max(ends)} | ends)
    for side in sides:
        drawn = _samples_of(side, sides, samples)
        for n in numbers:
            if n <= side.n_trials:
                worth = side.best_after(n)
                value = sign * worth if math.isfinite(worth) else None
                yield BestAfter(side.name, n, value, _between(drawn, n, confidence, sign))


def _samples_of(
    side: Side, sides: Sequence[Side], samples: Sequence[Sequence[Side]]
) -> list[Side]:
    """Return the samples of one side; none where it has one run, which tells of no spread."""
    place = [one.name for one in sides].index(side.name)
    return [sample[place] for sample in samples] if len(side.runs) > 1 else []


def _between(drawn: Sequence[Side], n: int, confidence: float, sign: float) -> Interval | None:
    """Return the interval of the best after n trials, in the objective's own unit."""
    between = middle([one.best_after(n) for one in drawn], confidence) if drawn else None
    if between is None or not all(map(math.isfinite, between)):
        return None
    low, high = sorted(sign * end for end in between)
    return low, high

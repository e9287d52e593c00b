"""Compute shares, differences and means from the rows; tables are the unit of resampling."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.report.numbers import Interval
from benchmarks.report.numbers import frame
from benchmarks.report.numbers import interval
from benchmarks.report.rows import Row
from benchmarks.shipped.methods import DEFAULT
from benchmarks.shipped.methods import OURS
from benchmarks.shipped.methods import TPE


CLIP = 3.0
"""Higher regrets count as this in means, so that a few tables do not decide."""
N_OURS, N_TPE = 5, 50
"""Trials of this library that are compared with so many of TPE's."""
EVERY = 4
"""One in so many tables is searched with more than a first trial."""
TOLERANCE = 1e-9
"""Differences below this are from the conversion of regrets to values."""


@dataclass(frozen=True)
class FirstTrials:
    """First trials of a method compared with the library's default.

    Attributes:
        gains: Value minus the default's, by table.
        regrets: The default's regret minus the method's, by table; regrets are clipped.
    """

    gains: pd.Series[float]
    regrets: pd.Series[float]

    @property
    def share(self) -> float:
        """Share of tables at or above the default."""
        return share(self.gains)

    @property
    def losses(self) -> pd.Series[float]:
        """What is lost on the tables below the default, the largest first."""
        return self.gains[self.gains < -TOLERANCE].sort_values()


def share(gains: pd.Series[float]) -> float:
    """Return the share of tables without a loss."""
    return float((gains >= -TOLERANCE).mean())


def of_library(rows: Sequence[Row], library: str) -> list[Row]:
    """Return the rows of a library's tables, or of the surrogate's tasks."""
    return [row for row in rows if row.task.startswith(f"{library}/")]


def first_trials(
    rows: Sequence[Row], method: str, scales: Mapping[str, float]
) -> FirstTrials | None:
    """Compare a method's first trial with the default; ``None`` where it was not measured.

    Args:
        rows: The rows.
        method: Name of the method.
        scales: By table, the difference in value that is a regret of 1.
    """
    gaps = _gaps(frame(rows), method)
    if gaps is None:
        return None
    clipped = _gaps(frame(rows, CLIP), method)
    assert clipped is not None
    return FirstTrials(gaps * pd.Series(scales).reindex(gaps.index), clipped)


def _gaps(table: pd.DataFrame, method: str) -> pd.Series[float] | None:
    if not {(method, 1), (DEFAULT, 1)} <= set(table):
        return None
    gaps = (table[DEFAULT, 1] - table[method, 1]).dropna().groupby(level="task").mean()
    return None if gaps.empty else gaps


def mean(by_task: pd.Series[float]) -> Interval:
    """Return the mean over tables with its bootstrap interval."""
    found = interval(by_task)
    assert found is not None
    return found


@dataclass(frozen=True)
class Searches:
    """Searches of the tables on which this library and TPE have searched.

    Attributes:
        table: Clipped regrets: a row per (task, seed), a column per (method, trial).
    """

    table: pd.DataFrame

    @property
    def n_tables(self) -> int:
        """The number of tables."""
        return int(self.table.index.get_level_values("task").nunique())

    @property
    def regrets(self) -> tuple[float, float]:
        """Mean regret of this library's best of 5 trials, and of TPE's best of 50."""
        means = self.table.groupby(level="task").mean().mean()
        return float(means[OURS, N_OURS]), float(means[TPE, N_TPE])

    @property
    def n_as_good(self) -> int:
        """Number of tables on which the first is at most the second."""
        means = self.table.groupby(level="task").mean()
        return int(np.sum(means[OURS, N_OURS] <= means[TPE, N_TPE] + TOLERANCE))


def searches(rows: Sequence[Row]) -> Searches | None:
    """Return the regrets on the tables that were searched; ``None`` if there are none."""
    table = frame(rows, CLIP)
    needed = [(OURS, N_OURS), (TPE, N_TPE)]
    if not set(needed) <= set(table):
        return None
    found = table[table[needed].notna().all(axis=1)]
    return None if found.empty else Searches(found)

"""rows -> means, medians, paired differences, with bootstrap intervals over tasks.

A task is what is drawn anew: seeds of one task are averaged first, and tasks are resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.families.family import Bar
from benchmarks.families.past import Floats
from benchmarks.report.rows import Row


N_RESAMPLES = 2_000


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    n: int


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Lay regrets out: a row a (task, seed), a column a (method, trial)."""
    table = pd.DataFrame([vars(row) for row in rows])
    return table.pivot(index=["task", "seed"], columns=["method", "trial"], values="regret")


def interval(values: pd.Series[float]) -> Interval | None:
    """Return the mean over tasks; ``None`` where nothing was measured."""
    means = values.dropna().groupby(level="task").mean()
    by_task: Floats = np.asarray(means, dtype=np.float64)
    if not len(by_task):
        return None
    low, high = np.percentile(resampled(by_task), [2.5, 97.5])
    return Interval(float(by_task.mean()), float(low), float(high), len(values.dropna()))


def resampled(by_task: Floats) -> Floats:
    """Return the means of tasks drawn with replacement; the same draws for every method."""
    rng = np.random.default_rng(0)
    draws = rng.integers(len(by_task), size=(N_RESAMPLES, len(by_task)))
    means: Floats = by_task[draws].mean(axis=1)
    return means


@dataclass(frozen=True)
class Outcome:
    """A bar and what was measured, on the searches that both sides have.

    Attributes:
        bar: The bar.
        regret: The method's mean regret.
        limit: What it may be.
        n: Searches that were compared.
    """

    bar: Bar
    regret: float
    limit: float
    n: int

    @property
    def met(self) -> bool:
        """Whether the bar is reached."""
        return self.regret <= self.limit


def outcome(bar: Bar, table: pd.DataFrame) -> Outcome | None:
    """Hold a method against its bar; ``None`` where one side was not measured."""
    if (bar.method, bar.trial) not in table:
        return None
    own = table[bar.method, bar.trial]
    if isinstance(bar.limit, float):
        mean = own.dropna().groupby(level="task").mean().mean()
        return Outcome(bar, float(mean), bar.limit, int(own.count()))
    if bar.limit not in table:
        return None
    both = pd.DataFrame({"own": own, "other": table[bar.limit]}).dropna()
    if both.empty:
        return None
    means = both.groupby(level="task").mean().mean()
    other = float(means["other"])
    limit = other + abs(other) * (bar.factor - 1.0)
    return Outcome(bar, float(means["own"]), limit, len(both))

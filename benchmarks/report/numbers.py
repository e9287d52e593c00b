"""Compute means, bootstrap intervals and the outcome of bars from the rows of a family.

Tasks are the unit of resampling: the seeds of a task are averaged first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.report.rows import Row
from benchmarks.tasks.family import Bar
from benchmarks.tasks.family import Comparison
from benchmarks.tasks.past import Floats


N_RESAMPLES = 2_000
WITHIN = 1.05


@dataclass(frozen=True)
class Interval:
    """A mean over tasks with its 95 % bootstrap interval, and the number of searches."""

    mean: float
    low: float
    high: float
    n: int


def frame(rows: Sequence[Row], clip: float = math.inf) -> pd.DataFrame:
    """Return regrets of at most ``clip``: a row per (task, seed), a column per (method, trial)."""
    table = pd.DataFrame([vars(row) for row in rows])
    table["regret"] = table["regret"].clip(upper=clip)
    return table.pivot(index=["task", "seed"], columns=["method", "trial"], values="regret")


def interval(values: pd.Series[float]) -> Interval | None:
    """Return the mean over tasks, or ``None`` if there are no values."""
    means = values.dropna().groupby(level="task").mean()
    by_task: Floats = np.asarray(means, dtype=np.float64)
    if not len(by_task):
        return None
    return Interval(float(by_task.mean()), *bootstrap(by_task), len(values.dropna()))


def bootstrap(by_task: Floats) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean; all methods share the same draws."""
    rng = np.random.default_rng(0)
    draws = rng.integers(len(by_task), size=(N_RESAMPLES, len(by_task)))
    low, high = np.percentile(by_task[draws].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True)
class Outcome:
    """A bar and what was measured on the searches that both methods have.

    Attributes:
        bar: The bar.
        regret: Mean regret of the method.
        limit: Highest mean regret allowed.
        n: Number of searches compared.
    """

    bar: Bar
    regret: float
    limit: float
    n: int

    @property
    def met(self) -> bool:
        """Whether the bar is met."""
        return self.regret <= self.limit


def outcome(bar: Bar, table: pd.DataFrame) -> Outcome | None:
    """Check a method against its bar; ``None`` if either side was not measured."""
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


@dataclass(frozen=True)
class Compared:
    """Mean regrets at a trial, on the searches that all methods of a comparison have.

    Attributes:
        regrets: Mean regret by method, in the order of the comparison.
        met: Whether the bar is met, by name of the other method; only where there is a bar.
        n: Number of searches compared.
    """

    regrets: Mapping[str, float]
    met: Mapping[str, bool]
    n: int


def compare(comparison: Comparison, trial: int, table: pd.DataFrame) -> Compared | None:
    """Compare a method with the others that were measured; ``None`` if there are none."""
    names = [name for name in (comparison.method, *comparison.others) if (name, trial) in table]
    if comparison.method not in names or len(names) < 2:
        return None
    common = pd.DataFrame({name: table[name, trial] for name in names}).dropna()
    if common.empty:
        return None
    means = common.groupby(level="task").mean()
    met = {
        name: _is_no_worse(means[comparison.method], means[name])
        for name in names[1:]
        if (start := comparison.others[name]) is not None and trial >= start
    }
    regrets = {name: float(means[name].mean()) for name in names}
    return Compared(regrets, met, len(common))


def _is_no_worse(own: pd.Series[float], other: pd.Series[float]) -> bool:
    limit = other.mean() + abs(other.mean()) * (WITHIN - 1)
    low, _ = bootstrap(np.asarray(own - other, dtype=np.float64))
    return bool(own.mean() <= limit or low <= 0)

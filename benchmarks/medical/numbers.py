"""Compute the results of each method after a number of trainings, by image set."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.medical.jobs import Training
from benchmarks.tasks.past import Floats


@dataclass(frozen=True)
class Arm:
    """A method after a number of trainings.

    Attributes:
        method: Name in the rows.
        n_trials: Number of trainings.
        label: Name on the page.
    """

    method: str
    n_trials: int
    label: str

    @property
    def is_ours(self) -> bool:
        """Whether the method is the library's, with or without a language model."""
        return self.method.startswith(("ours", "meta-learner"))


Chosen: TypeAlias = Mapping[Arm, pd.DataFrame]
"""Result of `chosen`, by arm."""


def arms(rows: Sequence[Training]) -> list[Arm]:
    """Return the arms on the page for which there are rows."""
    most = max(row.trial for row in rows)
    steps = [n for n in (10, 25, 50) if n <= most] or [most]
    n_ours = max((row.trial for row in rows if row.method == "meta-learner"), default=1)
    measured = {row.method for row in rows}
    models = sorted(name for name in measured if name.startswith("ours"))
    wanted = [
        *(Arm(name, 1, f"**ours, {_model(name)}**") for name in models),
        Arm("meta-learner", 1, "**ours, no model** (meta-learner alone)"),
        Arm("meta-learner", n_ours, f"**ours, no model, {n_ours} trainings**"),
        Arm("default", 1, "plain default"),
        Arm("nearest", 1, "nearest study's best"),
        Arm("best-mean-rank", 1, "best mean rank"),
        *(Arm("random", n, f"random {n}") for n in steps),
        *(Arm("tpe", n, f"TPE {n}") for n in steps),
    ]
    return [arm for arm in wanted if arm.method in measured]


def _model(method: str) -> str:
    return method.partition(":")[2] or "embedded model"


def frame(rows: Sequence[Training]) -> pd.DataFrame:
    """Return a row per training."""
    return pd.DataFrame([asdict(row) for row in rows])


def chosen(table: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """Return the training with the best validation value, a row per (task, seed).

    Ties go to the earliest. `seconds` is the duration of that training; `waited` is the time
    until its configuration was known: the overhead of the library or sampler and, if there were
    several, the trainings.
    """
    own = table[(table["method"] == arm.method) & (table["trial"] <= arm.n_trials)]
    own = own.sort_values(["task", "seed", "trial"])
    groups = own.groupby(["task", "seed"])
    best = own.loc[groups["value"].idxmax()].set_index(["task", "seed"])
    waited = groups["response"].sum()
    if arm.n_trials > 1:
        waited = waited + groups["seconds"].sum()
    return best.assign(waited=waited)


def by_task(results: pd.DataFrame, column: str) -> pd.Series[float]:
    """Return the mean over seeds, by set."""
    return results.groupby(level="task")[column].mean()


def points_behind(ours: pd.DataFrame, other: pd.DataFrame, column: str) -> pd.Series[float]:
    """Return by how many percentage points ours is behind on common splits, by set."""
    gaps = (100 * (other[column] - ours[column])).dropna()
    return gaps.groupby(level="task").mean()


def ratios(a: pd.DataFrame, b: pd.DataFrame, column: str) -> pd.Series[float]:
    """Return the median of a / b over common splits, by set."""
    return (a[column] / b[column]).dropna().groupby(level="task").median()


def within(gaps: pd.Series[float], points: float) -> int:
    """Count the sets with a gap of at most ``points``."""
    return int((gaps <= points + 1e-9).sum())


def best_of_others(by_arm: Chosen, column: str) -> pd.Series[float]:
    """Return the best mean of the methods other than the library's, by set."""
    others = [by_task(results, column) for arm, results in by_arm.items() if not arm.is_ours]
    return pd.concat(others, axis=1).max(axis=1)


def interval(values: pd.Series[float]) -> tuple[float, float, float]:
    """Return the mean over sets with its 95 % t interval; a bootstrap of 8 sets is too narrow."""
    n = len(values)
    mean = float(values.mean())
    if n < 2:
        return mean, float("nan"), float("nan")
    half_width = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return mean, mean - half_width, mean + half_width


def whole_seconds(table: pd.DataFrame, features: Floats) -> pd.DataFrame:
    """Add the column `whole`: seconds of the training plus those of its frozen features."""
    return table.assign(whole=table["seconds"] + features)

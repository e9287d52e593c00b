"""trainings -> what each method has to show after so many of them, set by set."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.families.past import Floats
from benchmarks.medical.world import Trained


@dataclass(frozen=True)
class Arm:
    """A method after so many trainings.

    Attributes:
        method: Its name among the rows.
        n_trials: So many trainings.
        label: Its name on the page.
    """

    method: str
    n_trials: int
    label: str

    @property
    def is_ours(self) -> bool:
        """Whether it is the library's, with or without a language model."""
        return self.method.startswith(("ours", "meta-learner"))


Chosen: TypeAlias = Mapping[Arm, pd.DataFrame]
"""By arm, what `chosen` returns."""


def arms(rows: Sequence[Trained]) -> list[Arm]:
    """Return what the page compares, of what there is."""
    most = max(row.trial for row in rows)
    steps = [n for n in (10, 25, 50) if n <= most] or [most]
    n_ours = max((row.trial for row in rows if row.method == "meta-learner"), default=1)
    there = {row.method for row in rows}
    models = sorted(name for name in there if name.startswith("ours"))
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
    return [arm for arm in wanted if arm.method in there]


def _model(method: str) -> str:
    return method.partition(":")[2] or "embedded model"


def frame(rows: Sequence[Trained]) -> pd.DataFrame:
    """Lay trainings out, one row each."""
    return pd.DataFrame([asdict(row) for row in rows])


def chosen(table: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """Return the training that the validation images choose: a row a (task, seed).

    Of equals the earliest. `seconds` are those of that training, `waited` all seconds until its
    configuration was known: the library's or the sampler's own, and where several were tried,
    their trainings.
    """
    own = table[(table["method"] == arm.method) & (table["trial"] <= arm.n_trials)]
    own = own.sort_values(["task", "seed", "trial"])
    groups = own.groupby(["task", "seed"])
    best = own.loc[groups["value"].idxmax()].set_index(["task", "seed"])
    waited = groups["response"].sum()
    if arm.n_trials > 1:
        waited = waited + groups["seconds"].sum()
    return best.assign(waited=waited)


def by_task(found: pd.DataFrame, column: str) -> pd.Series[float]:
    """Return means over the seeds."""
    return found.groupby(level="task")[column].mean()


def points_behind(ours: pd.DataFrame, other: pd.DataFrame, column: str) -> pd.Series[float]:
    """Return, by set, by how many percentage points ours is behind on the splits both have."""
    gaps = (100 * (other[column] - ours[column])).dropna()
    return gaps.groupby(level="task").mean()


def ratios(a: pd.DataFrame, b: pd.DataFrame, column: str) -> pd.Series[float]:
    """Return, by set, the median of a / b over the splits that both have."""
    return (a[column] / b[column]).dropna().groupby(level="task").median()


def within(gaps: pd.Series[float], points: float) -> int:
    """Count the sets on which the gap is no larger."""
    return int((gaps <= points + 1e-9).sum())


def best_of_others(found: Chosen, column: str) -> pd.Series[float]:
    """Return, by set, the best mean of the methods that are not the library's."""
    others = [by_task(one, column) for arm, one in found.items() if not arm.is_ours]
    return pd.concat(others, axis=1).max(axis=1)


def interval(values: pd.Series[float]) -> tuple[float, float, float]:
    """Return the mean over sets with its 95 % t interval; a bootstrap of eight is too narrow."""
    n = len(values)
    mean = float(values.mean())
    if n < 2:
        return mean, float("nan"), float("nan")
    wide = float(stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return mean, mean - wide, mean + wide


def whole_seconds(table: pd.DataFrame, features: Floats) -> pd.DataFrame:
    """Add the training's seconds with the frozen network's features of the set."""
    return table.assign(whole=table["seconds"] + features)

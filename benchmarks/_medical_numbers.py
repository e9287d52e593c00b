"""trainings -> what each method has to show after so many of them, set by set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks._medical_world import Trained
from benchmarks._numbers import resampled
from benchmarks._past import Floats


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


def arms(rows: Sequence[Trained]) -> list[Arm]:
    """Return what the page compares, of what there is."""
    most = max(row.trial for row in rows)
    steps = [n for n in (10, 25, 50) if n <= most] or [most]
    n_ours = max((row.trial for row in rows if row.method == "meta-learner"), default=1)
    wanted = [
        Arm("ours", 1, "**ours, one training**"),
        Arm("meta-learner", 1, "meta-learner alone"),
        Arm("default", 1, "library default"),
        Arm("nearest", 1, "nearest study's best"),
        Arm("best-mean-rank", 1, "best mean rank"),
        Arm("meta-learner", n_ours, f"ours, {n_ours} trainings"),
        *(Arm("random", n, f"random {n}") for n in steps),
        *(Arm("tpe", n, f"TPE {n}") for n in steps),
    ]
    there = {row.method for row in rows}
    return [arm for arm in wanted if arm.method in there]


def frame(rows: Sequence[Trained]) -> pd.DataFrame:
    """Lay trainings out, one row each."""
    return pd.DataFrame([asdict(row) for row in rows])


def chosen(table: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """Return the training that the validation images choose: a row a (task, seed).

    `seconds` are those of that training, `waited` all seconds until its configuration was known:
    the library's or the sampler's own, and where several were tried, their trainings.
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


def difference(a: pd.DataFrame, b: pd.DataFrame, column: str) -> tuple[float, float, float]:
    """Return the mean over sets of a - b on the same splits, with a 95 % bootstrap interval."""
    gaps = (a[column] - b[column]).dropna().groupby(level="task").mean()
    values: Floats = np.asarray(gaps, dtype=np.float64)
    low, high = np.percentile(resampled(values), [2.5, 97.5])
    return float(values.mean()), float(low), float(high)

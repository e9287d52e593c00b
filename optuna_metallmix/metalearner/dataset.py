"""past studies -> rows: one per past trial, one column per parameter of the search space.

Meta-features are no columns: with the few studies most people have they act as a study's name
(measured on Quick-Tune while planning: mean regret of the first pick .27 with, .18 without; see
DESIGN, "What the field has learned"). They say which past studies are nearest instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history import History
from optuna_metallmix.history import PastTrial
from optuna_metallmix.space import ABSENT
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import is_number
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import labels_of


if TYPE_CHECKING:
    import pandas as pd


TOP_HEAVY = 3
"""The power of a trial's rank that is its score, so that differences among the best count for more
than those among the rest. (Mean regret of the first pick with 1 and 3: LCBench .34 and .30,
HPOBench .16 and .15, Quick-Tune .26 and .27 with 5 members; 2026-11.)"""

MAX_ROWS = 3_000
"""Most rows a meta-learner is fitted on; more cost seconds and were not needed (one CatBoost
member: 0.24 s on 2,100 rows, 0.32 on 4,200; mean regret of the first pick on LCBench .39 with
1,000 of its 2,000 rows, .43 with all, 17 tasks x 6 seeds; 2026-11)."""


@dataclass(frozen=True)
class MetaDataset:
    """The rows a meta-learner learns from.

    Attributes:
        space: The search space the columns follow, in its order.
        configs: The past configurations, shape (n_rows,).
        scores: The cubes of their ranks within their own study, shape (n_rows,): 1 for the best
            trial of a study, 1/8 for the middle one, 0 for the worst.
        groups: The index of each row's study in ``studies``, shape (n_rows,).
        studies: The names of the studies, shape (n_studies,).
        seconds: How long each training took, shape (n_rows,); NaN where that is unknown.
    """

    space: SearchSpace
    configs: tuple[Config, ...]
    scores: NDArray[np.float64]
    groups: NDArray[np.int64]
    studies: tuple[str, ...]
    seconds: NDArray[np.float64]


def build_meta_dataset(history: History, space: SearchSpace) -> MetaDataset:
    """Lay the past trials out as rows.

    Parameters that ``space`` does not have are dropped, and texts where it has numbers. Of more
    than :data:`MAX_ROWS` trials, each study keeps an even spread from its best to its worst.

    Raises:
        HistoryError: No past trial has a parameter of ``space``.
    """
    share = max(20, MAX_ROWS // max(len(history.studies), 1))
    rows = [
        (
            {n: v for n, v in trial.params.items() if n in space and _fits(space[n], v)},
            trial.rank**TOP_HEAVY,
            i,
            math.nan if trial.seconds is None else trial.seconds,
        )
        for i, study in enumerate(history.studies)
        for trial in _spread(study.trials, share)
    ]
    rows = [row for row in rows if row[0]]
    if not rows:
        raise HistoryError(
            "There is no past trial to learn from: run a few studies in this storage first, or "
            "pass source_storage= with a storage that has some."
        )
    configs, scores, groups, seconds = zip(*rows, strict=True)
    return MetaDataset(
        space,
        configs,
        np.array(scores, float),
        np.array(groups, np.int64),
        tuple(study.name for study in history.studies),
        np.array(seconds, float),
    )


def to_frame(space: SearchSpace, configs: Sequence[Config]) -> pd.DataFrame:
    """Encode configurations as columns, shape (len(configs), len(space)).

    Ordered parameters become floats with NaN where not active, the others texts with
    :data:`ABSENT`. A choice never seen before is just another text: CatBoost treats it as unseen.
    """
    import pandas as pd

    return pd.DataFrame(
        {
            name: np.array([_number(config.get(name)) for config in configs], float)
            if is_ordered(distribution)
            else _texts(distribution, name, configs)
            for name, distribution in space.items()
        }
    )


def categorical_columns(space: SearchSpace) -> list[str]:
    """Return the names of the columns that :func:`to_frame` writes as texts."""
    return [name for name, distribution in space.items() if not is_ordered(distribution)]


def _spread(trials: Sequence[PastTrial], n: int) -> list[PastTrial]:
    if len(trials) <= n:
        return list(trials)
    return [trials[int(i)] for i in np.linspace(0, len(trials) - 1, n).round()]


def _fits(distribution: BaseDistribution, value: Any) -> bool:
    return is_number(value) or not is_ordered(distribution)


def _texts(distribution: BaseDistribution, name: str, configs: Sequence[Config]) -> list[str]:
    labels = iter(labels_of(distribution, (one[name] for one in configs if name in one)))
    return [next(labels) if name in config else ABSENT for config in configs]


def _number(value: Any) -> float:
    return float(value) if is_number(value) else float("nan")

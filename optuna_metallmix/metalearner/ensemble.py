"""rows -> a CatBoost regressor, and its SHAP values: one call at a time.

CatBoost 1.2.10 ends the process by a segmentation fault now and then where two threads fit at once
(2 in some 10,000 fits, 2026-11), and with ``n_jobs`` two trials may ask at once.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from optuna_metallmix.metalearner.dataset import MetaDataset
from optuna_metallmix.metalearner.dataset import categorical_columns
from optuna_metallmix.metalearner.dataset import to_frame
from optuna_metallmix.space import SearchSpace


if TYPE_CHECKING:
    import pandas as pd
    from catboost import CatBoostRegressor
    from catboost import Pool

Floats = NDArray[np.float64]

_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Trees:
    """How trees are grown.

    Attributes:
        depth: Depth of each tree.
        n: How many there are.
        learning_rate: How far each goes.
    """

    depth: int
    n: int
    learning_rate: float


def fit_regressor(
    space: SearchSpace,
    frame: pd.DataFrame,
    targets: Floats,
    trees: Trees,
    seed: int,
    weights: Floats | None = None,
) -> CatBoostRegressor:
    """Fit on the rows of ``frame``; both they and the targets have to vary.

    A number is one of 32 ranges, a choice a column of its own: four times as fast, and better
    (mean regret of the first pick on LCBench .51 without, .31 with; 2026-11). One thread: two
    gained nothing at 3,000 rows.
    """
    from catboost import CatBoostRegressor

    model = CatBoostRegressor(
        iterations=trees.n,
        depth=trees.depth,
        learning_rate=trees.learning_rate,
        loss_function="RMSE",
        boosting_type="Plain",
        border_count=32,
        one_hot_max_size=30,
        random_seed=seed,
        cat_features=categorical_columns(space),
        thread_count=1,
        allow_writing_files=False,
        logging_level="Silent",
    )
    with _ONE_AT_A_TIME:
        return model.fit(frame, targets, sample_weight=weights)


def shap_values_of(model: CatBoostRegressor, pool: Pool) -> Floats:
    """Return SHAP values and, in the last column, the base: shape (n, n_parameters + 1)."""
    with _ONE_AT_A_TIME:
        values: Floats = model.get_feature_importance(pool, type="ShapValues", thread_count=2)
        return values


N_PARTS = 10
"""Most parts that the past studies are dealt into. With 12 instead of 5 parts of 12 studies the
first pick's mean regret on Quick-Tune was .13 instead of .18 (2026-11)."""
N_PARTS_OF_ONE = 5
"""Parts of a single study's trials."""

SHALLOW = Trees(4, 150, 0.08)
"""For pasts of few parameters (mean regret of the first pick on LCBench .30 with them, .37 with
trees of depth 8; HPOBench .15, .14; 2026-11)."""
DEEP = Trees(8, 80, 0.15)
"""For pasts of many choices that act together (Quick-Tune .13, with shallow ones .22)."""


@dataclass(frozen=True)
class Ensemble:
    """Members that each left a part of the past out, and how they did on it.

    Attributes:
        members: One a part.
        agreements: By study, the rank correlation of predicted and true scores, shape
            (n_studies,); NaN where unknown.
        finds: By study, the mean true score of the tenth that is predicted best, likewise.
    """

    members: list[CatBoostRegressor]
    agreements: Floats
    finds: Floats


def fit_ensemble(dataset: MetaDataset, trees: Trees, seed: int) -> Ensemble:
    """Fit one member a part, each on the rows that the part leaves; ``seed`` deals the parts."""
    frame = to_frame(dataset.space, dataset.configs)
    weights = 1.0 / np.bincount(dataset.groups)[dataset.groups]  # a study weighs as any other
    unseen = np.full(len(dataset.scores), np.nan)
    members: list[CatBoostRegressor] = []
    for rows in _deal(dataset, frame, np.random.default_rng(seed)):
        scores, member = dataset.scores[rows], seed + len(members)
        model = fit_regressor(dataset.space, frame[rows], scores, trees, member, weights[rows])
        members.append(model)
        if n_studies(dataset) > 1 and not rows.all():
            unseen[~rows] = model.predict(frame[~rows])
    return Ensemble(members, *_by_study(unseen, dataset))


def varies(frame: pd.DataFrame) -> bool:
    """Tell whether any column has different values."""
    return bool(frame.nunique(dropna=False).max() > 1)


def n_studies(dataset: MetaDataset) -> int:
    """Return how many studies have a row."""
    return len(np.unique(dataset.groups))


def finds_more(first: Ensemble, second: Ensemble) -> bool:
    """Tell whether ``first`` finds better trials, by more than the gain's standard error."""
    gains = first.finds - second.finds
    gains = gains[~np.isnan(gains)]
    if len(gains) < 3:
        return False
    return bool(gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains)))


def _deal(
    dataset: MetaDataset, frame: pd.DataFrame, rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """Return the rows of each member: all but one part of the studies, or of a single study's
    trials; all rows where the others have nothing to learn from, which CatBoost raises on."""
    one_study = n_studies(dataset) == 1
    units = np.arange(len(dataset.scores)) if one_study else dataset.groups
    names = rng.permutation(np.unique(units))
    n_parts = N_PARTS_OF_ONE if one_study else min(N_PARTS, len(names))
    dealt = [~np.isin(units, names[part::n_parts]) for part in range(n_parts)]
    return [
        rows if np.ptp(dataset.scores[rows]) > 0 and varies(frame[rows]) else np.ones_like(rows)
        for rows in dealt
    ]


def _by_study(unseen: Floats, dataset: MetaDataset) -> tuple[Floats, Floats]:
    """Return :attr:`Ensemble.agreements` and :attr:`Ensemble.finds`."""
    agreements, finds = np.full((2, len(dataset.studies)), np.nan)
    for study in np.unique(dataset.groups):
        rows = dataset.groups == study
        if rows.sum() > 2 and not np.isnan(unseen[rows]).any():
            true, predicted = dataset.scores[rows], unseen[rows]
            agreements[study] = _spearman(predicted, true)
            best = np.argsort(-predicted, kind="stable")[: max(1, rows.sum() // 10)]
            finds[study] = true[best].mean()
    return agreements, finds


def _spearman(first: Floats, second: Floats) -> float:
    import pandas as pd

    ranks = [pd.Series(one).rank().to_numpy() for one in (first, second)]
    if min(np.ptp(one) for one in ranks) == 0:
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])

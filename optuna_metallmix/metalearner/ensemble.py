"""Fit the ensemble of CatBoost regressors behind the meta-learner.

Each member is fitted without some of the past studies, which then measure how well the ensemble
generalizes to new studies.
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

_CATBOOST_LOCK = threading.Lock()
"""CatBoost 1.2.10 can crash with a segmentation fault when two threads fit at once (2 of about
10,000 fits; measured 2026-11), as trials do with ``n_jobs``."""

N_FOLDS = 10
"""Maximum number of folds of past studies. (Mean regret of the first pick on Quick-Tune with 12
studies: .18 with 5 folds, .13 with 12; measured 2026-11.)"""
N_FOLDS_SINGLE_STUDY = 5
"""Number of folds of the trials if there is only one past study."""


@dataclass(frozen=True)
class Trees:
    """Hyperparameters of the gradient-boosted trees.

    Attributes:
        depth: Depth of each tree.
        n: Number of trees.
        learning_rate: Step size of boosting.
    """

    depth: int
    n: int
    learning_rate: float


SHALLOW = Trees(4, 150, 0.08)
"""The default. (Mean regret of the first pick with shallow trees and with trees of depth 8:
LCBench .30 and .37, HPOBench .15 and .14; measured 2026-11.)"""
DEEP = Trees(8, 80, 0.15)
"""For many interacting choices. (Mean regret of the first pick on Quick-Tune: .22 with shallow
trees, .13 with deep ones; measured 2026-11.)"""


def fit_regressor(
    space: SearchSpace,
    frame: pd.DataFrame,
    targets: Floats,
    trees: Trees,
    seed: int,
    weights: Floats | None = None,
) -> CatBoostRegressor:
    """Fit a CatBoost regressor; both the rows of ``frame`` and the targets must vary.

    32 bins for numbers and one-hot encoded choices were four times as fast as CatBoost's defaults
    and better (mean regret of the first pick on LCBench .31 instead of .51; measured 2026-11). A
    second thread gained nothing on 3,000 rows.
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
    with _CATBOOST_LOCK:
        return model.fit(frame, targets, sample_weight=weights)


def shap_values_of(model: CatBoostRegressor, pool: Pool) -> Floats:
    """Return SHAP values, shape (n, n_parameters + 1); the last column is the base value."""
    with _CATBOOST_LOCK:
        values: Floats = model.get_feature_importance(pool, type="ShapValues", thread_count=2)
        return values


@dataclass(frozen=True)
class Ensemble:
    """Regressors, each trained with one fold held out, and how well they predict held-out studies.

    Attributes:
        members: One regressor per fold.
        rank_correlations: Spearman correlation of predicted and true scores by study, shape
            (n_studies,); NaN if unknown.
        top_scores: Mean true score of the top 10% of trials by predicted score, by study, shape
            (n_studies,); NaN if unknown.
    """

    members: list[CatBoostRegressor]
    rank_correlations: Floats
    top_scores: Floats


def fit_ensemble(dataset: MetaDataset, trees: Trees, seed: int) -> Ensemble:
    """Fit one member per fold on the rows outside that fold; ``seed`` also assigns the folds."""
    frame = to_frame(dataset.space, dataset.configs)
    weights = 1.0 / np.bincount(dataset.groups)[dataset.groups]  # equal weight for every study
    held_out = np.full(len(dataset.scores), np.nan)
    members: list[CatBoostRegressor] = []
    for rows in _training_rows(dataset, frame, np.random.default_rng(seed)):
        data, member_seed = (frame[rows], dataset.scores[rows]), seed + len(members)
        model = fit_regressor(dataset.space, *data, trees, member_seed, weights[rows])
        members.append(model)
        if n_studies(dataset) > 1 and not rows.all():
            held_out[~rows] = model.predict(frame[~rows])
    return Ensemble(members, *_quality_by_study(held_out, dataset))


def varies(frame: pd.DataFrame) -> bool:
    """Return whether any column has more than one value."""
    return bool(frame.nunique(dropna=False).max() > 1)


def n_studies(dataset: MetaDataset) -> int:
    """Return the number of studies with at least one row."""
    return len(np.unique(dataset.groups))


def is_clearly_better(first: Ensemble, second: Ensemble) -> bool:
    """Return whether ``first`` has better top scores by more than the standard error."""
    gains = first.top_scores - second.top_scores
    gains = gains[~np.isnan(gains)]
    return len(gains) > 2 and bool(gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains)))


def _training_rows(
    dataset: MetaDataset, frame: pd.DataFrame, rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """Return the mask of each member's training rows.

    A fold is a part of the studies, or of the trials of a single study. If the remaining rows are
    constant, on which CatBoost raises, the member is trained on all rows.
    """
    single = n_studies(dataset) == 1
    units = np.arange(len(dataset.scores)) if single else dataset.groups
    shuffled = rng.permutation(np.unique(units))
    n_folds = N_FOLDS_SINGLE_STUDY if single else min(N_FOLDS, len(shuffled))
    masks = [~np.isin(units, shuffled[fold::n_folds]) for fold in range(n_folds)]
    return [
        rows if np.ptp(dataset.scores[rows]) > 0 and varies(frame[rows]) else np.ones_like(rows)
        for rows in masks
    ]


def _quality_by_study(held_out: Floats, dataset: MetaDataset) -> tuple[Floats, Floats]:
    """Return :attr:`Ensemble.rank_correlations` and :attr:`Ensemble.top_scores`."""
    correlations, top_scores = np.full((2, len(dataset.studies)), np.nan)
    for study in np.unique(dataset.groups):
        rows = dataset.groups == study
        if rows.sum() > 2 and not np.isnan(held_out[rows]).any():
            true, predicted = dataset.scores[rows], held_out[rows]
            correlations[study] = _spearman(predicted, true)
            best = np.argsort(-predicted, kind="stable")[: max(1, rows.sum() // 10)]
            top_scores[study] = true[best].mean()
    return correlations, top_scores


def _spearman(first: Floats, second: Floats) -> float:
    from scipy.stats import rankdata

    ranks = rankdata(first), rankdata(second)
    if min(map(np.ptp, ranks)) == 0:
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])

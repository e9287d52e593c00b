"""Fit the CatBoost regressors behind the meta-learner: of all studies, and of each study.

Each member of the pooled ensemble is fitted without some of the past studies, which then measure
how well it generalizes to new studies. The models of single studies are measured on the other
studies. A study's model is kept until the study changes.
"""

from __future__ import annotations

from collections.abc import Hashable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
from cachetools import LRUCache
from cachetools import cached
from numpy.typing import NDArray

from optuna_metallmix.fork_lock import NO_FORK
from optuna_metallmix.fork_lock import ForkLock
from optuna_metallmix.metalearner.dataset import MAX_STUDIES
from optuna_metallmix.metalearner.dataset import MetaDataset
from optuna_metallmix.metalearner.dataset import categorical_columns
from optuna_metallmix.space import SearchSpace


if TYPE_CHECKING:
    import pandas as pd
    from catboost import CatBoost
    from catboost import CatBoostRegressor
    from catboost import Pool

Floats = NDArray[np.float64]

_CATBOOST_LOCK = ForkLock()
"""CatBoost 1.2.10 can crash with a segmentation fault when two threads fit at once (2 of about
10,000 fits; measured 2026-11), as trials do with ``n_jobs``."""

N_FOLDS = 10
"""Maximum number of folds of past studies. (Mean regret of the first pick on Quick-Tune with 12
studies: .18 with 5 folds, .13 with 12; measured 2026-11.)"""
N_FOLDS_SINGLE_STUDY = 5
"""Number of folds of the trials if there is only one past study."""
MIN_STUDY_ROWS = 5
"""Minimum number of rows of a study that gets a model of its own."""
MIN_SAMPLED_ROWS = 20
"""Minimum number of rows that trees are fitted on a share of: CatBoost raises if a tree gets none
(with a share of 60%, 5 rows and 60 trees in 4 of 10 fits)."""


@dataclass(frozen=True)
class Trees:
    """Hyperparameters of the gradient-boosted trees.

    Attributes:
        depth: Depth of each tree.
        n: Number of trees.
        learning_rate: Step size of boosting.
        rows: Share of the rows that each tree is fitted on.
        columns: Share of the columns that each split is chosen from.
    """

    depth: int
    n: int
    learning_rate: float
    rows: float = 0.8
    columns: float = 1.0


SHALLOW = Trees(4, 150, 0.08)
"""The default. (Mean regret of the first pick with shallow trees and with trees of depth 8:
LCBench .30 and .37, HPOBench .15 and .14; measured 2026-11.)"""
DEEP = Trees(8, 80, 0.15)
"""For many interacting choices. (Mean regret of the first pick on Quick-Tune: .22 with shallow
trees, .13 with deep ones; measured 2026-11.)"""
SMALL = Trees(3, 60, 0.15, rows=0.6, columns=0.6)
"""For the trials of a single study."""


def fit_regressor(
    space: SearchSpace,
    frame: pd.DataFrame,
    targets: Floats,
    trees: Trees,
    seed: int,
    weights: Floats | None = None,
) -> CatBoostRegressor:
    """Fit a CatBoost regressor; frame and targets must vary (:func:`can_fit`).

    32 bins for numbers and one-hot encoded choices were four times as fast as CatBoost's defaults
    and better (mean regret of the first pick on LCBench .31 instead of .51; measured 2026-11). A
    second thread gained nothing on 3,000 rows.
    """
    from catboost import CatBoostRegressor
    from catboost import Pool

    model = CatBoostRegressor(
        iterations=trees.n,
        depth=trees.depth,
        learning_rate=trees.learning_rate,
        loss_function="RMSE",
        boosting_type="Plain",
        bootstrap_type="Bernoulli",
        subsample=trees.rows if len(frame) >= MIN_SAMPLED_ROWS else 1.0,
        rsm=trees.columns,
        border_count=32,
        one_hot_max_size=255,  # the maximum
        random_seed=seed,
        thread_count=1,
        allow_writing_files=False,
        logging_level="Silent",
    )
    categorical = categorical_columns(space)
    with NO_FORK, _CATBOOST_LOCK:  # a child must not inherit locks of CatBoost
        # Its threads have locks even when they are idle, so each of its calls has one thread.
        pool = Pool(frame, targets, cat_features=categorical, weight=weights, thread_count=1)
        return model.fit(pool)


def sum_of(models: Sequence[CatBoost], weights: Sequence[float]) -> list[tuple[float, CatBoost]]:
    """Return weighted models with the same weighted sum, if possible only one, which is faster.

    Models of parameters with more than 255 choices, which CatBoost encodes by the mean target of
    each choice, cannot be merged.
    """
    from catboost import CatBoostError
    from catboost import sum_models

    try:
        merged = sum_models(list(models), list(weights), ctr_merge_policy="FailIfCtrIntersects")
    except CatBoostError:
        return list(zip(weights, models, strict=True))
    return [(1.0, merged)]


def shap_values_of(model: CatBoost, pool: Pool) -> Floats:
    """Return SHAP values, shape (n, n_parameters + 1); the last column is the base value."""
    with NO_FORK, _CATBOOST_LOCK:  # a child must not inherit locks of CatBoost
        values: Floats = model.get_feature_importance(pool, type="ShapValues", thread_count=1)
        return values


@dataclass(frozen=True)
class Ensemble:
    """Regressors and their predictions of trials of studies that they were not fitted on.

    Attributes:
        members: The regressors. Their mean is the prediction.
        held_out: Predictions of the rows by the members that have not seen their study, shape
            (n_rows,); NaN if unknown.
    """

    members: list[CatBoost]
    held_out: Floats


@dataclass(frozen=True)
class Quality:
    """How well predictions of held-out studies agree with their trials.

    Attributes:
        rank_correlations: Spearman correlation of predicted and true scores by study, shape
            (n_studies,); NaN if unknown.
        top_scores: Mean true score of the top 10% of trials by predicted score, by study, shape
            (n_studies,); NaN if unknown.
    """

    rank_correlations: Floats
    top_scores: Floats

    def is_clearly_better(self, other: Quality) -> bool:
        """Return whether the top scores are better by more than the standard error."""
        gains = self.top_scores - other.top_scores
        gains = gains[~np.isnan(gains)]
        return len(gains) > 2 and bool(gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains)))


def most_relevant(dataset: MetaDataset, n: int, seed: int) -> list[str]:
    """Return the ``n`` parameters that matter most to trees fitted on all rows, in order."""
    model = fit_regressor(dataset.space, dataset.frame, dataset.scores, SHALLOW, seed)
    ranked = np.argsort(-model.get_feature_importance(), kind="stable")
    return [name for i, name in enumerate(dataset.space) if i in ranked[:n]]


def fit_pooled(dataset: MetaDataset, trees: Trees, seed: int) -> Ensemble:
    """Fit one member per fold on the rows outside that fold; ``seed`` also assigns the folds."""
    weights = dataset.weights[dataset.groups] / np.bincount(dataset.groups)[dataset.groups]
    is_checkable = len(_checkable_studies(dataset)) > 1
    held_out = np.full(len(dataset.scores), np.nan)
    members: list[CatBoost] = []
    for seen in _training_rows(dataset, np.random.default_rng(seed)):
        data, member_seed = (dataset.frame[seen], dataset.scores[seen]), seed + len(members)
        model = fit_regressor(dataset.space, *data, trees, member_seed, weights[seen])
        members.append(model)
        if is_checkable and not seen.all():
            held_out[~seen] = model.predict(dataset.frame[~seen], thread_count=1)
    return Ensemble(members, held_out)


def fit_studies(dataset: MetaDataset) -> dict[int, CatBoost]:
    """Fit a model to each study that is large enough and varies, by its index."""
    models: dict[int, CatBoost] = {}
    for study in np.unique(dataset.groups).tolist():
        rows = dataset.groups == study
        frame, scores = dataset.frame[rows], dataset.scores[rows]
        if len(scores) >= MIN_STUDY_ROWS and can_fit(frame, scores):
            models[study] = _fit_study(dataset.space, frame, scores)
    return models


def _study_key(space: SearchSpace, frame: pd.DataFrame, scores: Floats) -> Hashable:
    """Return a digest: the trials themselves would take more memory than the models."""
    categorical = set(categorical_columns(space))
    digest = blake2b(scores.tobytes())
    for name, values in frame.items():
        column = values.tolist() if name in categorical else values.to_numpy().tobytes()
        digest.update(repr((name, column)).encode())
    return digest.digest()


@cached(LRUCache(maxsize=4 * MAX_STUDIES), key=_study_key, lock=ForkLock())
def _fit_study(space: SearchSpace, frame: pd.DataFrame, scores: Floats) -> CatBoost:
    return fit_regressor(space, frame, scores, SMALL, seed=0)


def predict_held_out(dataset: MetaDataset, models: Mapping[int, CatBoost]) -> Floats:
    """Predict each row by the weighted mean of the other studies' models, shape (n_rows,).

    There must be at least two models.
    """
    from catboost import Pool

    categorical = categorical_columns(dataset.space)
    pool = Pool(dataset.frame, cat_features=categorical, thread_count=1)
    studies = np.array(list(models))
    predictions = np.stack([model.predict(pool, thread_count=1) for model in models.values()])
    weights = dataset.weights[studies, None] * (studies[:, None] != dataset.groups)
    held_out: Floats = (weights * predictions).sum(axis=0) / weights.sum(axis=0)
    return held_out


def measure(held_out: Floats, dataset: MetaDataset) -> Quality:
    """Compare predictions of held-out rows, shape (n_rows,), with the true scores."""
    correlations, top_scores = np.full((2, len(dataset.studies)), np.nan)
    known = ~np.isnan(held_out)
    for study in np.unique(dataset.groups):
        rows = known & (dataset.groups == study)
        if rows.sum() > 2:
            true, predicted = dataset.scores[rows], held_out[rows]
            correlations[study] = _spearman(predicted, true)
            best = np.argsort(-predicted, kind="stable")[: max(1, rows.sum() // 10)]
            top_scores[study] = true[best].mean()
    return Quality(correlations, top_scores)


def can_fit(frame: pd.DataFrame, targets: Floats) -> bool:
    """Return whether both vary in CatBoost's single precision; it raises if not."""
    return varies(frame) and bool(np.ptp(targets.astype(np.float32)) > 0)


def varies(frame: pd.DataFrame) -> bool:
    """Return whether any column has more than one value."""
    return bool(frame.nunique(dropna=False).max() > 1)


def _checkable_studies(dataset: MetaDataset) -> NDArray[np.int64]:
    """Return the studies that predictions are checked on: of full weight, or all if none is."""
    studies = np.unique(dataset.groups)
    full = studies[dataset.weights[studies] == 1.0]
    return full if len(full) else studies


def _training_rows(dataset: MetaDataset, rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    """Return the mask of each member's training rows.

    A fold is a part of the checkable studies, or of the trials if there is only one. If the
    remaining rows are constant, on which CatBoost raises, the member is trained on all rows.
    """
    studies, units = _checkable_studies(dataset), dataset.groups
    n_folds = min(N_FOLDS, len(studies))
    if len(studies) == 1:
        n_folds, units = N_FOLDS_SINGLE_STUDY, np.arange(len(dataset.groups))
        studies = units
    shuffled = rng.permutation(studies)
    masks = [~np.isin(units, shuffled[fold::n_folds]) for fold in range(n_folds)]
    return [
        rows if can_fit(dataset.frame[rows], dataset.scores[rows]) else np.ones_like(rows)
        for rows in masks
    ]


def _spearman(first: Floats, second: Floats) -> float:
    import pandas as pd  # scipy.stats takes half a second to import

    x, y = (pd.Series(values).rank().to_numpy(float) for values in (first, second))
    return float(np.corrcoef(x, y)[0, 1]) if min(np.ptp(x), np.ptp(y)) > 0 else 0.0

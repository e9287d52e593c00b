"""Predict a configuration's score on a new study from past studies, with SHAP values.

The meta-learner is the mean of an ensemble of CatBoost regressors. The mean of additive
explanations is additive, so its SHAP values are the mean of the members'. CatBoost's own SHAP
values equal those of ``shap.TreeExplainer`` (checked with shap 0.51).
"""

from __future__ import annotations

from collections.abc import Hashable
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from cachetools import LRUCache
from cachetools import cached

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history import History
from optuna_metallmix.history import PastStudy
from optuna_metallmix.metalearner.dataset import MetaDataset
from optuna_metallmix.metalearner.dataset import build_meta_dataset
from optuna_metallmix.metalearner.dataset import categorical_columns
from optuna_metallmix.metalearner.dataset import evenly_spaced
from optuna_metallmix.metalearner.dataset import to_frame
from optuna_metallmix.metalearner.ensemble import DEEP
from optuna_metallmix.metalearner.ensemble import SHALLOW
from optuna_metallmix.metalearner.ensemble import Floats
from optuna_metallmix.metalearner.ensemble import Trees
from optuna_metallmix.metalearner.ensemble import fit_ensemble
from optuna_metallmix.metalearner.ensemble import is_clearly_better
from optuna_metallmix.metalearner.ensemble import n_studies
from optuna_metallmix.metalearner.ensemble import shap_values_of
from optuna_metallmix.metalearner.ensemble import varies
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace


if TYPE_CHECKING:
    from catboost import Pool

MAX_EXPLAINED = 1_000
"""Maximum number of past trials, evenly spaced, whose SHAP values are computed."""
MIN_TRUST = 0.1
"""Rank correlation on unseen studies up to which past studies are considered useless."""
UNKNOWN_TRUST = 0.5
"""Trust in a single past study, which cannot be validated on another."""
MIN_ROWS = 8
"""Minimum number of rows: with fewer, CatBoost fits noise or raises."""


@dataclass(frozen=True)
class Prediction:
    """Predicted scores of configurations.

    Attributes:
        mean: Predicted scores, shape (n,), about [0, 1]; 1 is the best trial of a study.
        spread: Standard deviations across the ensemble's members, shape (n,), in score units.
    """

    mean: Floats
    spread: Floats


class MetaLearner:
    """Predicts the score of a configuration on an unseen study.

    Args:
        seed: Seeds the assignment of studies to folds, and CatBoost.
        trees: Hyperparameters of the trees. Default: :data:`SHALLOW`, unless :data:`DEEP` trees
            are clearly better on held-out studies.
    """

    def __init__(self, *, seed: int = 0, trees: Trees | None = None) -> None:
        self.seed = seed
        self.trees = trees
        self.quality: float | None = None
        """Mean rank correlation of predicted and true scores on held-out studies, in [-1, 1];
        ``None`` with a single study."""
        self.studies: tuple[PastStudy, ...] = ()
        """The past studies, if fitted by :func:`fit_meta_learner`."""

    def fit(self, dataset: MetaDataset) -> MetaLearner:
        """Fit on past trials; every study has the same weight, whatever its number of trials.

        Raises:
            HistoryError: There are too few rows, or the parameters or scores are constant.
        """
        _check_learnable(dataset)
        self.space = dataset.space
        self.dataset = dataset
        self.explained_rows = evenly_spaced(len(dataset.configs), MAX_EXPLAINED)
        """Rows of the dataset that :attr:`past_shap_values` explains, shape (n,)."""
        self.__dict__.pop("past_shap_values", None)  # cached by an earlier fit
        best = fit_ensemble(dataset, self.trees or SHALLOW, self.seed)
        if self.trees is None and n_studies(dataset) > 2:
            deep = fit_ensemble(dataset, DEEP, self.seed)
            best = deep if is_clearly_better(deep, best) else best
        self.members_ = best.members
        known = best.rank_correlations[~np.isnan(best.rank_correlations)]
        self.quality = float(known.mean()) if len(known) else None
        return self

    @property
    def trust(self) -> float:
        """How well past studies predict unseen ones, in [0, 1]: :attr:`quality` if known."""
        return UNKNOWN_TRUST if self.quality is None else max(self.quality, 0.0)

    def predict(self, configs: Sequence[Config]) -> Prediction:
        """Predict the scores of ``configs``."""
        pool = self._pool(configs)
        scores = np.stack([member.predict(pool, thread_count=1) for member in self.members_])
        return Prediction(scores.mean(axis=0), scores.std(axis=0))

    def shap_values(self, configs: Sequence[Config]) -> tuple[Floats, float]:
        """Return SHAP values, shape (n, n_parameters), and the base value, in score units.

        The values of each row and the base value sum to the predicted mean.
        """
        pool = self._pool(configs)
        values = np.mean([shap_values_of(member, pool) for member in self.members_], axis=0)
        return values[:, :-1], float(values[0, -1])

    @cached_property
    def past_shap_values(self) -> tuple[Floats, float]:
        """:meth:`shap_values` of the past trials in :attr:`explained_rows`."""
        return self.shap_values([self.dataset.configs[i] for i in self.explained_rows])

    def _pool(self, configs: Sequence[Config]) -> Pool:
        from catboost import Pool

        frame = to_frame(self.space, configs)
        return Pool(frame, cat_features=categorical_columns(self.space))


def _check_learnable(dataset: MetaDataset) -> None:
    n_rows = len(dataset.configs)
    if n_rows < MIN_ROWS:
        problem = f"there are only {n_rows} past trials, but at least {MIN_ROWS} are needed"
    elif not varies(to_frame(dataset.space, dataset.configs)):
        problem = "all past trials have the same parameter values"
    elif not np.ptp(dataset.scores) > 0:
        problem = "all past trials have the same score"
    else:
        return
    raise HistoryError(f"Nothing can be learned from past studies: {problem}. Run more trials.")


def _cache_key(history: History, space: SearchSpace, seed: int) -> Hashable:
    # `id` is safe: the cached learner keeps the trials alive, and they are replaced on any change.
    studies = tuple((study.name, id(study.trials)) for study in history.studies)
    return seed, repr(list(space.items())), studies


@cached(LRUCache(maxsize=4), key=_cache_key, lock=Lock())
def fit_meta_learner(history: History, space: SearchSpace, seed: int) -> MetaLearner:
    """Fit the meta-learner on past studies, once per process for the same studies.

    Raises:
        HistoryError: Nothing can be learned from ``history``.
    """
    learner = MetaLearner(seed=seed).fit(build_meta_dataset(history, space))
    learner.studies = history.studies
    return learner

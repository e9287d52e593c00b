"""Predict a configuration's score on a new study from past studies, with SHAP values.

The meta-learner averages an ensemble that is fitted on all past studies and a model of each study.
(Regret of the first pick with the ensemble, and with both: XGBoost with pasts made by TPE .71 and
.29, with random ones .27 and .26; LCBench .31 and .32; measured 2026-11.) If the ensemble alone is
clearly better on held-out studies, it is used alone. The SHAP values are the mean of the models';
CatBoost's own equal those of ``shap.TreeExplainer`` (checked with shap 0.51).
"""

from __future__ import annotations

from collections.abc import Hashable
from collections.abc import Mapping
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from cachetools import LRUCache
from cachetools import cached

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.fork_lock import ForkLock
from optuna_metallmix.fork_lock import import_modules
from optuna_metallmix.history import History
from optuna_metallmix.history import PastStudy
from optuna_metallmix.metalearner.dataset import MAX_VALUES
from optuna_metallmix.metalearner.dataset import MetaDataset
from optuna_metallmix.metalearner.dataset import build_meta_dataset
from optuna_metallmix.metalearner.dataset import evenly_spaced
from optuna_metallmix.metalearner.dataset import limit_studies
from optuna_metallmix.metalearner.dataset import to_rows
from optuna_metallmix.metalearner.ensemble import DEEP
from optuna_metallmix.metalearner.ensemble import SHALLOW
from optuna_metallmix.metalearner.ensemble import Ensemble
from optuna_metallmix.metalearner.ensemble import Floats
from optuna_metallmix.metalearner.ensemble import Trees
from optuna_metallmix.metalearner.ensemble import can_fit
from optuna_metallmix.metalearner.ensemble import fit_pooled
from optuna_metallmix.metalearner.ensemble import fit_studies
from optuna_metallmix.metalearner.ensemble import measure
from optuna_metallmix.metalearner.ensemble import most_relevant
from optuna_metallmix.metalearner.ensemble import predict_held_out
from optuna_metallmix.metalearner.ensemble import shap_values_of
from optuna_metallmix.metalearner.ensemble import sum_of
from optuna_metallmix.metalearner.ensemble import varies
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import labels_of
from optuna_metallmix.space import value_key


if TYPE_CHECKING:
    from catboost import CatBoost
    from catboost import Pool

STUDY_SHARE = 0.5
"""Weight of the models of the studies, unless the pooled ensemble alone is clearly better."""
MAX_ROWS = 3_000
"""Maximum number of rows of the pooled ensemble. More rows take longer and did not help (mean
regret of the first pick on LCBench: .39 with 1,000 of its 2,000 rows, .43 with all; measured
2026-11)."""
MAX_COLUMNS = 60
"""Maximum number of parameters that are all learned from: the time of a fit grows with it."""
N_RELEVANT = 40
"""Number of parameters, the most relevant ones, that are learned from if there are more; the SHAP
values of the others are 0. (Of 300, fits with the 60 and the 40 most relevant took 7 and 5 s, and
predicted held-out synthetic studies equally well; measured 2026-11.)"""
MAX_EXPLAINED = 300
"""Maximum number of past trials, evenly spaced, whose SHAP values are computed."""
MIN_TRUST = 0.1
"""Rank correlation on unseen studies up to which past studies are considered useless."""
UNKNOWN_TRUST = 0.5
"""Trust in a single past study, which cannot be validated on another."""
UNKNOWN_ERROR = 0.3
"""Error of the predictions from a single past study, in score units; usual with several."""
MIN_ROWS = 8
"""Minimum number of rows: with fewer, CatBoost fits noise or raises."""


@dataclass(frozen=True)
class Prediction:
    """Predicted scores of configurations.

    Attributes:
        mean: Predicted scores, shape (n,), about [0, 1]; 1 is the best trial of a study.
        spread: Standard errors of the mean over past studies, shape (n,), in score units. Without
            models of the studies, standard deviations across the ensemble's members.
    """

    mean: Floats
    spread: Floats


class MetaLearner:
    """Predicts the score of a configuration on an unseen study.

    Args:
        seed: Seeds the assignment of studies to folds, and CatBoost.
        trees: Hyperparameters of the pooled ensemble. Default: :data:`SHALLOW`, unless
            :data:`DEEP` trees are clearly better on held-out studies.
    """

    def __init__(self, *, seed: int = 0, trees: Trees | None = None) -> None:
        self.seed = seed
        self.trees = trees
        self.quality: float | None = None
        """Mean rank correlation of predicted and true scores on held-out studies, in [-1, 1];
        ``None`` if there are too few studies to hold any out."""
        self.studies: tuple[PastStudy, ...] = ()
        """The past studies, if fitted by :func:`fit_meta_learner`."""

    def fit(self, dataset: MetaDataset) -> MetaLearner:
        """Fit on past trials; studies have the same weight from ten trials on.

        Raises:
            HistoryError: There are too few rows, or the parameters or scores are constant.
        """
        self.space, self.dataset = dataset.space, dataset
        sample = dataset.thinned(MAX_ROWS)
        _check_learnable(sample)
        if len(dataset.space) > MAX_COLUMNS:
            names = most_relevant(sample, N_RELEVANT, self.seed)
            dataset, sample = dataset.restricted(names), sample.restricted(names)
            _check_learnable(sample)
        self.columns = tuple(dataset.space)
        """Names of the parameters that the models are fitted on."""
        pooled = self._fit_pooled(sample)
        models, held_out = _select(fit_studies(dataset), pooled, sample)
        self._combine(pooled.members, models)
        self._validate(held_out, sample)
        self.explained_rows = evenly_spaced(len(dataset.configs), MAX_EXPLAINED)
        """Rows of the dataset that :attr:`past_shap_values` explains, shape (n,)."""
        self.past_shap_values = self.shap_values([dataset.configs[i] for i in self.explained_rows])
        """:meth:`shap_values` of the past trials in :attr:`explained_rows`."""
        return self

    def _fit_pooled(self, sample: MetaDataset) -> Ensemble:
        pooled = fit_pooled(sample, self.trees or SHALLOW, self.seed)
        if self.trees is None and sample.n_studies > 2:
            deep = fit_pooled(sample, DEEP, self.seed)
            if measure(deep.held_out, sample).is_clearly_better(measure(pooled.held_out, sample)):
                return deep
        return pooled

    def _combine(self, members: Sequence[CatBoost], models: Mapping[int, CatBoost]) -> None:
        """Average the pooled members and the models of the studies."""
        self.members_ = list(members)
        self.study_models_ = list(models.values())
        weights = self.dataset.weights[list(models)] if models else np.ones(len(members))
        self.study_weights_ = weights / weights.sum()
        """Weight of each row of :meth:`predict_by_study`, shape (n_rows,); they sum to 1."""
        share = STUDY_SHARE if models else 0.0
        of_members = [(1 - share) / len(members)] * len(members)
        of_studies = share * self.study_weights_[: len(models)]
        self._mean = sum_of([*members, *models.values()], [*of_members, *of_studies])

    def _validate(self, held_out: Floats, sample: MetaDataset) -> None:
        quality = measure(held_out, sample).rank_correlations
        known = ~np.isnan(quality)
        weights = sample.weights[known]
        self.quality = float(np.average(quality[known], weights=weights)) if known.any() else None
        errors = (sample.scores - held_out)[~np.isnan(held_out)]
        self.error = float(np.sqrt(np.mean(errors**2))) if len(errors) else UNKNOWN_ERROR
        """Root mean squared error of the predictions on held-out studies, in score units."""

    @property
    def trust(self) -> float:
        """How well past studies predict unseen ones, in [0, 1]: :attr:`quality` if known."""
        return UNKNOWN_TRUST if self.quality is None else max(self.quality, 0.0)

    def predict(self, configs: Sequence[Config]) -> Prediction:
        """Predict the scores of ``configs``."""
        return self.summarize(self.predict_by_study(configs))

    def summarize(self, rows: Floats) -> Prediction:
        """Return the prediction that :meth:`predict_by_study` gives study by study."""
        mean = self.study_weights_ @ rows
        variance = self.study_weights_ @ (rows - mean) ** 2
        n_studies = 1.0 / float((self.study_weights_**2).sum()) if self.study_models_ else 1.0
        return Prediction(mean, np.sqrt(variance / n_studies))

    def predict_mean(self, configs: Sequence[Config]) -> Floats:
        """Return the mean that :meth:`predict` returns, in a fraction of the time."""
        pool = self._pool(configs)
        parts = [weight * model.predict(pool, thread_count=1) for weight, model in self._mean]
        mean: Floats = np.sum(parts, axis=0)
        return mean

    def predict_by_study(self, configs: Sequence[Config]) -> Floats:
        """Return the scores predicted for each past study, shape (n_rows, len(configs)).

        A row is the mean of the pooled ensemble and of the model of a study. Without models of the
        studies, it is a member of the ensemble.
        """
        pool = self._pool(configs)
        rows = np.stack([member.predict(pool, thread_count=1) for member in self.members_])
        if not self.study_models_:
            return rows
        pooled: Floats = rows.mean(axis=0)
        rows = np.stack([model.predict(pool, thread_count=1) for model in self.study_models_])
        return STUDY_SHARE * rows + (1 - STUDY_SHARE) * pooled

    def shap_values(self, configs: Sequence[Config]) -> tuple[Floats, float]:
        """Return SHAP values, shape (n, n_parameters), and the base value, in score units.

        The values of each row and the base value sum to the predicted mean.
        """
        pool = self._pool(configs)
        parts = [weight * shap_values_of(model, pool) for weight, model in self._mean]
        sums: Floats = np.sum(parts, axis=0)
        values = np.zeros((len(configs), len(self.space)))
        values[:, [name in self.columns for name in self.space]] = sums[:, :-1]
        return values, float(sums[0, -1])

    def _pool(self, configs: Sequence[Config]) -> Pool:
        from catboost import Pool

        space = {name: self.space[name] for name in self.columns}
        indices = [
            i for i, distribution in enumerate(space.values()) if not is_ordered(distribution)
        ]
        return Pool(to_rows(space, configs), cat_features=indices, thread_count=1)


def _select(
    models: Mapping[int, CatBoost], pooled: Ensemble, sample: MetaDataset
) -> tuple[Mapping[int, CatBoost], Floats]:
    """Return the models of studies to use beside ``pooled``, and predictions of held-out rows."""
    if len(models) < 2:
        return {}, pooled.held_out
    averaged = STUDY_SHARE * predict_held_out(sample, models)
    averaged += (1 - STUDY_SHARE) * pooled.held_out
    if measure(pooled.held_out, sample).is_clearly_better(measure(averaged, sample)):
        return {}, pooled.held_out
    return models, averaged


def _check_learnable(dataset: MetaDataset) -> None:
    n_rows = len(dataset.configs)
    if n_rows < MIN_ROWS:
        problem = f"there are only {n_rows} past trials, but at least {MIN_ROWS} are needed"
    elif not varies(dataset.frame):
        problem = "all past trials have the same parameter values"
    elif not can_fit(dataset.frame, dataset.scores):
        problem = "all past trials have the same score"
    else:
        return
    raise HistoryError(f"Nothing can be learned from past studies: {problem}. Run more trials.")


def _schema(space: SearchSpace) -> Hashable:
    """Return what a model depends on: names and choices, but not the ranges."""
    choices = {n: [] if is_ordered(dist) else choices_of(dist) for n, dist in space.items()}
    return tuple(
        (name, *map(value_key, values), *labels_of(space[name], values))
        for name, values in choices.items()
    )


def _cache_key(history: History, space: SearchSpace, seed: int) -> Hashable:
    # `id` is safe: the cached learner keeps the trials alive, and they are replaced on any change.
    studies = tuple((study.name, id(study.trials)) for study in history.studies)
    return seed, _schema(space), studies


def _size(learner: MetaLearner) -> int:
    """Return the number of values of a learner's past, within a quarter and all of the cache."""
    n_values = len(learner.dataset.configs) * len(learner.space)
    return min(max(n_values, MAX_VALUES // 2), 2 * MAX_VALUES)


@cached(LRUCache(2 * MAX_VALUES, getsizeof=_size), key=_cache_key, lock=ForkLock())
def _fit(history: History, space: SearchSpace, seed: int) -> MetaLearner:
    learner = MetaLearner(seed=seed).fit(build_meta_dataset(history, space))
    learner.studies = history.studies
    return learner


def fit_meta_learner(history: History, space: SearchSpace, seed: int) -> MetaLearner:
    """Fit the meta-learner on past studies, once per process for the same studies.

    It is not fitted again if a range changes, as in objectives whose ranges depend on the trial.

    Raises:
        HistoryError: Nothing can be learned from ``history``.
    """
    import_modules("catboost", "pandas")
    learner = _fit(limit_studies(history, space), space, seed)
    if repr(learner.space) == repr(space):
        return learner
    learner = copy(learner)
    learner.space = space
    return learner

"""rows -> CatBoost model of the score: prediction, its spread, SHAP values, quality on unseen
studies.

The mean of an ensemble (``_ensemble.py``), its trees as deep as serves the studies left out. A
mean of members is still additive, so SHAP values are the mean of theirs.
CatBoost's own SHAP values equal ``shap.TreeExplainer`` (shap 0.51, measured while planning).
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
from numpy.typing import NDArray

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history import History
from optuna_metallmix.history import PastStudy
from optuna_metallmix.metalearner.dataset import MetaDataset
from optuna_metallmix.metalearner.dataset import build_meta_dataset
from optuna_metallmix.metalearner.dataset import categorical_columns
from optuna_metallmix.metalearner.dataset import to_frame
from optuna_metallmix.metalearner.ensemble import DEEP
from optuna_metallmix.metalearner.ensemble import SHALLOW
from optuna_metallmix.metalearner.ensemble import Trees
from optuna_metallmix.metalearner.ensemble import finds_more
from optuna_metallmix.metalearner.ensemble import fit_ensemble
from optuna_metallmix.metalearner.ensemble import n_studies
from optuna_metallmix.metalearner.ensemble import shap_values_of
from optuna_metallmix.metalearner.ensemble import varies
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace


if TYPE_CHECKING:
    import pandas as pd
    from catboost import Pool

Floats = NDArray[np.float64]

MAX_EXPLAINED = 1_000
"""Past trials that effects are averaged over: an even part of more."""
LEAST_TRUST = 0.1
"""A past that orders the trials of unseen studies no better than this carries nothing over."""
UNKNOWN_TRUST = 0.5
"""What a single past study is trusted, which nothing can be held against."""
MIN_ROWS = 8
"""Fewest rows: below, CatBoost fits noise or raises (one row, constant target)."""


@dataclass(frozen=True)
class Prediction:
    """What the meta-learner expects of configurations.

    Attributes:
        mean: Expected scores, shape (n,), about [0, 1]; 1 is the best of a study.
        spread: Standard deviations between the members, shape (n,), in score units.
    """

    mean: Floats
    spread: Floats


class MetaLearner:
    """Predicts the score of a configuration on a study nobody has seen.

    Args:
        seed: Seeds which studies each member leaves out, and CatBoost.
        trees: How the trees are grown. Default: :data:`SHALLOW`, unless :data:`DEEP` ones find
            better trials in past studies left out, by more than the standard error.
    """

    def __init__(self, *, seed: int = 0, trees: Trees | None = None) -> None:
        self.seed = seed
        self.trees = trees
        self.quality: float | None = None
        """Mean rank correlation between predicted and true scores on studies that the
        predicting members had not seen, in [-1, 1]; ``None`` with a single study."""
        self.studies: tuple[PastStudy, ...] = ()
        """The past studies it was fitted on, where :func:`fit_meta_learner` fitted it."""

    def fit(self, dataset: MetaDataset) -> MetaLearner:
        """Fit on past trials; every study weighs the same, however many trials it has.

        Raises:
            HistoryError: There are too few rows, or nothing varies.
        """
        frame = to_frame(dataset.space, dataset.configs)
        _check_learnable(dataset, frame)
        self.space = dataset.space
        self.dataset = dataset
        for name in ("explained", "past_shap_values"):
            self.__dict__.pop(name, None)  # of another past, where this is not the first fit
        best = fit_ensemble(dataset, self.trees or SHALLOW, self.seed)
        if self.trees is None and n_studies(dataset) > 2:
            deep = fit_ensemble(dataset, DEEP, self.seed)
            best = deep if finds_more(deep, best) else best
        self.members_ = best.members
        known = best.agreements[~np.isnan(best.agreements)]
        self.quality = float(known.mean()) if len(known) else None
        return self

    @property
    def trust(self) -> float:
        """How far the past tells of unseen studies, in [0, 1]: :attr:`quality` where known."""
        return UNKNOWN_TRUST if self.quality is None else max(self.quality, 0.0)

    def predict(self, configs: Sequence[Config]) -> Prediction:
        """Predict the scores of ``configs``."""
        pool = self._pool(configs)
        scores = np.stack([member.predict(pool, thread_count=1) for member in self.members_])
        return Prediction(scores.mean(axis=0), scores.std(axis=0))

    def shap_values(self, configs: Sequence[Config]) -> tuple[Floats, float]:
        """Return SHAP values, shape (n, n_parameters), and the base value, in score units.

        Each row's values and the base value add up to :meth:`predict`'s mean.
        """
        pool = self._pool(configs)
        values = np.mean([shap_values_of(one, pool) for one in self.members_], axis=0)
        return values[:, :-1], float(values[0, -1])

    @cached_property
    def explained(self) -> NDArray[np.int64]:
        """The rows of the dataset that :attr:`past_shap_values` are of, shape (n,)."""
        last = len(self.dataset.configs) - 1
        return np.unique(np.linspace(0, last, MAX_EXPLAINED).round().astype(np.int64))

    @cached_property
    def past_shap_values(self) -> tuple[Floats, float]:
        """:meth:`shap_values` of past trials; they are the same for every study that asks."""
        return self.shap_values([self.dataset.configs[i] for i in self.explained])

    def _pool(self, configs: Sequence[Config]) -> Pool:
        from catboost import Pool

        frame = to_frame(self.space, configs)
        return Pool(frame, cat_features=categorical_columns(self.space))


def _check_learnable(dataset: MetaDataset, frame: pd.DataFrame) -> None:
    n_rows = len(dataset.configs)
    if n_rows < MIN_ROWS:
        raise HistoryError(
            f"There are only {n_rows} past trials, and {MIN_ROWS} are the least that anything "
            "can be learned from: run more trials."
        )
    if not varies(frame):
        raise HistoryError(
            "All past trials have the same values, so nothing can be learned from them: run "
            "trials that differ."
        )
    if not np.ptp(dataset.scores) > 0:
        raise HistoryError(
            "All past trials have the same score, so nothing can be learned from them: run "
            "more trials."
        )


def _past_key(history: History, space: SearchSpace, seed: int) -> Hashable:
    # A study's trials are the same object until it changes; the cached learner keeps them alive.
    studies = tuple((study.name, id(study.trials)) for study in history.studies)
    return seed, repr(list(space.items())), studies


@cached(LRUCache(maxsize=4), key=_past_key, lock=Lock())
def fit_meta_learner(history: History, space: SearchSpace, seed: int) -> MetaLearner:
    """Fit the meta-learner on a past, once for all studies of this process that have this past.

    Raises:
        HistoryError: Nothing can be learned from it.
    """
    learner = MetaLearner(seed=seed).fit(build_meta_dataset(history, space))
    learner.studies = history.studies
    return learner

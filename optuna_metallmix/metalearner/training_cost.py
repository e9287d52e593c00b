"""past trials with durations -> what training a configuration costs, in middling past trainings.

Studies differ in data and machines, so seconds count beside the middle of their own study, as
logarithms. Only complete trainings count: a failed or pruned one ended early, and says little of
what the whole would have taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from cachetools import LRUCache
from cachetools import cached
from numpy.typing import NDArray

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.metalearner.dataset import MetaDataset
from optuna_metallmix.metalearner.dataset import to_frame
from optuna_metallmix.metalearner.ensemble import Trees
from optuna_metallmix.metalearner.ensemble import fit_regressor
from optuna_metallmix.metalearner.meta_learner import MIN_ROWS
from optuna_metallmix.metalearner.meta_learner import MetaLearner
from optuna_metallmix.metalearner.meta_learner import Prediction
from optuna_metallmix.space import Config


if TYPE_CHECKING:
    import pandas as pd
    from catboost import CatBoostRegressor

Floats = NDArray[np.float64]

N_PARTS = 3
_TREES = Trees(6, 60, 0.15)
MIN_EXPLAINED = 0.1
"""Least share of the durations' variance that has to be predictable: on a machine that others use
too, they can be noise, and the cheapest by noise is nobody's gain."""
MAX_SHARE = 0.9
"""What a training may cost at most, of what the best predicted one costs, to be preferred to it:
a smaller saving is less than the prediction can tell."""


class CostModel:
    """Predicts how long a training takes, beside the middle one of its study.

    The mean of regressors that each see two thirds of the past studies (of the trials, where
    there are few studies); the rest measures how far durations can be predicted at all.

    Args:
        seed: Seeds CatBoost.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, dataset: MetaDataset) -> CostModel:
        """Fit on the past trials whose durations are known.

        Raises:
            HistoryError: They are too few, all the same, or have nothing to do with the
                parameters.
        """
        rows = np.flatnonzero(~np.isnan(dataset.seconds))
        _check_enough(rows)
        frame = to_frame(dataset.space, [dataset.configs[i] for i in rows])
        groups = dataset.groups[rows]
        costs = _beside_median(np.log(dataset.seconds[rows]), groups)
        parts = _parts(groups)
        held_out = np.empty_like(costs)
        self.dataset = dataset  # kept alive: the cache below knows it by its id
        self.space = dataset.space
        self.members_: list[CatBoostRegressor] = []
        for part in range(N_PARTS):
            seen = parts != part
            _check_varied(costs[seen], frame[seen])
            model = fit_regressor(
                dataset.space, frame[seen], costs[seen], _TREES, self.seed + part
            )
            self.members_.append(model)
            held_out[~seen] = model.predict(frame[~seen])
        self.explained = float(1.0 - np.mean((costs - held_out) ** 2) / np.var(costs))
        _check_explained(self.explained)
        return self

    def predict(self, configs: Sequence[Config]) -> Floats:
        """Return the costs of ``configs`` in middling past trainings, shape (n,)."""
        frame = to_frame(self.space, configs)
        logs = np.mean([member.predict(frame) for member in self.members_], axis=0)
        costs: Floats = np.exp(logs)
        return costs


def cheapest_equal(prediction: Prediction, costs: Floats) -> int:
    """Return which configuration to prefer: the cheapest that may be as good as the best.

    As good is what is predicted within the best's own spread. The best itself, where none of
    those is clearly cheaper.
    """
    best = int(prediction.mean.argmax())
    equal = np.flatnonzero(prediction.mean >= prediction.mean[best] - prediction.spread[best])
    cheapest = int(equal[costs[equal].argmin()])
    return cheapest if costs[cheapest] <= MAX_SHARE * costs[best] else best


def _beside_median(logs: Floats, groups: NDArray[np.int64]) -> Floats:
    beside = logs.copy()
    for study in np.unique(groups):
        beside[groups == study] -= np.median(logs[groups == study])
    return beside


def _parts(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Deal whole studies out, or single trials where there are too few studies."""
    studies, place = np.unique(groups, return_inverse=True)
    units = place if len(studies) >= N_PARTS else np.arange(len(groups))
    parts: NDArray[np.int64] = units % N_PARTS
    return parts


def _check_enough(rows: NDArray[np.int64]) -> None:
    if len(rows) < MIN_ROWS:
        raise HistoryError(
            f"cost_aware=True has no effect: only {len(rows)} past trials tell how long their "
            f"training took, and {MIN_ROWS} are the least that anything can be learned from."
        )


def _check_varied(costs: Floats, frame: pd.DataFrame) -> None:
    """Check for what CatBoost raises on."""
    if not np.ptp(costs) > 0 or frame.nunique(dropna=False).max() < 2:
        raise HistoryError(
            "cost_aware=True has no effect: the past trainings, or most of them, took the same "
            "time or had the same values."
        )


def _check_explained(explained: float) -> None:
    if explained < MIN_EXPLAINED:
        raise HistoryError(
            "cost_aware=True has no effect: how long the past trainings took does not follow "
            f"from their parameters (on trials held out, {max(explained, 0.0):.0%} of the "
            "variance does)."
        )


def _learner_key(learner: MetaLearner) -> int:
    return id(learner.dataset)


@cached(LRUCache(maxsize=4), key=_learner_key, lock=Lock())
def fit_cost_model(learner: MetaLearner) -> CostModel:
    """Fit the cost model on the past of a meta-learner, once in this process.

    Raises:
        HistoryError: The durations of that past cannot be predicted.
    """
    return CostModel(seed=learner.seed).fit(learner.dataset)

"""Predict the training cost of a configuration from the durations of past trials.

Studies differ in their data and machines, so a cost is relative to the median duration of its
study; 1.0 is a median training run. Only complete trials count: others ended early.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.metalearner.dataset import MetaDataset
from optuna_metallmix.metalearner.dataset import to_frame
from optuna_metallmix.metalearner.ensemble import Floats
from optuna_metallmix.metalearner.ensemble import Trees
from optuna_metallmix.metalearner.ensemble import can_fit
from optuna_metallmix.metalearner.ensemble import fit_regressor
from optuna_metallmix.metalearner.meta_learner import MIN_ROWS
from optuna_metallmix.metalearner.meta_learner import MetaLearner
from optuna_metallmix.metalearner.meta_learner import Prediction
from optuna_metallmix.space import Config


if TYPE_CHECKING:
    from catboost import CatBoostRegressor

N_FOLDS = 3
_TREES = Trees(6, 60, 0.15)
MIN_R2 = 0.1
"""Minimum share of the variance of log durations that must be predictable. On a shared machine
durations can be noise."""
MAX_COST_RATIO = 0.9
"""A cheaper configuration is preferred only if its cost is at most this fraction of that of the
best predicted one. Smaller savings are within the error of the prediction."""


class CostModel:
    """Predicts training costs relative to the median training run of a study.

    It is the mean of regressors that are each fitted on two thirds of the past studies, or of the
    trials if there are few studies. The held-out rest measures the quality of the predictions.

    Args:
        seed: Seeds CatBoost.
    """

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, dataset: MetaDataset) -> CostModel:
        """Fit on the past trials whose durations are known.

        Raises:
            HistoryError: There are too few such trials, or their durations cannot be predicted
                from the parameters.
        """
        import pandas as pd

        rows = np.flatnonzero(~np.isnan(dataset.seconds))
        if len(rows) < MIN_ROWS:
            raise _no_effect(
                f"only {len(rows)} past trials have a known training time, but at least "
                f"{MIN_ROWS} are needed"
            )
        frame = to_frame(dataset.space, [dataset.configs[i] for i in rows])
        logs, groups = pd.Series(np.log(dataset.seconds[rows])), dataset.groups[rows]
        log_costs = (logs - logs.groupby(groups).transform("median")).to_numpy()
        folds = _assign_folds(groups)
        held_out = np.empty_like(log_costs)
        self.space = dataset.space
        self.members_: list[CatBoostRegressor] = []
        for fold in range(N_FOLDS):
            seen = folds != fold
            if not can_fit(frame[seen], log_costs[seen]):
                raise _no_effect(
                    "most past trials have the same training time or the same parameter values"
                )
            data = (frame[seen], log_costs[seen])
            self.members_.append(fit_regressor(self.space, *data, _TREES, self.seed + fold))
            held_out[~seen] = self.members_[fold].predict(frame[~seen], thread_count=1)
        self.r2 = float(1.0 - np.mean((log_costs - held_out) ** 2) / np.var(log_costs))
        """Coefficient of determination of log costs on held-out trials, up to 1."""
        if self.r2 < MIN_R2:
            raise _no_effect(
                "past training times cannot be predicted from the parameters (they explain "
                f"{max(self.r2, 0.0):.0%} of the variance on held-out trials)"
            )
        return self

    def predict(self, configs: Sequence[Config]) -> Floats:
        """Return the predicted costs of ``configs``, shape (n,); 1 is a median training run."""
        frame = to_frame(self.space, configs)
        log_costs = np.mean(
            [member.predict(frame, thread_count=1) for member in self.members_], axis=0
        )
        costs: Floats = np.exp(log_costs)
        return costs


def cheapest_equal(prediction: Prediction, costs: Floats) -> int:
    """Return the index of the cheapest configuration that may be as good as the best.

    That is, its predicted score is within the spread of the best's. Return the best if no such
    configuration is clearly cheaper.
    """
    best = int(prediction.mean.argmax())
    equal = np.flatnonzero(prediction.mean >= prediction.mean[best] - prediction.spread[best])
    cheapest = int(equal[costs[equal].argmin()])
    return cheapest if costs[cheapest] <= MAX_COST_RATIO * costs[best] else best


def _assign_folds(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Assign whole studies to folds, or single trials if there are too few studies."""
    studies, indices = np.unique(groups, return_inverse=True)
    units = indices if len(studies) >= N_FOLDS else np.arange(len(groups))
    folds: NDArray[np.int64] = units % N_FOLDS
    return folds


def _no_effect(reason: str) -> HistoryError:
    return HistoryError(f"cost_aware=True has no effect: {reason}.")


@lru_cache(maxsize=2)  # keeps the meta-learner, too
def fit_cost_model(learner: MetaLearner) -> CostModel:
    """Fit the cost model on a meta-learner's past trials, once per process.

    Raises:
        HistoryError: The past durations cannot be predicted.
    """
    return CostModel(seed=learner.seed).fit(learner.dataset)

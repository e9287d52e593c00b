"""rows -> CatBoost model of the score: prediction, its spread, SHAP values, quality on unseen
studies.

An ensemble of regressors of the score, each on a part of the past *studies*: what they disagree
on is what does not carry over from study to study, and the studies a member did not see measure
how far to trust it. The mean of members is still additive, so SHAP values are the mean of theirs.
CatBoost's own SHAP values equal ``shap.TreeExplainer`` (shap 0.51, measured while planning).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from optuna_metallmix._errors import HistoryError
from optuna_metallmix._meta_dataset import Config
from optuna_metallmix._meta_dataset import MetaDataset
from optuna_metallmix._meta_dataset import categorical_columns
from optuna_metallmix._meta_dataset import to_frame


if TYPE_CHECKING:
    import pandas as pd
    from catboost import CatBoostRegressor
    from catboost import Pool

Floats = NDArray[np.float64]

N_MEMBERS = 5
STUDY_FRACTION = 0.7
MAX_EXPLAINED = 2_000
"""Past trials that effects are averaged over: an even part of more."""
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
        seed: Seeds which studies each member sees, and CatBoost.
        n_trees: Trees of each member.
        depth: Depth of each tree.
        thread_count: Processor threads; two leave the rest to the training job.
    """

    def __init__(
        self, *, seed: int = 0, n_trees: int = 150, depth: int = 6, thread_count: int = 2
    ) -> None:
        self.seed = seed
        self.n_trees = n_trees
        self.depth = depth
        self.thread_count = thread_count
        self.quality: float | None = None
        """Mean rank correlation between predicted and true scores on studies that the
        predicting members had not seen, in [-1, 1]; ``None`` with a single study."""

    def fit(self, dataset: MetaDataset) -> MetaLearner:
        """Fit on past trials; every study weighs the same, however many trials it has.

        Raises:
            HistoryError: There are too few rows, or nothing varies.
        """
        frame = to_frame(dataset.space, dataset.configs)
        _check_learnable(dataset, frame)
        rng = np.random.default_rng(self.seed)
        self.space = dataset.space
        self.dataset = dataset
        for name in ("explained", "past_shap_values"):
            self.__dict__.pop(name, None)  # of another past, where this is not the first fit
        weights = 1.0 / np.bincount(dataset.groups)[dataset.groups]
        unseen = np.full((N_MEMBERS, len(dataset.scores)), np.nan)
        self.members_: list[CatBoostRegressor] = []
        for member in range(N_MEMBERS):
            rows = _draw(dataset, frame, rng)
            model = self._new_member(member)
            model.fit(frame[rows], dataset.scores[rows], sample_weight=weights[rows])
            self.members_.append(model)
            if _n_studies(dataset) > 1 and not rows.all():
                unseen[member, ~rows] = model.predict(frame[~rows])
        self.quality = _rank_agreement(unseen, dataset)
        return self

    def predict(self, configs: Sequence[Config]) -> Prediction:
        """Predict the scores of ``configs``."""
        pool = self._pool(configs)
        scores = np.stack([member.predict(pool) for member in self.members_])
        return Prediction(scores.mean(axis=0), scores.std(axis=0))

    def shap_values(self, configs: Sequence[Config]) -> tuple[Floats, float]:
        """Return SHAP values, shape (n, n_parameters), and the base value, in score units.

        Each row's values and the base value add up to :meth:`predict`'s mean.
        """
        pool = self._pool(configs)
        values = np.mean(
            [
                one.get_feature_importance(pool, type="ShapValues", thread_count=self.thread_count)
                for one in self.members_
            ],
            axis=0,
        )
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

        frame = self.dataset.to_frame(configs)
        return Pool(frame, cat_features=categorical_columns(self.space))

    def _new_member(self, member: int) -> CatBoostRegressor:
        from catboost import CatBoostRegressor

        return CatBoostRegressor(
            iterations=self.n_trees,
            depth=self.depth,
            learning_rate=0.08,
            loss_function="RMSE",
            boosting_type="Plain",
            random_seed=self.seed + member,
            cat_features=categorical_columns(self.space),
            thread_count=self.thread_count,
            allow_writing_files=False,
            logging_level="Silent",
        )


def _check_learnable(dataset: MetaDataset, frame: pd.DataFrame) -> None:
    n_rows = len(dataset.configs)
    if n_rows < MIN_ROWS:
        raise HistoryError(
            f"There are only {n_rows} past trials, and {MIN_ROWS} are the least that anything "
            "can be learned from: run more trials."
        )
    if not _vary(frame):
        raise HistoryError(
            "All past trials have the same values, so nothing can be learned from them: run "
            "trials that differ."
        )
    if not np.ptp(dataset.scores) > 0:
        raise HistoryError(
            "All past trials have the same score, so nothing can be learned from them: run "
            "more trials."
        )


def _vary(frame: pd.DataFrame) -> bool:
    return bool(frame.nunique(dropna=False).max() > 1)


def _n_studies(dataset: MetaDataset) -> int:
    return len(np.unique(dataset.groups))


def _draw(
    dataset: MetaDataset, frame: pd.DataFrame, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Choose the rows of one member: whole studies, or single trials where there is one study.

    All rows where those have nothing to learn from, which CatBoost raises on.
    """
    units = dataset.groups if _n_studies(dataset) > 1 else np.arange(len(dataset.scores))
    names = np.unique(units)
    n_kept = max(1, round(STUDY_FRACTION * len(names)))
    rows: NDArray[np.bool_] = np.isin(units, rng.choice(names, n_kept, replace=False))
    learnable = np.ptp(dataset.scores[rows]) > 0 and _vary(frame[rows])
    return rows if learnable else np.ones_like(rows)


def _rank_agreement(unseen: Floats, dataset: MetaDataset) -> float | None:
    known = ~np.isnan(unseen).all(axis=0)
    if not known.any():
        return None
    predicted = np.nanmean(unseen[:, known], axis=0)
    agreements = [
        _spearman(predicted[rows], dataset.scores[known][rows])
        for study in np.unique(dataset.groups[known])
        if (rows := dataset.groups[known] == study).sum() > 2
    ]
    return float(np.mean(agreements)) if agreements else None


def _spearman(first: Floats, second: Floats) -> float:
    import pandas as pd

    ranks = [pd.Series(one).rank().to_numpy() for one in (first, second)]
    if min(np.ptp(one) for one in ranks) == 0:
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])

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

from optuna_metallmix._meta_dataset import categorical_columns
from optuna_metallmix._search_space import SearchSpace


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

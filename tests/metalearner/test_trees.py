"""CatBoost is called by a single thread at a time, writes no files, and its SHAP values add up."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import catboost
import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from optuna_metallmix.metalearner.dataset import categorical_columns
from optuna_metallmix.metalearner.dataset import to_frame
from optuna_metallmix.metalearner.ensemble import Trees
from optuna_metallmix.metalearner.ensemble import fit_regressor
from optuna_metallmix.metalearner.ensemble import shap_values_of


SPACE = {"x": FloatDistribution(0, 1), "kind": CategoricalDistribution(["a", "b"])}
CONFIGS = [{"x": i / 19, "kind": "ab"[i % 2]} for i in range(20)]
TARGETS = np.linspace(0, 1, 20)
TREES = Trees(3, 5, 0.3)


def _fit(seed: int = 0) -> Any:
    return fit_regressor(SPACE, to_frame(SPACE, CONFIGS), TARGETS, TREES, seed)


def test_fit_uses_the_hyperparameters_and_writes_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = _fit()
    assert model.tree_count_ == 5
    assert model.get_param("depth") == 3
    low, high = model.predict(to_frame(SPACE, [CONFIGS[0], CONFIGS[-1]]))
    assert low < high
    assert not list(tmp_path.iterdir())


def test_shap_values_and_base_add_up() -> None:
    model = _fit()
    frame = to_frame(SPACE, CONFIGS)
    values = shap_values_of(model, catboost.Pool(frame, cat_features=categorical_columns(SPACE)))
    assert values.shape == (20, 3)
    np.testing.assert_allclose(values.sum(axis=1), model.predict(frame), atol=1e-9)


def test_threads_never_fit_concurrently(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two concurrent fits can crash the process."""
    fit, inside, together = catboost.CatBoostRegressor.fit, threading.Semaphore(1), []

    def watched(*args: Any, **options: Any) -> Any:
        alone = inside.acquire(blocking=False)
        together.append(not alone)
        try:
            return fit(*args, **options)
        finally:
            if alone:
                inside.release()

    monkeypatch.setattr(catboost.CatBoostRegressor, "fit", watched)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(_fit, range(12)))
    assert len(together) == 12
    assert not any(together)

"""Run Optuna's own cases for samplers, and learn from a past study.

In a clone of the registry: ``pytest package/samplers/metallmix/tests``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
import optuna.testing.pytest_samplers as cases
import optunahub
import pytest


REGISTRY = Path(__file__).resolve().parents[3]
MetaLLMiXSampler = optunahub.load_local_module(
    "samplers/metallmix", registry_root=str(REGISTRY)
).MetaLLMiXSampler


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", -10, 10)
    y = trial.suggest_int("y", -10, 10)
    return (x - 2) ** 2 + y**2


class TestMetaLLMiXSampler(
    cases.BasicSamplerTestCase,
    cases.RelativeSamplerTestCase,
    cases.MultiObjectiveSamplerTestCase,
):
    @pytest.fixture
    def sampler(self) -> Callable[[], optuna.samplers.BaseSampler]:
        # The cases for relative sampling expect values from the first trial on.
        return lambda: MetaLLMiXSampler(
            llm=False, base_sampler=optuna.samplers.TPESampler(n_startup_trials=0)
        )

    def test_first_trial_is_suggested_from_a_past_study(self) -> None:
        storage = optuna.storages.InMemoryStorage()
        past = optuna.create_study(
            study_name="past", storage=storage, sampler=optuna.samplers.RandomSampler(seed=0)
        )
        past.optimize(objective, n_trials=30)
        sampler = MetaLLMiXSampler(llm=False, seed=0)
        study = optuna.create_study(study_name="new", storage=storage, sampler=sampler)
        study.optimize(objective, n_trials=1)
        assert study.trials[0].user_attrs["metallmix:source"] == "meta-learner"
        assert study.best_value < past.trials_dataframe()["value"].quantile(0.2)

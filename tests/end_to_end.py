"""An objective, a past of the same task, and a model that answers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix import read_record
from optuna_metallmix.llm import Message


SPACE: dict[str, BaseDistribution] = {
    "optimizer": CategoricalDistribution(["sgd", "adam", "adamw"]),
    "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
    "momentum": FloatDistribution(0.0, 0.99),
    "depth": IntDistribution(1, 8),
}
"""``momentum`` is asked for under ``sgd`` only."""


def accuracy(params: Mapping[str, Any]) -> float:
    """Best with adamw, a learning rate of 1e-3 and depth 4: 1.0."""
    lr = abs(math.log10(params["learning_rate"]) + 3.0)
    bonus = {"sgd": 0.0, "adam": 0.1, "adamw": 0.2}[params["optimizer"]]
    return 0.8 + bonus - 0.1 * lr - 0.02 * abs(params["depth"] - 4)


def objective(trial: optuna.Trial) -> float:
    params: dict[str, Any] = {
        "optimizer": trial.suggest_categorical("optimizer", ["sgd", "adam", "adamw"]),
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True),
    }
    if params["optimizer"] == "sgd":
        params["momentum"] = trial.suggest_float("momentum", 0.0, 0.99)
    params["depth"] = trial.suggest_int("depth", 1, 8)
    return accuracy(params)


def random_trials(n: int, seed: int) -> list[FrozenTrial]:
    rng = np.random.default_rng(seed)
    trials = []
    for _ in range(n):
        params: dict[str, Any] = {
            "optimizer": str(rng.choice(["sgd", "adam", "adamw"])),
            "learning_rate": float(10 ** rng.uniform(-5, -1)),
            "depth": int(rng.integers(1, 9)),
        }
        if params["optimizer"] == "sgd":
            params["momentum"] = float(rng.uniform(0, 0.99))
        space = {name: SPACE[name] for name in params}
        trials.append(create_trial(params=params, distributions=space, value=accuracy(params)))
    return trials


def fill_past(storage: BaseStorage | str, n_studies: int = 3, n_trials: int = 12) -> None:
    for i in range(n_studies):
        study = optuna.create_study(study_name=f"past-{i}", storage=storage, direction="maximize")
        study.set_user_attr("n_instances", 1_000 * (i + 1))
        study.add_trials(random_trials(n_trials, seed=i))


def memory_past(n_studies: int = 3, n_trials: int = 12) -> optuna.storages.InMemoryStorage:
    storage = optuna.storages.InMemoryStorage()
    fill_past(storage, n_studies, n_trials)
    return storage


def new_study(sampler: BaseSampler, storage: Any = None, **options: Any) -> optuna.Study:
    named = {"study_name": "new", "direction": "maximize", **options}
    return optuna.create_study(storage=storage, sampler=sampler, **named)


def suggested(study: optuna.Study) -> list[FrozenTrial]:
    return [one for one in study.trials if read_record(one) is not None]


def choose(
    candidate: int = 1, *, evidence: Sequence[str] = ("E1",), **changes: Any
) -> Callable[[Sequence[Message], Mapping[str, Any]], str]:
    """Return what answers a question with a choice, and a review with good marks."""

    def answer(messages: Sequence[Message], schema: Mapping[str, Any]) -> str:
        asked = schema["properties"]
        if "candidate" not in asked:
            return json.dumps({n: 5 if n.endswith("score") else "good" for n in asked})
        said: dict[str, Any] = {"reasoning": "as the past says", "candidate": candidate}
        said |= {"evidence": list(evidence)} if "evidence" in asked else {}
        said |= {"changes": changes} if changes and "changes" in asked else {}
        return json.dumps({**said, "why": "it worked before"})

    return answer


N_TRIALS = 3


def run(sampler: BaseSampler, storage: Any = None) -> optuna.Study:
    study = new_study(sampler, storage)
    study.optimize(objective, n_trials=N_TRIALS)
    assert [one.state for one in study.trials] == [TrialState.COMPLETE] * N_TRIALS
    return study


def check_step_down(study: optuna.Study, logs: Any, source: str, reason: str) -> None:
    first = study.trials[0]
    (warning,) = logs.warnings
    assert first.user_attrs["metallmix:source"] == source
    assert reason in first.user_attrs["metallmix:reason"]
    assert reason in warning
    assert all("metallmix:source" not in one.user_attrs for one in study.trials[1:])

"""Run two small studies, and let the sampler suggest and explain the first trial of a third."""

from __future__ import annotations

import optuna
import optunahub


MetaLLMiXSampler = optunahub.load_module("samplers/metallmix").MetaLLMiXSampler


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", -10, 10)
    y = trial.suggest_float("y", -10, 10)
    return x**2 + y**2


def main() -> None:
    storage = optuna.storages.InMemoryStorage()
    for name in ("past-1", "past-2"):
        optuna.create_study(study_name=name, storage=storage).optimize(objective, n_trials=20)
    study = optuna.create_study(study_name="new", storage=storage, sampler=MetaLLMiXSampler())
    study.optimize(objective, n_trials=10)
    print(study.trials[0].params, study.trials[0].user_attrs)


if __name__ == "__main__":
    main()

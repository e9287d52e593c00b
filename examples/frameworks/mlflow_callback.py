"""Log a study's trials to MLflow with optuna-integration's `MLflowCallback`.

    pip install mlflow-skinny optuna-integration
    python examples/frameworks/mlflow_callback.py

Each trial becomes a run of the experiment `mlflow`, and the sampler's user attributes become its
tags: `metallmix:source` says which run was suggested, `metallmix:why` the reason. Writes `hpo.db`
and `mlflow.db`; look at them with `optuna-dashboard sqlite:///hpo.db` and
`mlflow ui --backend-store-uri sqlite:///mlflow.db`. Optuna 4.9 and 5 warn that the class moves out
of optuna-integration before Optuna 6.
"""

from __future__ import annotations

import math

import optuna
from mlflow import MlflowClient
from optuna_integration.mlflow import MLflowCallback

from optuna_metallmix import MetaLLMiXSampler


STORAGE, TRACKING = "sqlite:///hpo.db", "sqlite:///mlflow.db"


def objective(trial: optuna.Trial) -> float:
    """Return the loss of a training run."""
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    n_layers = trial.suggest_int("n_layers", 1, 8)
    return (math.log10(lr) + 3) ** 2 + 0.1 * abs(n_layers - 4)


def main() -> None:
    """Make a past, and log a study that learns from it."""
    past = optuna.create_study(study_name="past", storage=STORAGE, load_if_exists=True)
    past.optimize(objective, n_trials=20)
    study = optuna.create_study(
        study_name="mlflow", storage=STORAGE, sampler=MetaLLMiXSampler(), load_if_exists=True
    )
    callback = MLflowCallback(tracking_uri=TRACKING, metric_name="loss")
    study.optimize(objective, n_trials=5, callbacks=[callback])
    print_suggested()


def print_suggested() -> None:
    client = MlflowClient(TRACKING)
    experiment = client.get_experiment_by_name("mlflow")
    assert experiment is not None  # the callback names it after the study
    for run in client.search_runs([experiment.experiment_id]):
        if "metallmix:source" in run.data.tags:
            print(run.info.run_name, run.data.metrics["loss"], run.data.tags["metallmix:why"])


if __name__ == "__main__":
    main()

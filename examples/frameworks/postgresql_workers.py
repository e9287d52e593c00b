"""Run a study on several machines that share a PostgreSQL server.

    pip install "psycopg[binary]"
    export STORAGE=postgresql+psycopg://USER:PASSWORD@HOST/DATABASE
    python examples/frameworks/postgresql_workers.py     # on each machine

Start the first machine alone: it creates Optuna's tables, which two cannot do at once, and makes a
past to learn from. Others may join at any time. A single trial of the study gets the suggestion,
and each machine's sampler learns from the same past. Look at the study with
`optuna-dashboard $STORAGE`.
"""

from __future__ import annotations

import math
import os

import optuna
from optuna.storages import RDBStorage

from optuna_metallmix import MetaLLMiXSampler


def objective(trial: optuna.Trial) -> float:
    """Return the loss of a training run."""
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    n_layers = trial.suggest_int("n_layers", 1, 8)
    return (math.log10(lr) + 3) ** 2 + 0.1 * abs(n_layers - 4)


def main() -> None:
    """Make a past if there is none, and run some trials of the shared study."""
    # If a machine dies, its trial is marked as failed instead of running for ever.
    storage = RDBStorage(os.environ["STORAGE"], heartbeat_interval=60, grace_period=180)
    past = optuna.create_study(study_name="past", storage=storage, load_if_exists=True)
    if not past.trials:
        past.optimize(objective, n_trials=20)
    study = optuna.create_study(
        study_name="machines", storage=storage, sampler=MetaLLMiXSampler(), load_if_exists=True
    )
    study.optimize(objective, n_trials=5)
    suggested = [trial.number for trial in study.trials if "metallmix:source" in trial.user_attrs]
    print(f"{len(study.trials)} trials, suggested: {suggested}, best: {study.best_value:.3f}")


if __name__ == "__main__":
    main()

"""Run a study in several processes with joblib.

    pip install joblib
    python examples/frameworks/joblib_workers.py

The processes share the study through a journal file, which several processes of a machine may
write; SQLite is slower there. Each has a sampler of its own, and a single trial gets the
suggestion, whichever process runs it. Writes `hpo.journal`; look at it with
`optuna-dashboard hpo.journal`.
"""

from __future__ import annotations

import math

import joblib
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from optuna_metallmix import MetaLLMiXSampler


def objective(trial: optuna.Trial) -> float:
    """Return the loss of a training run."""
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    n_layers = trial.suggest_int("n_layers", 1, 8)
    return (math.log10(lr) + 3) ** 2 + 0.1 * abs(n_layers - 4)


def main() -> None:
    """Make a past, and continue with two processes."""
    storage = open_storage()
    past = optuna.create_study(study_name="past", storage=storage, load_if_exists=True)
    past.optimize(objective, n_trials=20)
    study = optuna.create_study(study_name="joblib", storage=storage, load_if_exists=True)
    joblib.Parallel(n_jobs=2)(joblib.delayed(work)(n_trials=5) for _ in range(2))
    suggested = [trial.number for trial in study.trials if "metallmix:source" in trial.user_attrs]
    print(f"{len(study.trials)} trials, suggested: {suggested}, best: {study.best_value:.3f}")


def work(n_trials: int) -> None:
    """Run some trials of the study in this process."""
    study = optuna.load_study(
        study_name="joblib", storage=open_storage(), sampler=MetaLLMiXSampler()
    )
    study.optimize(objective, n_trials=n_trials)


def open_storage() -> JournalStorage:
    return JournalStorage(JournalFileBackend("hpo.journal"))


if __name__ == "__main__":
    main()

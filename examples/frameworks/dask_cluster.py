"""Run a study on a Dask cluster with optuna-integration's `DaskStorage`.

    pip install "dask[distributed]" optuna-integration
    python examples/frameworks/dask_cluster.py

The storage lives in Dask's scheduler, here on top of an SQLite file: `DaskStorage()` alone is in
memory, and the studies end with the cluster. The study and its sampler are sent to the workers,
and a single trial gets the suggestion. `Client("tcp://...:8786")` connects to a running cluster;
without an address it starts one on this machine. Writes `hpo.db`; look at it with
`optuna-dashboard sqlite:///hpo.db`.
"""

from __future__ import annotations

import math

import optuna
from distributed import Client
from distributed import wait
from optuna_integration.dask import DaskStorage

from optuna_metallmix import MetaLLMiXSampler


def objective(trial: optuna.Trial) -> float:
    """Return the loss of a training run."""
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    n_layers = trial.suggest_int("n_layers", 1, 8)
    return (math.log10(lr) + 3) ** 2 + 0.1 * abs(n_layers - 4)


def main() -> None:
    """Make a past, and continue on two workers."""
    with Client(n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        run(client)


def run(client: Client) -> None:
    storage = DaskStorage("sqlite:///hpo.db", client=client)
    past = optuna.create_study(study_name="past", storage=storage, load_if_exists=True)
    past.optimize(objective, n_trials=20)
    study = optuna.create_study(
        study_name="dask", storage=storage, sampler=MetaLLMiXSampler(), load_if_exists=True
    )
    futures = [client.submit(study.optimize, objective, n_trials=5, pure=False) for _ in "ab"]
    wait(futures)
    for future in futures:
        future.result()
    suggested = [trial.number for trial in study.trials if "metallmix:source" in trial.user_attrs]
    print(f"{len(study.trials)} trials, suggested: {suggested}, best: {study.best_value:.3f}")


if __name__ == "__main__":
    main()

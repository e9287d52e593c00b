"""a past of many studies -> seconds of each stage of a suggestion, beside what a TPE trial costs.

    python -m benchmarks timing [--studies 50] [--trials 200] [--repeats 3] [--llm embedded]

The past is synthetic, with eight parameters, one of them conditional. "Cold" is a storage that was
just opened, as in a new process; "warm" the same storage read again. These machines are noisy:
compare the ratios of one run, not seconds of two.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.distributions import distribution_to_json
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record


SPACE: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
    "weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
    "dropout": FloatDistribution(0.0, 0.6),
    "layers": IntDistribution(1, 8),
    "units": IntDistribution(16, 1024, log=True),
    "optimizer": CategoricalDistribution(["adamw", "sgd", "lion"]),
    "network": CategoricalDistribution([f"network-{i}" for i in range(8)]),
    "momentum": FloatDistribution(0.5, 0.99),
}
STAGES = ("history", "meta-learner", "candidates", "explanation", "model")


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--studies", type=int, default=50)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--llm", help='time a model too, such as "embedded"')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print one table: a row a stage, a column a storage and temperature."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    past = [synthetic_study(i, args.trials) for i in range(args.studies)]
    with tempfile.TemporaryDirectory() as folder:
        columns: dict[str, dict[str, float]] = {}
        for kind, (build, open_again) in KINDS.items():
            path = Path(folder) / f"past.{kind}"
            build(path, past)
            cold = [seconds(open_again(path), args.llm) for _ in range(args.repeats)]
            storage = open_again(path)
            seconds(storage, args.llm)
            warm = [seconds(storage, args.llm) for _ in range(args.repeats)]
            columns[f"{kind} cold"], columns[f"{kind} warm"] = median(cold), median(warm)
    print_table(columns, args, tpe_seconds(past[0][1]))


def synthetic_study(index: int, n_trials: int) -> tuple[dict[str, Any], list[FrozenTrial]]:
    """Return a study's attributes and trials; its optimum moves with ``index``."""
    rng = np.random.default_rng(index)
    attributes = {"n_instances": int(rng.integers(500, 50_000)), "n_classes": int(2 + index % 9)}
    return attributes, [_trial(rng, index) for _ in range(n_trials)]


def _trial(rng: np.random.Generator, index: int) -> FrozenTrial:
    params: dict[str, Any] = {
        "learning_rate": float(10 ** rng.uniform(-5, -1)),
        "weight_decay": float(10 ** rng.uniform(-6, -1)),
        "dropout": float(rng.uniform(0, 0.6)),
        "layers": int(rng.integers(1, 9)),
        "units": int(2 ** rng.uniform(4, 10)),
        "optimizer": ["adamw", "sgd", "lion"][int(rng.integers(3))],
        "network": f"network-{rng.integers(8)}",
    }
    if params["optimizer"] == "sgd":
        params["momentum"] = float(rng.uniform(0.5, 0.99))
    away = abs(np.log10(params["learning_rate"]) + 3 + 0.1 * (index % 5))
    value = 0.9 - 0.1 * away - 0.02 * abs(params["layers"] - 4) + float(rng.normal(0, 0.02))
    space = {name: SPACE[name] for name in params}
    return create_trial(params=params, distributions=space, value=value)


def build_journal(path: Path, past: list[tuple[dict[str, Any], list[FrozenTrial]]]) -> None:
    """Write the past as a journal file."""
    storage = open_journal(path)
    for i, (attributes, trials) in enumerate(past):
        study = optuna.create_study(storage=storage, study_name=f"past-{i}", direction="maximize")
        for name, value in attributes.items():
            study.set_user_attr(name, value)
        study.add_trials(trials)


def build_sqlite(path: Path, past: list[tuple[dict[str, Any], list[FrozenTrial]]]) -> None:
    """Write the past into the tables Optuna made: ``add_trials`` takes 24 ms a trial."""
    for i, (attributes, _) in enumerate(past):
        study = optuna.create_study(
            storage=f"sqlite:///{path}", study_name=f"past-{i}", direction="maximize"
        )
        for name, value in attributes.items():
            study.set_user_attr(name, value)
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        trial_id = 0
        for study_id, (_, trials) in enumerate(past, start=1):
            for number, trial in enumerate(trials):
                trial_id += 1
                _insert(database, trial_id, study_id, number, trial)


def _insert(
    database: sqlite3.Connection, trial_id: int, study_id: int, number: int, trial: FrozenTrial
) -> None:
    database.execute(
        "INSERT INTO trials (trial_id, number, study_id, state, datetime_start, "
        "datetime_complete) VALUES (?, ?, ?, ?, '2026-01-01 00:00:00', '2026-01-01 00:01:00')",
        (trial_id, number, study_id, TrialState.COMPLETE.name),
    )
    database.execute(
        "INSERT INTO trial_values (trial_id, objective, value, value_type) "
        "VALUES (?, 0, ?, 'FINITE')",
        (trial_id, trial.value),
    )
    database.executemany(
        "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) "
        "VALUES (?, ?, ?, ?)",
        [
            (trial_id, name, one.to_internal_repr(trial.params[name]), distribution_to_json(one))
            for name, one in trial.distributions.items()
        ],
    )


def open_journal(path: Path) -> BaseStorage:
    """Open a journal file."""
    return JournalStorage(JournalFileBackend(str(path)))


def open_sqlite(path: Path) -> BaseStorage:
    """Open a SQLite file."""
    return optuna.storages.get_storage(f"sqlite:///{path}")


KINDS: dict[str, tuple[Callable[..., None], Callable[[Path], BaseStorage]]] = {
    "journal": (build_journal, open_journal),
    "sqlite": (build_sqlite, open_sqlite),
}


def seconds(storage: BaseStorage, llm: str | None) -> dict[str, float]:
    """Time one suggestion for a new study, by stage."""
    sampler = MetaLLMiXSampler(source_storage=storage, llm=llm or False, seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    trial = study.ask()
    start = time.perf_counter()
    for name, distribution in SPACE.items():
        trial._suggest(name, distribution)
    total = time.perf_counter() - start
    record = read_record(study.trials[0])
    if record is None or record["source"] == "base-sampler":
        raise RuntimeError(f"There was no suggestion to time: {record}")
    stages: dict[str, float] = record["seconds"]
    return {**stages, "total": total}


def tpe_seconds(trials: list[FrozenTrial]) -> float:
    """Time what TPE itself takes for a trial after as many as one past study has."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.add_trials(trials)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        trial = study.ask(SPACE)
        times.append(time.perf_counter() - start)
        study.tell(trial, 0.5)
    return statistics.median(times)


def median(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each stage."""
    return {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]}


def print_table(
    columns: dict[str, dict[str, float]], args: argparse.Namespace, tpe: float
) -> None:
    """Print seconds by stage, and the total in TPE trials."""
    print(
        f"{args.studies} studies x {args.trials} trials, median seconds of {args.repeats} runs\n"
    )
    print("| stage | " + " | ".join(columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for stage in (*STAGES, "total"):
        if any(stage in column for column in columns.values()):
            cells = [f"{column.get(stage, 0.0):.2f}" for column in columns.values()]
            print(f"| {stage} | " + " | ".join(cells) + " |")
    print(f"\nOne TPE trial after {args.trials} trials takes {tpe:.3f} s in the same run.")

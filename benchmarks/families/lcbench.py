"""Search YAHPO Gym's LCBench surrogate on 34 tasks: MLPs on OpenML tables.

The objective is `val_cross_entropy` at epoch 50; validation accuracy is not used, since the
surrogate extrapolates it badly.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from collections.abc import Sequence
from functools import cache
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from benchmarks.families.search import Searches
from benchmarks.families.search import search_family
from benchmarks.families.surrogate import N_REFERENCE
from benchmarks.families.surrogate import codes
from benchmarks.families.surrogate import session
from benchmarks.families.surrogate import surrogate_folder
from benchmarks.families.surrogate import surrogate_task
from benchmarks.methods.bars import regrets
from benchmarks.tasks.family import Family
from benchmarks.tasks.family import Options
from benchmarks.tasks.past import Floats
from benchmarks.tasks.past import Task
from benchmarks.tasks.past import random_configs
from benchmarks.tasks.space import Config
from benchmarks.tasks.space import Space


FOLDER = "lcbench_yahpo"
SPACE = Space(
    {
        "batch_size": IntDistribution(16, 512, log=True),
        "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
        "momentum": FloatDistribution(0.1, 0.99),
        "weight_decay": FloatDistribution(1e-5, 0.1),
        "num_layers": IntDistribution(1, 5),
        "max_units": IntDistribution(64, 1024, log=True),
        "max_dropout": FloatDistribution(0.0, 1.0),
    }
)
DEFAULT: Config = {
    "batch_size": 128,
    "learning_rate": 1e-3,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "num_layers": 2,
    "max_units": 256,
    "max_dropout": 0.2,
}
"""Values that tutorials start from."""
EPOCH = 50.0
CROSS_ENTROPY = 2
N_PAST = 60
N_TRIALS = 50
SEEDS = {"gp": 2}
"""50 trials take 14 CPU seconds on one thread, a third of all methods together."""
BARS = (
    *regrets({1: 0.20, 5: 0.10, 10: -0.05, 25: -0.18, 50: -0.22}),
    *regrets({1: 0.38}, "random-3"),
)


def family(options: Options) -> Family:
    """Return the family; a third of its tasks in quick mode."""
    found = searches(options)
    n_tasks = len(found.tasks)
    return search_family(
        found,
        quick=options.quick,
        title=f"LCBench surrogate, {n_tasks} tasks; the past is {found.n_past} random trials on "
        f"each of the other {n_tasks - 1}.",
        unit="(value - best) / (median - best) of 20,000 random configurations",
        n_trials=10 if options.quick else N_TRIALS,
        bars=BARS,
        seeds=SEEDS,
    )


def searches(options: Options) -> Searches:
    """Return the tasks, and the past of each."""
    folder = surrogate_folder(FOLDER)
    names = _task_names(folder)[: 10 if options.quick else None]
    tasks = {name: _task(name, folder) for name in names}
    return Searches("lcbench", tasks, SPACE, DEFAULT, 30 if options.quick else N_PAST)


def _task_names(folder: Path) -> list[str]:
    space = json.loads((folder / "config_space.json").read_text(encoding="utf-8"))
    task_ids = next(p for p in space["hyperparameters"] if p["name"] == "OpenML_task_id")
    return sorted(task_ids["choices"], key=int)


def _task(name: str, folder: Path) -> Task:
    values = partial(_values, session(folder), codes(folder, "OpenML_task_id")[name])
    attributes = _attributes(folder)[name]
    return surrogate_task("lcbench", name, "minimize", values, _reference, attributes)


@cache
def _reference() -> list[Config]:
    return random_configs(SPACE, N_REFERENCE, "lcbench reference")


def _values(session: Any, code: int, configs: Sequence[Config]) -> Floats:
    inputs = {
        "x_cat": np.full((len(configs), 1), code, np.int32),
        "x_cont": np.array(
            [[EPOCH, *(config[name] for name in SPACE.parameters)] for config in configs], "f4"
        ),
    }
    losses: Floats = session.run(None, inputs)[0][:, CROSS_ENTROPY].astype(np.float64)
    return losses


@cache
def _attributes(folder: Path) -> Mapping[str, dict[str, int | str]]:
    with (folder / "lcbench_dataset_meta.csv").open(newline="", encoding="utf-8") as file:
        return {
            row["OpenML_task_id"]: {
                name: int(row[name]) for name in ("n_instances", "n_features", "n_classes")
            }
            for row in csv.DictReader(file)
        }

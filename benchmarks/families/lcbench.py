"""Search YAHPO Gym's LCBench surrogate on 34 tasks: MLPs on OpenML tables.

The objective is `val_cross_entropy` at epoch 50; validation accuracy is not used, since the
surrogate extrapolates it badly. Regret is (value - best) / (median - best) of 20,000 random
configurations, so that a search that beats all of them has a negative regret.
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

from benchmarks.families.search import Searches
from benchmarks.families.search import search_family
from benchmarks.paths import CACHE
from benchmarks.paths import data_folder
from benchmarks.tasks.family import Bar
from benchmarks.tasks.family import Family
from benchmarks.tasks.family import Options
from benchmarks.tasks.family import SkippedError
from benchmarks.tasks.past import Config
from benchmarks.tasks.past import Floats
from benchmarks.tasks.past import Task
from benchmarks.tasks.past import random_configs
from benchmarks.tasks.past import random_trials


FOLDER = "lcbench_yahpo"
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
"""Values that tutorials start from."""
EPOCH = 50.0
CROSS_ENTROPY = 2
N_REFERENCE = 20_000
N_PAST = 60
N_TRIALS = 50
SEEDS = {"gp": 2}
"""50 trials take 14 CPU seconds on one thread, a third of all methods together."""
BARS = (
    Bar("trial 1 at or below TPE's at 25", "ours-no-llm", 1, ("tpe", 25)),
    Bar("trial 5 at or below TPE's at 100", "ours-no-llm", 5, ("tpe", 100)),
    Bar("trial 10 at or below GPSampler's at 25", "ours-no-llm", 10, ("gp", 25)),
    Bar("trial 25 at or below GPSampler's at 50", "ours-no-llm", 25, ("gp", 50)),
)


def family(options: Options) -> Family:
    """Return the family; a third of its tasks in quick mode."""
    folder = data_folder() / FOLDER
    if not (folder / "model.onnx").is_file():
        raise SkippedError(f"no LCBench surrogate in {folder}. Set METALLMIX_DATA.")
    names = _task_names(folder)[: 10 if options.quick else None]
    tasks = {name: _task(name, folder) for name in names}
    n_past = 30 if options.quick else N_PAST

    searches = Searches("lcbench", tasks, SPACE, DEFAULT, random_trials(SPACE), n_past)
    return search_family(
        searches,
        quick=options.quick,
        title=f"LCBench surrogate, {len(tasks)} tasks; the past is {n_past} random trials on each "
        f"of the other {len(tasks) - 1}.",
        unit="(value - best) / (median - best) of 20,000 random configurations",
        n_trials=10 if options.quick else N_TRIALS,
        bars=BARS,
        trials={"tpe": 100},
        seeds=SEEDS,
    )


def _task_names(folder: Path) -> list[str]:
    space = json.loads((folder / "config_space.json").read_text(encoding="utf-8"))
    task_ids = next(p for p in space["hyperparameters"] if p["name"] == "OpenML_task_id")
    return sorted(task_ids["choices"], key=int)


def _task(name: str, folder: Path) -> Task:
    values = partial(_values, _session(folder), _codes(folder)[name])
    return Task(name, "minimize", values, _regret(name, values), _attributes(folder)[name])


def _regret(name: str, values: Callable[[Sequence[Config]], Floats]) -> Callable[[float], float]:
    """Return the function from value to regret; its reference is computed on first use."""

    @cache
    def reference() -> tuple[float, float]:
        return _reference(name, values)

    def regret(value: float) -> float:
        best, middle = reference()
        return (value - best) / (middle - best)

    return regret


def _reference(name: str, values: Callable[[Sequence[Config]], Floats]) -> tuple[float, float]:
    """Return the best and the median of many random configurations; kept in a file."""
    path = CACHE / "benchmarks" / f"lcbench-{name}.json"
    if not path.is_file():
        losses = values(_reference_configs())
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}")  # other workers may use the file
        new.write_text(json.dumps([float(losses.min()), float(np.median(losses))]))
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
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1  # 0.1 ms per configuration
    return onnxruntime.InferenceSession(
        str(folder / "model.onnx"), settings, providers=["CPUExecutionProvider"]
    )


def _values(session: Any, code: int, configs: Sequence[Config]) -> Floats:
    inputs = {
        "x_cat": np.full((len(configs), 1), code, np.int32),
        "x_cont": np.array(
            [[EPOCH, *(config[name] for name in SPACE)] for config in configs], "f4"
        ),
    }
    losses: Floats = session.run(None, inputs)[0][:, CROSS_ENTROPY].astype(np.float64)
    return losses


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

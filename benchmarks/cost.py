"""Quick-Tune's recorded runs and their seconds -> what preferring the cheaper training costs.

    python -m benchmarks cost [--seeds 5] [--past-trials N]

Each image set is held out once; of its own recorded runs (aborted ones too) one is picked. The
library's own parts pick: the meta-learner's scores, the cost model's seconds, and the rule by
which ``MetaLLMiXSampler(cost_aware=True)`` puts its first candidate.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import importlib.metadata
import platform
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import optuna
import pandas as pd
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial

from benchmarks.families.family import code_of_library
from benchmarks.families.family import seed_of
from benchmarks.families.past import Floats
from benchmarks.families.replay import QUICKTUNE
from benchmarks.families.replay import Replay
from benchmarks.families.replay import data_folder
from benchmarks.families.replay import quicktune
from benchmarks.report.numbers import resampled
from benchmarks.report.table import PACKAGES
from benchmarks.report.table import typed
from benchmarks.run import RESULTS
from optuna_metallmix.history import read_history
from optuna_metallmix.metalearner import CostModel
from optuna_metallmix.metalearner import MetaDataset
from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.metalearner import Prediction
from optuna_metallmix.metalearner import build_meta_dataset
from optuna_metallmix.metalearner import cheapest_equal


METHODS = {
    "best predicted": "the meta-learner's first pick, whatever it takes: `cost_aware=False`",
    "cost-aware": "the cheapest within the best's uncertainty: `cost_aware=True`",
    "random equal": "control: any of those within the best's uncertainty, exact",
    "cheapest": "control: the least predicted cost, whatever the score",
    "random": "control: any run of the set, exact",
}
REFERENCE = "best predicted"
Weights: TypeAlias = Floats
"""The chance of each run to be picked, shape (n,)."""


@dataclass(frozen=True)
class Runs:
    """What became of a set's recorded runs, in their order.

    Attributes:
        regrets: (best - accuracy) / (best - median), shape (n,).
        seconds: What each run took, shape (n,).
        aborted: Which were given up after one epoch, shape (n,).
    """

    regrets: Floats
    seconds: Floats
    aborted: Floats


@dataclass(frozen=True)
class Pick:
    """What one method picked on one set.

    Attributes:
        task: The set.
        seed: The repetition.
        method: Who picked.
        regret: As in :class:`Runs`.
        seconds: What the picked run took.
        middling: The same beside the median of the set's runs that were not aborted.
        aborted: Whether it was given up after one epoch.
        explained: Share of the variance of past log seconds that the cost model predicts on
            sets held out from it.
        fit_seconds: What fitting the cost model took.
        code: The library's code.
    """

    task: str
    seed: int
    method: str
    regret: float
    seconds: float
    middling: float
    aborted: float
    explained: float
    fit_seconds: float
    code: str


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--past-trials", type=int, help="of each past set; default: all")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Pick with every method on every set, and write the table."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = data_folder() / QUICKTUNE
    if not path.is_file():
        raise SystemExit(f"there is no {QUICKTUNE}: set METALLMIX_DATA")
    runs = _recorded(path)
    replays = [_timed(one, runs[one.name]) for one in quicktune(path.parent)]
    picks: list[Pick] = []
    for target in replays:
        others = [one for one in replays if one.name != target.name]
        dataset = _past(others, target, args.past_trials)
        for seed in range(args.seeds):
            picks += _picks(target, dataset, runs[target.name], seed)
        print(f"{target.name}: {len(picks)} picks", flush=True)
    table = pd.DataFrame([asdict(one) for one in picks])
    table.round(6).to_csv(args.out / "cost.csv", index=False)
    (args.out / "cost.md").write_text("\n".join(_page(table)) + "\n", encoding="utf-8")
    print(args.out / "cost.md")


def _recorded(path: Path) -> dict[str, Runs]:
    frame = pd.read_parquet(path, columns=["dataset", "best_top1", "cost_s", "n_epochs"])
    found = {}
    for name, one in frame.groupby("dataset"):
        top1 = one["best_top1"].to_numpy(dtype=float)
        regrets = (top1.max() - top1) / (top1.max() - np.median(top1))
        aborted = np.asarray(one["n_epochs"] == 1, dtype=float)
        found[str(name)] = Runs(regrets, one["cost_s"].to_numpy(dtype=float), aborted)
    return found


def _timed(replay: Replay, runs: Runs) -> Replay:
    """Let each trial take as long as it was recorded to."""
    trials = zip(replay.trials, runs.seconds, strict=True)
    return replace(replay, trials=tuple(_lasting(trial, float(one)) for trial, one in trials))


def _lasting(trial: FrozenTrial, seconds: float) -> FrozenTrial:
    start = datetime.datetime(2023, 1, 1)
    lasting = copy.copy(trial)
    lasting.datetime_start = start
    lasting.datetime_complete = start + datetime.timedelta(seconds=seconds)
    return lasting


def _past(others: Iterable[Replay], target: Replay, n_trials: int | None) -> MetaDataset:
    storage = InMemoryStorage()
    for one in others:
        replace(one, trials=one.trials[:n_trials]).add_to(storage)
    return build_meta_dataset(read_history(storage), target.space)


def _picks(target: Replay, dataset: MetaDataset, runs: Runs, seed: int) -> Iterator[Pick]:
    own_seed = seed_of("cost", target.name, seed) % 2**31
    learner = MetaLearner(seed=own_seed).fit(dataset)
    start = time.perf_counter()
    model = CostModel(seed=own_seed).fit(dataset)
    taken = time.perf_counter() - start
    pool = [trial.params for trial in target.trials]
    prediction, costs = learner.predict(pool), model.predict(pool)
    middle = float(np.median(runs.seconds[runs.aborted == 0]))
    code = code_of_library()
    for method, cost_tradeoff in WEIGHTS.items():
        weights = cost_tradeoff(prediction, costs)
        regret, seconds, aborted = (
            float(weights @ one) for one in (runs.regrets, runs.seconds, runs.aborted)
        )
        yield Pick(
            target.name,
            seed,
            method,
            regret,
            seconds,
            seconds / middle,
            aborted,
            model.explained,
            taken,
            code,
        )


def _only(n: int, i: int) -> Weights:
    weights: Weights = np.eye(n)[i]
    return weights


def _equals(prediction: Prediction) -> Weights:
    best = int(prediction.mean.argmax())
    equal = prediction.mean >= prediction.mean[best] - prediction.spread[best]
    weights: Weights = equal / equal.sum()
    return weights


WEIGHTS: Mapping[str, Callable[[Prediction, Floats], Weights]] = {
    "best predicted": lambda scores, costs: _only(len(costs), int(scores.mean.argmax())),
    "cost-aware": lambda scores, costs: _only(len(costs), cheapest_equal(scores, costs)),
    "random equal": lambda scores, costs: _equals(scores),
    "cheapest": lambda scores, costs: _only(len(costs), int(costs.argmin())),
    "random": lambda scores, costs: np.full(len(costs), 1 / len(costs)),
}


def _page(table: pd.DataFrame) -> Iterator[str]:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    yield "# cost"
    yield ""
    yield (
        f"Quick-Tune, {table['task'].nunique()} image sets, each held out once, "
        f"{table['seed'].nunique()} seeds: one pick from the set's own recorded runs. Regret: "
        "(best - picked) / (best - median) of the set's accuracies; less is better. Seconds: "
        "what the picked run took, all its epochs; x middling: beside the median of the set's "
        "runs that were not aborted; ratio: beside the best predicted pick's, geometric mean. "
        "Means over sets with 95 % bootstrap intervals. Runs that hit the recorders' time limit "
        "(about 57,000 s) count with what they had by then."
    )
    yield ""
    yield (
        f"{datetime.date.today()}, Python {platform.python_version()}, {versions}, library code "
        f"{', '.join(sorted(set(table['code'])))}. Written by:"
    )
    yield f"\n    {typed()}\n"
    yield from _rows(table)
    yield ""
    yield (
        f"The cost model explains {table['explained'].mean():.0%} of the variance of log seconds "
        f"on sets held out from it ({table['explained'].min():.0%} at least), and is fitted in "
        f"{table['fit_seconds'].median():.2f} s."
    )
    yield ""
    yield from (f"- {method}: {words}." for method, words in METHODS.items())


def _rows(table: pd.DataFrame) -> Iterator[str]:
    head = ("method", "regret", "regret more", "seconds", "x middling", "ratio", "aborted")
    yield "| " + " | ".join(head) + " |"
    yield "| " + " | ".join(["---"] * len(head)) + " |"
    wide = table.pivot(index=["task", "seed"], columns="method")
    for method in METHODS:
        seconds = wide["seconds"]
        cells = (
            _shown(wide["regret", method]),
            _shown(wide["regret", method] - wide["regret", REFERENCE]),
            f"{seconds[method].mean():.0f}",
            _shown(wide["middling", method], digits=2),
            _shown(np.log(seconds[method] / seconds[REFERENCE]), np.exp, digits=2),
            f"{wide['aborted', method].mean():.0%}",
        )
        yield "| " + " | ".join([method, *cells]) + " |"


def _shown(
    values: pd.Series[float], back: Callable[[Floats], Floats] = np.asarray, digits: int = 3
) -> str:
    by_task: Floats = np.asarray(values.groupby(level="task").mean(), dtype=np.float64)
    low, high = np.percentile(resampled(by_task), [2.5, 97.5])
    mean, low, high = back(np.array([by_task.mean(), low, high]))
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

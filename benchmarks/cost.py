"""Measure what preferring cheaper trainings costs in regret, on Quick-Tune's recorded runs.

    python -m benchmarks cost [--seeds 5] [--past-trials N]

Each image set is held out once, and a recorded run of its own is picked, aborted runs
included. The picks use the library's own parts: the meta-learner's scores, the cost model's
seconds, and the rule by which ``MetaLLMiXSampler(cost_aware=True)`` orders its candidates.
"""

from __future__ import annotations

import argparse
import copy
import datetime
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

from benchmarks.paths import RESULTS
from benchmarks.paths import data_folder
from benchmarks.report.numbers import bootstrap
from benchmarks.report.table import header
from benchmarks.report.table import line
from benchmarks.report.table import ran_with
from benchmarks.report.table import typed_command
from benchmarks.tasks.family import code_of_library
from benchmarks.tasks.family import seed_of
from benchmarks.tasks.past import Floats
from benchmarks.tasks.replay import QUICKTUNE
from benchmarks.tasks.replay import Replay
from benchmarks.tasks.replay import quicktune
from optuna_metallmix.history import read_history
from optuna_metallmix.metalearner import CostModel
from optuna_metallmix.metalearner import MetaDataset
from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.metalearner import Prediction
from optuna_metallmix.metalearner import build_meta_dataset
from optuna_metallmix.metalearner import cheapest_equal


METHODS = {
    "best predicted": "the best predicted run, whatever its cost: `cost_aware=False`",
    "cost-aware": "the cheapest run within the uncertainty of the best: `cost_aware=True`",
    "random equal": "control: any run within the uncertainty of the best, exact expectation",
    "cheapest": "control: the lowest predicted cost, whatever the score",
    "random": "control: any run of the set, exact expectation",
}
REFERENCE = "best predicted"
Weights: TypeAlias = Floats
"""Probability of each run to be picked, shape (n,)."""


@dataclass(frozen=True)
class Runs:
    """Outcomes of a set's recorded runs, in their order.

    Attributes:
        regrets: (best - accuracy) / (best - median), shape (n,).
        seconds: Duration of each run, shape (n,).
        aborted: 1 for runs that were aborted after one epoch, else 0, shape (n,).
    """

    regrets: Floats
    seconds: Floats
    aborted: Floats


@dataclass(frozen=True)
class Pick:
    """Expected outcome of a method's pick on a set.

    Attributes:
        task: The held-out set.
        seed: The repetition.
        method: Name of the method.
        regret: Regret as in :class:`Runs`.
        seconds: Duration of the picked run.
        middling: The duration as a multiple of the median of the set's runs not aborted.
        aborted: Probability that the picked run was aborted after one epoch.
        explained: Share of the variance of log seconds that the cost model explains on held-out
            past sets.
        fit_seconds: Seconds taken to fit the cost model.
        code: Hash of the library's code.
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
    """Add the options of `cost`."""
    parser.add_argument("--seeds", type=int, default=5, help="number of repetitions")
    parser.add_argument("--past-trials", type=int, help="runs of each past set; default: all")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Pick with every method on every set and write the page."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = data_folder() / QUICKTUNE
    if not path.is_file():
        raise SystemExit(f"No {path}. Set METALLMIX_DATA.")
    runs = _recorded(path)
    replays = [_timed(replay, runs[replay.name]) for replay in quicktune(path.parent)]
    picks: list[Pick] = []
    for target in replays:
        others = [replay for replay in replays if replay.name != target.name]
        dataset = _past(others, target, args.past_trials)
        for seed in range(args.seeds):
            picks += _picks(target, dataset, runs[target.name], seed)
        print(f"{target.name}: {len(picks)} picks", flush=True)
    table = pd.DataFrame([asdict(pick) for pick in picks])
    table.round(6).to_csv(args.out / "cost.csv", index=False)
    (args.out / "cost.md").write_text("\n".join(_page(table)) + "\n", encoding="utf-8")
    print(args.out / "cost.md")


def _recorded(path: Path) -> dict[str, Runs]:
    frame = pd.read_parquet(path, columns=["dataset", "best_top1", "cost_s", "n_epochs"])
    runs = {}
    for name, rows in frame.groupby("dataset"):
        top1 = rows["best_top1"].to_numpy(dtype=float)
        regrets = (top1.max() - top1) / (top1.max() - np.median(top1))
        aborted = np.asarray(rows["n_epochs"] == 1, dtype=float)
        runs[str(name)] = Runs(regrets, rows["cost_s"].to_numpy(dtype=float), aborted)
    return runs


def _timed(replay: Replay, runs: Runs) -> Replay:
    """Give each trial its recorded duration."""
    trials = zip(replay.trials, runs.seconds, strict=True)
    return replace(
        replay, trials=tuple(_lasting(trial, float(seconds)) for trial, seconds in trials)
    )


def _lasting(trial: FrozenTrial, seconds: float) -> FrozenTrial:
    start = datetime.datetime(2023, 1, 1)
    lasting = copy.copy(trial)
    lasting.datetime_start = start
    lasting.datetime_complete = start + datetime.timedelta(seconds=seconds)
    return lasting


def _past(others: Iterable[Replay], target: Replay, n_trials: int | None) -> MetaDataset:
    storage = InMemoryStorage()
    for replay in others:
        replace(replay, trials=replay.trials[:n_trials]).add_to(storage)
    return build_meta_dataset(read_history(storage), target.space)


def _picks(target: Replay, dataset: MetaDataset, runs: Runs, seed: int) -> Iterator[Pick]:
    own_seed = seed_of("cost", target.name, seed) % 2**31
    learner = MetaLearner(seed=own_seed).fit(dataset)
    start = time.perf_counter()
    model = CostModel(seed=own_seed).fit(dataset)
    fit_seconds = time.perf_counter() - start
    pool = [trial.params for trial in target.trials]
    prediction, costs = learner.predict(pool), model.predict(pool)
    middle = float(np.median(runs.seconds[runs.aborted == 0]))
    code = code_of_library()
    for method, weigh in WEIGHTS.items():
        weights = weigh(prediction, costs)
        regret, seconds, aborted = (
            float(weights @ x) for x in (runs.regrets, runs.seconds, runs.aborted)
        )
        yield Pick(
            target.name,
            seed,
            method,
            regret,
            seconds,
            seconds / middle,
            aborted,
            model.r2,
            fit_seconds,
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
    yield "# cost"
    yield ""
    yield (
        f"Quick-Tune, {table['task'].nunique()} image sets, each held out once, "
        f"{table['seed'].nunique()} seeds: one pick from the set's own recorded runs. Regret: "
        "(best - picked) / (best - median) of the set's accuracies; lower is better. Seconds: "
        "duration of the picked run, all epochs; x median: the same as a multiple of the median "
        "of the set's runs that were not aborted; ratio: as a multiple of the best predicted "
        "pick's, geometric mean. Means over sets with 95 % bootstrap intervals. Runs that hit the "
        "recorders' time limit (about 57,000 s) count with their results up to then."
    )
    yield ""
    yield f"{ran_with()}, library code {', '.join(sorted(set(table['code'])))}. Written by:"
    yield f"\n    {typed_command()}\n"
    yield from _rows(table)
    yield ""
    yield (
        f"The cost model explains {table['explained'].mean():.0%} of the variance of log seconds "
        f"on held-out sets (at least {table['explained'].min():.0%}) and is fitted in "
        f"{table['fit_seconds'].median():.2f} s."
    )
    yield ""
    yield from (f"- {method}: {text}." for method, text in METHODS.items())


def _rows(table: pd.DataFrame) -> Iterator[str]:
    yield from header(
        "method", "regret", "extra regret", "seconds", "x median", "ratio", "aborted"
    )
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
        yield line(method, *cells)


def _shown(
    values: pd.Series[float], back: Callable[[Floats], Floats] = np.asarray, digits: int = 3
) -> str:
    by_task: Floats = np.asarray(values.groupby(level="task").mean(), dtype=np.float64)
    mean, low, high = back(np.array([by_task.mean(), *bootstrap(by_task)]))
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

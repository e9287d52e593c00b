"""a network that is held out of the past -> where it is expected to stand among the others.

    python -m benchmarks unseen [--seeds 3]

Quick-Tune's 24 networks are held out three at a time, from all 12 other sets, and the left-out
set's runs are ranked with them in. `unknown` is what CatBoost makes of a name it never saw,
`described` the library's: the network is taken for the most similar one; `another`, a control,
takes it for one drawn at random. These three are the very same learner. `known` holds nothing out.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import TypeAlias
from unittest import mock

import numpy as np
import optuna
import pandas as pd
from optuna.storages import InMemoryStorage
from tqdm import tqdm

from benchmarks._family import seed_of
from benchmarks._numbers import resampled
from benchmarks._past import Floats
from benchmarks._run import RESULTS
from benchmarks._table import typed
from benchmarks.replay import QUICKTUNE
from benchmarks.replay import Replay
from benchmarks.replay import data_folder
from benchmarks.replay import quicktune
from optuna_metallmix import _meta_dataset
from optuna_metallmix._history import History
from optuna_metallmix._history import read_history
from optuna_metallmix._meta_dataset import build_meta_dataset
from optuna_metallmix._meta_learner import MetaLearner
from optuna_metallmix._search_space import choices_of


N_HELD_OUT = 3
N_SWAPPED = 40
"""Runs of the set that every network is put into in turn."""
METHODS = ("unknown", "another", "described", "known")
PACKAGES = ("optuna", "catboost", "timm", "torch", "numpy", "pandas")

Row: TypeAlias = dict[str, Any]
Sets: TypeAlias = Mapping[str, Replay]

MEASURES = {
    "order, put into the same runs": "Each network is put into the same runs of the set, and "
    "its mean predicted score gives its place among all networks; rank correlation with its true "
    "place, over the networks of a set. Only what is known of the name can tell them apart.",
    "order, in its own runs": "The same with the runs as they were recorded: their other "
    "parameters tell much by themselves.",
    "error of the place": "Mean absolute error of that place in its own runs, 0 (worst network) "
    "to 1 (best).",
    "first pick, best held out": "Regret of the run predicted best, (best - picked) / (best - "
    "median), where the network of the set's best run was one of the held out.",
    "first pick, all": "The same over all groups that are held out.",
}


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--seeds", type=int, default=3, help="repetitions")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure, and write the rows and the page."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
    importlib.import_module("torchvision_guard").import_timm()
    path = data_folder() / QUICKTUNE
    sets = {one.name: one for one in quicktune(path.parent)}
    # As recorded: an aborted run has no value in a study, and some accuracy all the same.
    recorded = pd.read_parquet(path, columns=["dataset", "best_top1"])
    accuracies = {
        str(name): np.asarray(one["best_top1"], dtype=np.float64)
        for name, one in recorded.groupby("dataset")
    }
    rows = [row for seed in range(args.seeds) for row in measured(sets, accuracies, seed)]
    table = pd.DataFrame(rows)
    table.round(4).to_csv(args.out / "unseen.csv", index=False, lineterminator="\n")
    (args.out / "unseen.md").write_text("\n".join(page(table)) + "\n", encoding="utf-8")


def measured(sets: Sets, accuracies: Mapping[str, Floats], seed: int) -> Iterator[Row]:
    """Hold each group of networks out once, for each set, and nothing at all."""
    networks = choices_of(next(iter(sets.values())).space["model"])
    order = np.random.default_rng(seed_of("unseen", seed)).permutation(networks).tolist()
    groups = [order[i : i + N_HELD_OUT] for i in range(0, len(order), N_HELD_OUT)]
    whole = past(sets, [])
    learners = {task: learner(whole, one, seed) for task, one in tqdm(sets.items(), "known")}
    for group in tqdm(groups, f"seed {seed}"):
        history = past(sets, group)
        for task, one in sets.items():
            target = Target(one, accuracies[task], group, seed)
            fitted = learner(history, one, seed)
            yield from target.judge("described", fitted)
            for method, other in (("unknown", unchanged), ("another", another)):
                with mock.patch.object(_meta_dataset, "stand_in", other):
                    yield from target.judge(method, fitted)
            yield from target.judge("known", learners[task])


def unchanged(label: str, seen: frozenset[str]) -> str:
    """Leave an unseen name to CatBoost."""
    return label


def another(label: str, seen: frozenset[str]) -> str:
    """Return a seen name at random, the same for the same names."""
    names = sorted(seen)
    return names[seed_of("another", label, *names) % len(names)]


def past(sets: Sets, held_out: Sequence[str]) -> History:
    """Return all sets as a past in which these networks were never tried."""
    storage = InMemoryStorage()
    for one in sets.values():
        kept = tuple(trial for trial in one.trials if trial.params["model"] not in held_out)
        replace(one, trials=kept).add_to(storage)
    return read_history(storage)


def learner(history: History, target: Replay, seed: int) -> MetaLearner:
    """Return what the library learns from the sets beside ``target``."""
    others = tuple(one for one in history.studies if one.name != target.name)
    dataset = build_meta_dataset(replace(history, studies=others), target.space)
    return MetaLearner(seed=seed_of("unseen", target.name, seed) % 2**31).fit(dataset)


@dataclass(frozen=True)
class Target:
    """One set, and the networks that the past does not have.

    Attributes:
        replay: The set's runs.
        accuracies: Theirs, in percent.
        group: The networks.
        seed: Which repetition.
    """

    replay: Replay
    accuracies: Floats
    group: Sequence[str]
    seed: int

    def judge(self, method: str, fitted: MetaLearner) -> Iterator[Row]:
        """Return how one learner places each network of the group."""
        pool = [trial.params for trial in self.replay.trials]
        names = np.array([params["model"] for params in pool])
        best, median = self.accuracies.max(), np.median(self.accuracies)
        predicted = fitted.predict(pool).mean
        true = places(names, np.asarray(pd.Series(self.accuracies).rank(), float))
        own = places(names, predicted)
        swapped = places(*put_in(fitted, pool, sorted(set(names))))
        for name in sorted(set(self.group) & set(names)):
            yield {
                "seed": self.seed,
                "set": self.replay.name,
                "network": name,
                "method": method,
                "true": true[name],
                "own": own[name],
                "swapped": swapped[name],
                "regret": (best - self.accuracies[predicted.argmax()]) / (best - median),
                "best": name == names[self.accuracies.argmax()],
            }


def put_in(
    fitted: MetaLearner, pool: Sequence[Mapping[str, Any]], networks: Iterable[str]
) -> tuple[Any, Floats]:
    """Predict the same runs with each network in turn."""
    some = pool[:: max(1, len(pool) // N_SWAPPED)]
    configs = [{**params, "model": name} for name in networks for params in some]
    return np.array([one["model"] for one in configs]), fitted.predict(configs).mean


def places(names: Any, scores: Floats) -> dict[str, float]:
    """Return each network's place by its mean score, from 0 to 1, the best."""
    ranks = pd.Series(scores).groupby(names).mean().rank()
    return {str(name): (rank - 1) / (len(ranks) - 1) for name, rank in ranks.items()}


def by_set(table: pd.DataFrame) -> dict[str, pd.Series[float]]:
    """Return each measure of one method by set."""
    parts = table.groupby(["set", "seed"])
    found = {
        "order, put into the same runs": parts.apply(lambda one: agreement(one, "swapped")),
        "order, in its own runs": parts.apply(lambda one: agreement(one, "own")),
        "error of the place": (table["own"] - table["true"]).abs().groupby(table["set"]).mean(),
        "first pick, best held out": table[table["best"]].groupby("set")["regret"].mean(),
        "first pick, all": table.groupby("set")["regret"].mean(),
    }
    return {name: one.groupby(level="set").mean() for name, one in found.items()}


def agreement(rows: pd.DataFrame, column: str) -> float:
    """Return the rank correlation of predicted and true places; 0 where all are one."""
    if rows[column].nunique() == 1:
        return 0.0
    return float(rows[column].corr(rows["true"], method="spearman"))


def page(table: pd.DataFrame) -> Iterator[str]:
    """Write the page."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    seeds = ", ".join(map(str, sorted(table["seed"].unique())))
    yield "# unseen"
    yield ""
    yield f"Quick-Tune, {table['set'].nunique()} image sets, each left out once. Of its"
    yield f"{table['network'].nunique()} networks, {N_HELD_OUT} at a time have no past run at all."
    yield "`unknown`: a name as CatBoost takes one it never saw. `described`: taken for the most"
    yield "similar network by what timm knows; `another`, a control: for a random one."
    yield "`known`: nothing held out, what could be reached."
    yield ""
    yield f"Seeds: {seeds}. {datetime.date.today()}, Python {platform.python_version()},"
    yield f"{versions}. 95 % bootstrap intervals over sets. Written by `{typed()}`."
    yield ""
    yield "| | " + " | ".join(METHODS) + " | described - unknown |"
    yield "| --- |" + " --- |" * (len(METHODS) + 1)
    found = {one: by_set(table[table["method"] == one]) for one in METHODS}
    for measure in MEASURES:
        values = [found[one][measure] for one in METHODS]
        gain = found["described"][measure] - found["unknown"][measure]
        cells = [shown(one) for one in (*values, gain)]
        yield f"| {measure} | " + " | ".join(cells) + " |"
    yield ""
    yield from (f"- **{name}**: {text}" for name, text in MEASURES.items())


def shown(values: pd.Series[float]) -> str:
    """Return the mean over sets and its interval."""
    numbers: Floats = np.asarray(values, dtype=np.float64)
    low, high = np.percentile(resampled(numbers), [2.5, 97.5])
    return f"{numbers.mean():.3f} ({low:.3f} to {high:.3f})"

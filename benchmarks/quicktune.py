"""Quick-Tune's recorded fine-tuning runs -> which of a held-out set's own runs comes first.

Nothing can be trained anew, so methods rank the runs that were recorded on the held-out set
(aborted ones too) and their first five picks are looked up. Regret is (best - picked) /
(best - median) of that set's accuracies.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from functools import cached_property
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from optuna.trial import create_trial

from benchmarks._family import Bar
from benchmarks._family import Family
from benchmarks._family import Options
from benchmarks._family import SkippedError
from benchmarks._family import Step
from benchmarks._family import seed_of
from benchmarks._past import Floats
from benchmarks.replay import QUICKTUNE
from benchmarks.replay import Replay
from benchmarks.replay import data_folder
from benchmarks.replay import quicktune
from optuna_metallmix import _candidates
from optuna_metallmix._history import read_history
from optuna_metallmix._meta_dataset import Config
from optuna_metallmix._meta_dataset import build_meta_dataset
from optuna_metallmix._meta_features import distances
from optuna_metallmix._meta_learner import MetaLearner


N_PICKS = 5
BARS = (
    Bar("first pick at most 0.10", "ours-no-llm", 1, 0.10),
    Bar("best of the first five at most 0.025", "ours-no-llm", 5, 0.025),
    Bar("best of five diverse at most 0.025", "ours-diverse", 5, 0.025),
)
METHODS = {
    "random": "the expectation of random picks, exact",
    "nearest": "the nearest set's best run; of this set's runs, those most like it",
    "ours-no-llm": "the meta-learner's best predicted, in order",
    "ours-diverse": "the same (fitted already), each unlike those before by the library's rule",
    "ours-permuted": "control: past scores shuffled inside each set",
    "ours-inverted": "control: past accuracies with their signs turned",
}
QUICK = ("random", "nearest", "ours-no-llm", "ours-diverse")


def family(options: Options) -> Family:
    """Return the family; quick, with a third of the past."""
    path = data_folder() / QUICKTUNE
    if not path.is_file():
        raise SkippedError(f"there is no {QUICKTUNE}: set METALLMIX_DATA")
    replays = {one.name: one for one in quicktune(path.parent)}
    picks = Picks(replays, _accuracies(path), 60 if options.quick else None)
    return Family(
        "quicktune",
        f"Quick-Tune, {len(replays)} image sets; the past is all recorded runs on the other "
        f"{len(replays) - 1}, the pool the held-out set's own.",
        "(best - picked) / (best - median) of the held-out set's runs",
        tuple(replays),
        METHODS,
        QUICK if options.quick else tuple(METHODS),
        picks.run,
        N_PICKS,
        1 if options.quick else 5,
        BARS,
    )


@dataclass(frozen=True)
class Picks:
    """Ranks recorded runs.

    Attributes:
        replays: The runs by set.
        accuracies: Their accuracies in percent, aborted runs included, by set.
        n_past: How many of a past set's runs are learned from; all where ``None``.
    """

    replays: Mapping[str, Replay]
    accuracies: Mapping[str, Floats]
    n_past: int | None

    def run(self, task: str, seed: int, method: str, n_trials: int) -> list[Step]:
        """Pick with one method on one set."""
        found = self.accuracies[task]
        regrets = (found.max() - found) / (found.max() - np.median(found))
        if method == "random":
            return [Step(expected_best(regrets, n), 0.0) for n in range(1, n_trials + 1)]
        start = time.perf_counter()
        order = self._order(task, seed, method)[:n_trials]
        taken = time.perf_counter() - start
        return [Step(float(one), taken) for one in np.minimum.accumulate(regrets[order])]

    def _order(self, task: str, seed: int, method: str) -> list[int]:
        pool = [trial.params for trial in self.replays[task].trials]
        if method == "nearest":
            return self._like_nearest(task, pool)
        change = method.removeprefix("ours-")
        learner = self.learner(task, seed, change if change in CHANGES else "none")
        order = [int(i) for i in np.argsort(-learner.predict(pool).mean, kind="stable")]
        return _diverse(order, pool, learner) if method == "ours-diverse" else order

    @cached_property
    def learner(self) -> Callable[[str, int, str], MetaLearner]:
        """(task, seed, change) -> what the library learns from the other sets."""
        return lru_cache(maxsize=1)(self._learner)

    def _learner(self, task: str, seed: int, change: str) -> MetaLearner:
        storage = InMemoryStorage()
        for name, one in self.replays.items():
            if name != task:
                rng = np.random.default_rng(seed_of("permuted", name, seed))
                past = CHANGES[change](one.trials[: self.n_past], rng)
                replace(one, trials=past).add_to(storage)
        dataset = build_meta_dataset(read_history(storage), self.replays[task].space)
        return MetaLearner(seed=seed_of("quicktune", task, seed) % 2**31).fit(dataset)

    def _like_nearest(self, task: str, pool: Sequence[Config]) -> list[int]:
        others = [one for one in self.replays.values() if one.name != task]
        away = distances(self.replays[task].attributes, [one.attributes for one in others])
        nearest = others[int(np.argmin([math.inf if one is None else one for one in away]))]
        best = nearest.trials[int(self.accuracies[nearest.name].argmax())].params
        return [int(i) for i in np.argsort([-_likeness(one, best) for one in pool], kind="stable")]


def expected_best(regrets: Floats, n: int) -> float:
    """Return the least regret of ``n`` random picks without replacement, on average."""
    total = math.comb(len(regrets), n)
    ordered = enumerate(sorted(regrets))
    return float(sum(one * math.comb(len(regrets) - 1 - i, n - 1) / total for i, one in ordered))


Trials: TypeAlias = tuple[FrozenTrial, ...]


def _as_it_was(trials: Trials, rng: np.random.Generator) -> Trials:
    return trials


def _permuted(trials: Trials, rng: np.random.Generator) -> Trials:
    """Give each configuration what became of another, failures included."""
    return tuple(
        create_trial(
            state=trials[i].state,
            params=one.params,
            distributions=one.distributions,
            value=trials[i].value,
        )
        for one, i in zip(trials, rng.permutation(len(trials)), strict=True)
    )


def _inverted(trials: Trials, rng: np.random.Generator) -> Trials:
    return tuple(
        create_trial(
            state=one.state,
            params=one.params,
            distributions=one.distributions,
            value=None if one.value is None else -one.value,
        )
        for one in trials
    )


CHANGES: dict[str, Callable[[Trials, np.random.Generator], Trials]] = {
    "none": _as_it_was,
    "permuted": _permuted,
    "inverted": _inverted,
}


def _diverse(order: Sequence[int], pool: Sequence[Config], learner: MetaLearner) -> list[int]:
    rule = getattr(_candidates, "_diverse", None)
    if rule is None:
        raise SkippedError("the library's rule of diversity has moved")
    chosen: list[int] = rule(order, pool, learner.space, N_PICKS)
    return chosen


def _likeness(first: Config, second: Config) -> float:
    """Return the share of equal values among the parameters that either has."""
    names = set(first) | set(second)
    equal = [name in first and name in second and first[name] == second[name] for name in names]
    return float(np.mean(equal))


def _accuracies(path: Path) -> dict[str, Floats]:
    frame = pd.read_parquet(path, columns=["dataset", "best_top1"])
    return {
        str(name): one["best_top1"].to_numpy(dtype=float) for name, one in frame.groupby("dataset")
    }

"""recorded runs of other sets -> the order in which a held-out set's own runs are picked."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from functools import cached_property
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from optuna.trial import create_trial

from benchmarks.families.family import Step
from benchmarks.families.family import seed_of
from benchmarks.families.past import Floats
from benchmarks.families.replay import Replay
from optuna_metallmix.candidates import diverse
from optuna_metallmix.history import distances
from optuna_metallmix.history import read_history
from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.metalearner import build_meta_dataset
from optuna_metallmix.space import Config


N_PICKS = 5
Trials: TypeAlias = tuple[FrozenTrial, ...]


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
        order_of = METHODS[method][0]
        if order_of is None:
            return [Step(expected_best(regrets, n), 0.0) for n in range(1, n_trials + 1)]
        start = time.perf_counter()
        order = order_of(self, task, seed)[:n_trials]
        taken = time.perf_counter() - start
        return [Step(float(one), taken) for one in np.minimum.accumulate(regrets[order])]

    def pool(self, task: str) -> list[Config]:
        """Return the configurations to pick from."""
        return [trial.params for trial in self.replays[task].trials]

    @cached_property
    def learner(self) -> Callable[[str, int, Change], MetaLearner]:
        """(task, seed, change) -> what the library learns from the other sets."""
        return lru_cache(maxsize=1)(self._learner)

    def _learner(self, task: str, seed: int, change: Change) -> MetaLearner:
        storage = InMemoryStorage()
        for name, one in self.replays.items():
            if name != task:
                rng = np.random.default_rng(seed_of("permuted", name, seed))
                replace(one, trials=change(one.trials[: self.n_past], rng)).add_to(storage)
        dataset = build_meta_dataset(read_history(storage), self.replays[task].space)
        return MetaLearner(seed=seed_of("quicktune", task, seed) % 2**31).fit(dataset)


def expected_best(regrets: Floats, n: int) -> float:
    """Return the least regret of ``n`` random picks without replacement, on average."""
    total = math.comb(len(regrets), n)
    ordered = enumerate(sorted(regrets))
    return float(sum(one * math.comb(len(regrets) - 1 - i, n - 1) / total for i, one in ordered))


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


Change: TypeAlias = Callable[[Trials, np.random.Generator], Trials]
Order: TypeAlias = Callable[[Picks, str, int], list[int]]
"""(what is known, task, seed) -> the places of the pool's configurations, best first."""


def _nearest(picks: Picks, task: str, seed: int) -> list[int]:
    """Take what is most like the best run of the set that is most like this one."""
    others = [one for one in picks.replays.values() if one.name != task]
    away = distances(picks.replays[task].attributes, [one.attributes for one in others])
    nearest = others[int(np.argmin([math.inf if one is None else one for one in away]))]
    best = nearest.trials[int(picks.accuracies[nearest.name].argmax())].params
    likeness = np.array([_likeness(one, best) for one in picks.pool(task)])
    return [int(i) for i in np.argsort(-likeness, kind="stable")]


def _predicted(change: Change) -> Order:
    """Take what the meta-learner expects most of, after ``change`` to the past."""

    def order(picks: Picks, task: str, seed: int) -> list[int]:
        means = picks.learner(task, seed, change).predict(picks.pool(task)).mean
        return [int(i) for i in np.argsort(-means, kind="stable")]

    return order


def _diverse(picks: Picks, task: str, seed: int) -> list[int]:
    """Take the same in order, each unlike those before."""
    order = _predicted(_as_it_was)(picks, task, seed)
    space = picks.learner(task, seed, _as_it_was).space
    return diverse(order, picks.pool(task), space, N_PICKS)


def _likeness(first: Config, second: Config) -> float:
    """Return the share of equal values among the parameters that either has."""
    names = set(first) | set(second)
    equal = [name in first and name in second and first[name] == second[name] for name in names]
    return float(np.mean(equal))


METHODS: Mapping[str, tuple[Order | None, str]] = {
    "random": (None, "the expectation of random picks, exact"),
    "nearest": (_nearest, "the nearest set's best run; of this set's runs, those most like it"),
    "ours-no-llm": (_predicted(_as_it_was), "the meta-learner's best predicted, in order"),
    "ours-diverse": (
        _diverse,
        "the same (fitted already), each unlike those before by the library's rule",
    ),
    "ours-permuted": (_predicted(_permuted), "control: past scores shuffled inside each set"),
    "ours-inverted": (_predicted(_inverted), "control: past accuracies with their signs turned"),
}

"""Rank the recorded runs of a held-out image set by what was learned on the other sets."""

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

from benchmarks.tasks.family import Step
from benchmarks.tasks.family import seed_of
from benchmarks.tasks.past import Floats
from benchmarks.tasks.replay import Replay
from optuna_metallmix.candidates import select_diverse
from optuna_metallmix.history import distances
from optuna_metallmix.history import read_history
from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.metalearner import build_meta_dataset
from optuna_metallmix.space import Config


N_PICKS = 5
Trials: TypeAlias = tuple[FrozenTrial, ...]


@dataclass(frozen=True)
class RunRanking:
    """Ranks recorded runs.

    Attributes:
        replays: The runs by set.
        accuracies: Their accuracies in percent, aborted runs included, by set.
        n_past: Number of runs of each past set to learn from; ``None`` for all.
    """

    replays: Mapping[str, Replay]
    accuracies: Mapping[str, Floats]
    n_past: int | None

    def run(self, task: str, seed: int, method: str, n_trials: int) -> list[Step]:
        """Rank the runs of one set with one method and return the steps of its first picks."""
        accuracy = self.accuracies[task]
        regrets = (accuracy.max() - accuracy) / (accuracy.max() - np.median(accuracy))
        order_of = METHODS[method][0]
        if order_of is None:
            return [Step(expected_best(regrets, n), 0.0) for n in range(1, n_trials + 1)]
        start = time.perf_counter()
        order = order_of(self, task, seed)[:n_trials]
        seconds = time.perf_counter() - start
        return [Step(float(best), seconds) for best in np.minimum.accumulate(regrets[order])]

    def pool(self, task: str) -> list[Config]:
        """Return the configurations to rank."""
        return [trial.params for trial in self.replays[task].trials]

    @cached_property
    def learner(self) -> Callable[[str, int, Control], MetaLearner]:
        """Maps (task, seed, control) to the meta-learner fitted on the other sets; cached."""
        return lru_cache(maxsize=1)(self._learner)

    def _learner(self, task: str, seed: int, control: Control) -> MetaLearner:
        storage = InMemoryStorage()
        for name, replay in self.replays.items():
            if name != task:
                rng = np.random.default_rng(seed_of("permuted", name, seed))
                replace(replay, trials=control(replay.trials[: self.n_past], rng)).add_to(storage)
        dataset = build_meta_dataset(read_history(storage), self.replays[task].space)
        return MetaLearner(seed=seed_of("quicktune", task, seed) % 2**31).fit(dataset)


def expected_best(regrets: Floats, n: int) -> float:
    """Return the expected lowest regret of ``n`` random picks without replacement."""
    total = math.comb(len(regrets), n)
    ordered = enumerate(sorted(regrets))
    return float(sum(x * math.comb(len(regrets) - 1 - i, n - 1) / total for i, x in ordered))


def _unchanged(trials: Trials, rng: np.random.Generator) -> Trials:
    return trials


def _permuted(trials: Trials, rng: np.random.Generator) -> Trials:
    """Give each configuration the outcome of another, failures included."""
    return tuple(
        create_trial(
            state=trials[i].state,
            params=trial.params,
            distributions=trial.distributions,
            value=trials[i].value,
        )
        for trial, i in zip(trials, rng.permutation(len(trials)), strict=True)
    )


def _inverted(trials: Trials, rng: np.random.Generator) -> Trials:
    return tuple(
        create_trial(
            state=trial.state,
            params=trial.params,
            distributions=trial.distributions,
            value=None if trial.value is None else -trial.value,
        )
        for trial in trials
    )


Control: TypeAlias = Callable[[Trials, np.random.Generator], Trials]
Order: TypeAlias = Callable[[RunRanking, str, int], list[int]]
"""Maps (ranking, task, seed) to the indices of the pool's configurations, best first."""


def _nearest(ranking: RunRanking, task: str, seed: int) -> list[int]:
    """Rank by similarity to the best run of the most similar set."""
    others = [replay for replay in ranking.replays.values() if replay.name != task]
    to_task = distances(ranking.replays[task].attributes, [other.attributes for other in others])
    nearest = others[int(np.argmin([math.inf if d is None else d for d in to_task]))]
    best = nearest.trials[int(ranking.accuracies[nearest.name].argmax())].params
    similarity = np.array([_similarity(config, best) for config in ranking.pool(task)])
    return [int(i) for i in np.argsort(-similarity, kind="stable")]


def _predicted(control: Control) -> Order:
    """Rank by the meta-learner's predictions, after ``control`` is applied to the past."""

    def order(ranking: RunRanking, task: str, seed: int) -> list[int]:
        means = ranking.learner(task, seed, control).predict(ranking.pool(task)).mean
        return [int(i) for i in np.argsort(-means, kind="stable")]

    return order


def _diverse(ranking: RunRanking, task: str, seed: int) -> list[int]:
    """Rank by prediction, skipping configurations similar to earlier ones."""
    order = _predicted(_unchanged)(ranking, task, seed)
    space = ranking.learner(task, seed, _unchanged).space
    return select_diverse(order, ranking.pool(task), space, N_PICKS)


def _similarity(first: Config, second: Config) -> float:
    """Return the share of equal values among the parameters that are in either."""
    names = set(first) | set(second)
    equal = [name in first and name in second and first[name] == second[name] for name in names]
    return float(np.mean(equal))


METHODS: Mapping[str, tuple[Order | None, str]] = {
    "random": (None, "exact expectation of random picks"),
    "nearest": (_nearest, "this set's runs most similar to the best run of the nearest set"),
    "ours-no-llm": (_predicted(_unchanged), "in the order of the meta-learner's predictions"),
    "ours-diverse": (
        _diverse,
        "the same (fitted already), skipping similar runs by the library's rule",
    ),
    "ours-permuted": (_predicted(_permuted), "control: past scores permuted within each set"),
    "ours-inverted": (_predicted(_inverted), "control: past accuracies negated"),
}

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
from itertools import cycle
from itertools import islice
from typing import TypeAlias

import numpy as np
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from optuna.trial import create_trial

from benchmarks.tasks.family import Step
from benchmarks.tasks.family import seed_of
from benchmarks.tasks.past import Floats
from benchmarks.tasks.replay import Replay
from benchmarks.tasks.scenarios import in_scenario
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

    def run(self, task: str, seed: int, name: str, n_trials: int) -> list[Step]:
        """Rank the runs of one set with one method and return the steps of its first picks."""
        accuracy = self.accuracies[task]
        regrets = (accuracy.max() - accuracy) / (accuracy.max() - np.median(accuracy))
        method, _, past = name.partition("@")
        order_of = METHODS[method][0]
        if order_of is None:
            return [Step(expected_best(regrets, n), 0.0) for n in range(1, n_trials + 1)]
        start = time.perf_counter()
        order = order_of(self, task, seed, past)[:n_trials]
        seconds = time.perf_counter() - start
        return [Step(float(best), seconds) for best in np.minimum.accumulate(regrets[order])]

    def pool(self, task: str) -> list[Config]:
        """Return the configurations to rank."""
        return [trial.params for trial in self.replays[task].trials]

    def past(self, task: str, seed: int, past: str) -> list[Replay]:
        """Return the runs of the other sets, or of random ones of them, with changed outcomes."""
        others = [replay for name, replay in self.replays.items() if name != task]
        if (n := PASTS[past].n_sets) is not None:
            rng = np.random.default_rng(seed_of("studies", "quicktune", task, seed))
            others = [others[i] for i in rng.permutation(len(others))[:n]]
        change = PASTS[past].change
        return [
            replace(
                other,
                trials=change(
                    other.trials[: self.n_past],
                    np.random.default_rng(seed_of("permuted", other.name, seed)),
                ),
            )
            for other in others
        ]

    @cached_property
    def learner(self) -> Callable[[str, int, str], MetaLearner]:
        """Maps (task, seed, past) to the meta-learner fitted on the other sets; cached."""
        return lru_cache(maxsize=len(PASTS))(self._learner)

    def _learner(self, task: str, seed: int, past: str) -> MetaLearner:
        storage = InMemoryStorage()
        for replay in self.past(task, seed, past):
            replay.add_to(storage)
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


@dataclass(frozen=True)
class RecordedPast:
    """A kind of past.

    Attributes:
        text: What it is, in words.
        n_sets: Number of random sets; ``None`` for all.
        change: Changes the outcomes of the runs of a set.
    """

    text: str
    n_sets: int | None = None
    change: Callable[[Trials, np.random.Generator], Trials] = _unchanged


PASTS: Mapping[str, RecordedPast] = {
    "": RecordedPast("all sets"),
    **{f"random-{n}": RecordedPast(f"random sets: {n}", n) for n in (10, 3, 1)},
    "permuted": RecordedPast("control: past scores permuted within each set", change=_permuted),
    "inverted": RecordedPast("control: past accuracies negated", change=_inverted),
}
Order: TypeAlias = Callable[[RunRanking, str, int, str], list[int]]
"""Maps (ranking, task, seed, past) to the indices of the pool's configurations, best first."""


def _past_bests(ranking: RunRanking, task: str, seed: int, past: str) -> list[int]:
    """Pick the run most similar to the best of each set, nearest set first, and begin again."""
    others = ranking.past(task, seed, past)
    to_task = distances(ranking.replays[task].attributes, [other.attributes for other in others])
    nearest = np.argsort([math.inf if d is None else d for d in to_task], kind="stable")
    pool, order = ranking.pool(task), list[int]()
    for i in islice(cycle(nearest), N_PICKS):
        best = max(others[i].trials, key=_value).params
        rest = [run for run in range(len(pool)) if run not in order]
        order.append(max(rest, key=lambda run: _similarity(pool[run], best)))
    return order


def _value(trial: FrozenTrial) -> float:
    return -math.inf if trial.value is None else trial.value


def _predicted(ranking: RunRanking, task: str, seed: int, past: str) -> list[int]:
    """Rank by the meta-learner's predictions."""
    means = ranking.learner(task, seed, past).predict(ranking.pool(task)).mean
    return [int(i) for i in np.argsort(-means, kind="stable")]


def _diverse(ranking: RunRanking, task: str, seed: int, past: str) -> list[int]:
    """Rank by prediction, skipping configurations similar to earlier ones."""
    order = _predicted(ranking, task, seed, past)
    space = ranking.learner(task, seed, past).space
    return select_diverse(order, ranking.pool(task), space, N_PICKS)


def _similarity(first: Config, second: Config) -> float:
    """Return the share of equal values among the parameters that are in either."""
    names = set(first) | set(second)
    equal = [name in first and name in second and first[name] == second[name] for name in names]
    return float(np.mean(equal))


METHODS: Mapping[str, tuple[Order | None, str]] = {
    "random": (None, "exact expectation of random picks"),
    "past-bests": (
        _past_bests,
        "this set's runs most similar to the best runs of the other sets, nearest set first",
    ),
    "ours-no-llm": (_predicted, "in the order of the meta-learner's predictions"),
    "ours-diverse": (
        _diverse,
        "the same (fitted already), skipping similar runs by the library's rule",
    ),
}
NAMES: Mapping[str, str] = {
    in_scenario(name, past): kind.text if past else text
    for name, (order, text) in METHODS.items()
    for past, kind in PASTS.items()
    if not past or order is not None
}
"""The names of all methods with a description, each followed by those with other pasts."""
USUAL = (
    *METHODS,
    *(name for name in NAMES if name.startswith(("past-bests@random", "ours-no-llm@"))),
)

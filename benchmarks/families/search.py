"""tasks + space -> a family of searches: each method on each task, the other tasks' past read."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from functools import lru_cache
from functools import partial

import optuna
from optuna.distributions import BaseDistribution

from benchmarks.families.family import Step
from benchmarks.families.family import seed_of
from benchmarks.families.past import Config
from benchmarks.families.past import Past
from benchmarks.families.past import Task
from benchmarks.families.past import best_by_study
from benchmarks.families.past import past_of
from benchmarks.methods.baselines import Search
from benchmarks.methods.baselines import Setting
from benchmarks.methods.methods import METHODS


N_SIZES = 4
"""The usual past and those of `ours-10-trials` to `ours-100-trials` are kept, of one seed."""


@dataclass(frozen=True)
class Searches:
    """Runs searches of one family.

    Attributes:
        family: Its name, for the seeds.
        tasks: All tasks by name.
        space: What is searched.
        default: What people who know nothing start from.
        tried: (task, seed, n) -> the ``n`` configurations of its past study.
        n_past: How many they are.
    """

    family: str
    tasks: Mapping[str, Task]
    space: Mapping[str, BaseDistribution]
    default: Config
    tried: Callable[[str, int, int], list[Config]]
    n_past: int

    def run(self, task: str, seed: int, method: str, n_trials: int) -> list[Step]:
        """Run one method on one task."""
        target = self.tasks[task]
        search = METHODS[method][0](self._setting(target, seed, method))
        return trace(target, self.space, search, n_trials)

    def _setting(self, target: Task, seed: int, method: str) -> Setting:
        past = self.past(seed, self.n_past)
        others = [one for one in self.tasks.values() if one is not target]
        return Setting(
            task=target,
            seed=seed_of(self.family, target.name, seed, _kin(method)),
            past=past,
            others=[one.name for one in others],
            default=self.default,
            best=partial(best_by_study, past, others, seed, target),
            past_with=partial(self.past, seed),
        )

    @cached_property
    def past(self) -> Callable[[int, int], Past]:
        """(seed, trials a study) -> the past, made once."""
        return lru_cache(maxsize=N_SIZES)(self._past)

    def _past(self, seed: int, n: int) -> Past:
        tasks = list(self.tasks.values())
        return past_of(tasks, self.space, lambda task: self.tried(task, seed, n), seed)


def _kin(method: str) -> str:
    """Return what a method's seed is named after: all of ours start from the same candidates."""
    return "ours" if method.startswith("ours") else method


def trace(
    task: Task, space: Mapping[str, BaseDistribution], search: Search, n_trials: int
) -> list[Step]:
    """Run a search, timing all but the objective."""
    study = optuna.create_study(direction=task.direction, sampler=search.sampler)
    for config in search.first:
        study.enqueue_trial(dict(config))
    steps: list[Step] = []
    for _ in range(n_trials):
        start = time.perf_counter()
        trial = study.ask()
        params = {name: trial._suggest(name, one) for name, one in space.items()}
        asked = time.perf_counter()
        value = float(task.values([params])[0])
        told = time.perf_counter()
        study.tell(trial, value)
        taken = time.perf_counter() - told + asked - start
        steps.append(_next(steps, task.regret(value), taken))
    return steps


def _next(steps: Sequence[Step], regret: float, seconds: float) -> Step:
    if not steps:
        return Step(regret, seconds)
    return Step(min(steps[-1].regret, regret), steps[-1].seconds + seconds)

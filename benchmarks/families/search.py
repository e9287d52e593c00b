"""Run searches on tasks that can evaluate any configuration, with the other tasks as the past."""

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

from benchmarks.methods.bars import SAFE
from benchmarks.methods.baselines import Search
from benchmarks.methods.baselines import Setting
from benchmarks.methods.catalog import METHODS
from benchmarks.methods.catalog import QUICK
from benchmarks.methods.catalog import TRIALS
from benchmarks.methods.catalog import USUAL
from benchmarks.tasks.family import Bar
from benchmarks.tasks.family import Family
from benchmarks.tasks.family import Step
from benchmarks.tasks.family import seed_of
from benchmarks.tasks.past import Config
from benchmarks.tasks.past import Past
from benchmarks.tasks.past import Task
from benchmarks.tasks.past import best_by_study
from benchmarks.tasks.past import past_of


N_SIZES = 4
"""Pasts cached per seed: the usual one and those of `ours-10-trials` to `ours-100-trials`."""


@dataclass(frozen=True)
class Searches:
    """Runs the searches of a family.

    Attributes:
        family: Name of the family; part of the seeds.
        tasks: All tasks by name.
        space: The search space.
        default: The configuration to start from without any knowledge.
        tried: Maps (task, seed, n) to the ``n`` configurations of its past study.
        n_past: Number of trials per past study.
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
        others = [task for task in self.tasks.values() if task is not target]
        return Setting(
            task=target,
            seed=seed_of(self.family, target.name, seed, _seed_name(method)),
            past=past,
            others=[task.name for task in others],
            default=self.default,
            best=partial(best_by_study, past, others, seed, target),
            past_with=partial(self.past, seed),
        )

    @cached_property
    def past(self) -> Callable[[int, int], Past]:
        """Maps (seed, trials per study) to the past; cached."""
        return lru_cache(maxsize=N_SIZES)(self._past)

    def _past(self, seed: int, n: int) -> Past:
        tasks = list(self.tasks.values())
        return past_of(tasks, self.space, lambda task: self.tried(task, seed, n), seed)


def _seed_name(method: str) -> str:
    """Return the method's part of the seed: all of ours start from the same candidates."""
    return "ours" if method.startswith("ours") else method


def search_family(
    searches: Searches,
    *,
    quick: bool,
    title: str,
    unit: str,
    n_trials: int,
    bars: tuple[Bar, ...],
    trials: Mapping[str, int] | None = None,
    seeds: Mapping[str, int] | None = None,
) -> Family:
    """Return the family of the searches with the usual methods, or the quick ones.

    ``trials`` and ``seeds`` are those of methods that differ from the usual.
    """
    return Family(
        searches.family,
        title,
        unit,
        tuple(searches.tasks),
        {name: text for name, (_, text) in METHODS.items()},
        QUICK if quick else USUAL,
        searches.run,
        n_trials,
        1 if quick else 5,
        (*bars, *SAFE),
        {} if quick else {**TRIALS, **(trials or {})},
        {} if quick else seeds or {},
    )


def trace(
    task: Task, space: Mapping[str, BaseDistribution], search: Search, n_trials: int
) -> list[Step]:
    """Run a search and return its steps; the objective's time is not counted."""
    study = optuna.create_study(direction=task.direction, sampler=search.sampler)
    for config in search.first:
        study.enqueue_trial(dict(config))
    steps: list[Step] = []
    for _ in range(n_trials):
        start = time.perf_counter()
        trial = study.ask()
        params = {name: trial._suggest(name, dist) for name, dist in space.items()}
        suggested = time.perf_counter()
        value = float(task.values([params])[0])
        evaluated = time.perf_counter()
        study.tell(trial, value)
        seconds = time.perf_counter() - evaluated + suggested - start
        steps.append(_next(steps, task.regret(value), seconds))
    return steps


def _next(steps: Sequence[Step], regret: float, seconds: float) -> Step:
    if not steps:
        return Step(regret, seconds)
    return Step(min(steps[-1].regret, regret), steps[-1].seconds + seconds)

"""Run searches on tasks that can evaluate any configuration, with other tasks as the past."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from functools import cached_property
from functools import lru_cache
from functools import partial

import numpy as np
import optuna

from benchmarks.methods.bars import COMPARISONS
from benchmarks.methods.bars import SAFE
from benchmarks.methods.baselines import Search
from benchmarks.methods.baselines import Setting
from benchmarks.methods.catalog import METHODS
from benchmarks.methods.catalog import NAMES
from benchmarks.methods.catalog import QUICK
from benchmarks.methods.catalog import SEEDS
from benchmarks.methods.catalog import TRIALS
from benchmarks.methods.catalog import USUAL
from benchmarks.tasks.family import Bar
from benchmarks.tasks.family import Family
from benchmarks.tasks.family import SkippedError
from benchmarks.tasks.family import Step
from benchmarks.tasks.family import seed_of
from benchmarks.tasks.flaws import Ranked
from benchmarks.tasks.flaws import rank
from benchmarks.tasks.past import Past
from benchmarks.tasks.past import Task
from benchmarks.tasks.past import Tried
from benchmarks.tasks.past import best_by_study
from benchmarks.tasks.past import past_of
from benchmarks.tasks.past import random_configs
from benchmarks.tasks.past import random_trials
from benchmarks.tasks.past import tpe_trials
from benchmarks.tasks.scenarios import SCENARIOS
from benchmarks.tasks.scenarios import Scenario
from benchmarks.tasks.space import Asks
from benchmarks.tasks.space import Config
from benchmarks.tasks.space import Space


MAX_TPE = 50
"""Trials per study of a past made by TPE."""
N_RANKED = 2_000
"""Random configurations of the held-out task that a scenario is built from."""
N_CACHED = 32
"""Pasts kept in memory: those of all scenarios of a task."""


@dataclass(frozen=True)
class Searches:
    """Runs the searches of a family.

    Attributes:
        family: Name of the family; part of the seeds.
        tasks: The tasks to search, by name.
        space: The search space.
        default: The configuration to start from without any knowledge.
        n_past: Number of trials per past study.
        tried: Returns the configurations of a past study that was not made by TPE.
        sources: Tasks of the past; by default all tasks but the held-out.
    """

    family: str
    tasks: Mapping[str, Task]
    space: Space
    default: Config
    n_past: int
    tried: Tried = random_trials
    sources: Sequence[Task] = ()

    def run(self, task: str, seed: int, name: str, n_trials: int) -> list[Step]:
        """Run a method on a task, in the scenario that follows ``@`` in its name."""
        target = self.tasks[task]
        method, _, scenario = name.partition("@")
        search = METHODS[method][0](self._setting(target, seed, method, SCENARIOS[scenario]))
        return trace(target, self.space, search, n_trials)

    def _setting(self, target: Task, seed: int, method: str, scenario: Scenario) -> Setting:
        past = self.past(scenario, seed, target)
        others = self._others(target, seed, scenario.n_studies)
        return Setting(
            task=target,
            space=self.space,
            seed=seed_of(self.family, target.name, seed, _seed_name(method)),
            past=past,
            others=[task.name for task in others],
            default=self.default,
            best=partial(best_by_study, past, others, seed, target),
        )

    def _others(self, target: Task, seed: int, n: int | None) -> Sequence[Task]:
        others = [task for task in self._sources if task is not target]
        if n is None:
            return others
        if n >= len(others):
            raise SkippedError(f"the family has {len(others)} past studies")
        rng = np.random.default_rng(seed_of("studies", self.family, target.name, seed))
        return [others[i] for i in rng.permutation(len(others))[:n]]

    @property
    def _sources(self) -> Sequence[Task]:
        return self.sources or list(self.tasks.values())

    def past(self, scenario: Scenario, seed: int, target: Task) -> Past:
        """Return the studies on all tasks; cached, for any number of studies."""
        by_target = scenario.searched or scenario.scored
        made = replace(scenario, text="", n_studies=None)
        return self._cached(made, seed, target.name if by_target else None)

    @cached_property
    def _cached(self) -> Callable[[Scenario, int, str | None], Past]:
        return lru_cache(maxsize=N_CACHED)(self._past)

    def _past(self, scenario: Scenario, seed: int, target: str | None) -> Past:
        if target is not None and scenario.scored is not None:
            past = self._cached(replace(scenario, scored=None), seed, None)
            return scenario.scored(past, self._ranked(target), seed_of(target, seed))
        space = self.space
        if target is not None and scenario.searched is not None:
            space = scenario.searched(self._ranked(target))
        tried, n = self.tried, scenario.n_trials or self.n_past
        if scenario.by_tpe:
            tried, n = tpe_trials, min(n, MAX_TPE)
        return past_of(self._sources, space, tried, seed, n)

    @cached_property
    def _ranked(self) -> Callable[[str], Ranked]:
        configs = random_configs(self.space, N_RANKED, "ranked", self.family)
        return lru_cache(maxsize=1)(lambda name: rank(self.tasks[name], self.space, configs))


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
    bars: tuple[Bar, ...] = (),
    seeds: Mapping[str, int] | None = None,
    clip: float = 3.0,
) -> Family:
    """Return the family of the searches with the usual methods, or the quick ones.

    ``seeds`` are those of methods that differ from the usual.
    """
    return Family(
        searches.family,
        title,
        unit,
        tuple(searches.tasks),
        NAMES,
        QUICK if quick else USUAL,
        searches.run,
        n_trials,
        1 if quick else 5,
        (*bars, *SAFE),
        COMPARISONS,
        {} if quick else TRIALS,
        {} if quick else {**SEEDS, **(seeds or {})},
        clip,
    )


def trace(task: Task, space: Asks, search: Search, n_trials: int) -> list[Step]:
    """Run a search and return its steps; the objective's time is not counted."""
    study = optuna.create_study(direction=task.direction, sampler=search.sampler)
    for config in search.first:
        study.enqueue_trial(dict(config))
    steps: list[Step] = []
    for _ in range(n_trials):
        start = time.perf_counter()
        trial = study.ask()
        params = space.ask(trial)
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

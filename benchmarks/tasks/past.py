"""Build the past that other studies would have left: tasks and the trials run on them.

Two controls are the same past with its scores permuted within each study (nothing to learn) or
negated (everything learned is wrong). `unrelated.py` has a third.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from typing import Literal
from typing import TypeAlias

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.trial import create_trial

from benchmarks.tasks.family import seed_of
from optuna_metallmix.history import distances


Config: TypeAlias = Mapping[str, Any]
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """A task that configurations can be evaluated on.

    Attributes:
        name: Name of the task, unique in its family.
        direction: ``"minimize"`` or ``"maximize"``.
        values: Maps n configurations to their values, shape (n,).
        regret: Maps a value to its regret in the family's unit.
        attributes: Meta-features of the task.
    """

    name: str
    direction: Literal["minimize", "maximize"]
    values: Callable[[Sequence[Config]], Floats]
    regret: Callable[[float], float]
    attributes: Mapping[str, int | str]


@dataclass(frozen=True)
class Past:
    """Past trials on each task.

    Attributes:
        tasks: The tasks.
        space: The search space.
        configs: Configurations tried, by task.
        values: Their values, by task.
        seed: The repetition.
    """

    tasks: Sequence[Task]
    space: Mapping[str, BaseDistribution]
    configs: Mapping[str, list[Config]]
    values: Mapping[str, Floats]
    seed: int

    @cached_property
    def storage(self) -> InMemoryStorage:
        """A study for each task."""
        return self.storage_with(lambda task: self.values[task.name])

    @cached_property
    def permuted(self) -> InMemoryStorage:
        """The same studies with scores permuted within each."""
        return self.storage_with(
            lambda task: np.random.default_rng(
                seed_of("permuted", task.name, self.seed)
            ).permutation(self.values[task.name])
        )

    @cached_property
    def inverted(self) -> InMemoryStorage:
        """The same studies with negated scores."""
        return self.storage_with(lambda task: -self.values[task.name])

    def storage_with(self, values: Callable[[Task], Floats]) -> InMemoryStorage:
        """Return a study for each task with the configurations tried and ``values(task)``."""
        storage = InMemoryStorage()
        for task in self.tasks:
            _add_study(storage, task, self.space, self.configs[task.name], values(task))
        return storage

    @cached_property
    def losses(self) -> Floats:
        """Losses of all configurations on each task, shape (tasks, configurations).

        Configurations are in the order of the tasks. Costly, and independent of the held-out task.
        """
        configs = [config for task in self.tasks for config in self.configs[task.name]]
        return np.stack([_loss(task.values(configs), task) for task in self.tasks])


def past_of(
    tasks: Sequence[Task],
    space: Mapping[str, BaseDistribution],
    tried: Callable[[str], list[Config]],
    seed: int,
) -> Past:
    """Evaluate the configurations ``tried(name)`` of each task."""
    configs = {task.name: tried(task.name) for task in tasks}
    values = {task.name: task.values(configs[task.name]) for task in tasks}
    return Past(tasks, space, configs, values, seed)


def random_configs(space: Mapping[str, BaseDistribution], n: int, *seeds: object) -> list[Config]:
    """Draw ``n`` configurations with Optuna's random sampler."""
    study = optuna.create_study(sampler=RandomSampler(seed=seed_of("random", *seeds)))
    return [study.ask(dict(space)).params for _ in range(n)]


def random_trials(
    space: Mapping[str, BaseDistribution],
) -> Callable[[str, int, int], list[Config]]:
    """Return a function that maps (task, seed, n) to ``n`` random configurations."""
    return lambda task, seed, n: random_configs(space, n, "past", task, seed)


def best_by_study(past: Past, tasks: Sequence[Task], seed: int, target: Task) -> list[Config]:
    """Return the best configuration of each study, that of the nearest task first.

    Distances are between meta-features; tasks of unknown distance come last in random order.
    """
    rng = np.random.default_rng(seed_of("nearest", target.name, seed))
    to_target = distances(target.attributes, [task.attributes for task in tasks])
    order = [(math.inf if d is None else d, rng.random()) for d in to_target]
    nearest = [tasks[i] for i in sorted(range(len(tasks)), key=order.__getitem__)]
    return [past.configs[task.name][best_index(past.values[task.name], task)] for task in nearest]


def best_index(values: Floats, task: Task) -> int:
    """Return the index of the best value."""
    return int(_loss(values, task).argmin())


def best_mean_rank(past: Past, target: Task) -> Config:
    """Return the past configuration with the best mean rank over all past tasks.

    This uses more information than a method that only reads the past, where each configuration
    was evaluated on a single task: it evaluates every configuration on every past task.
    """
    tried = [(config, task) for task in past.tasks for config in past.configs[task.name]]
    is_past = np.array([task is not target for task in past.tasks])
    usable = np.array([task is not target for _, task in tried])
    losses = past.losses[is_past][:, usable]
    ranks = losses.argsort(axis=1).argsort(axis=1).sum(axis=0)
    return tried[int(np.flatnonzero(usable)[ranks.argmin()])][0]


def _loss(values: Floats, task: Task) -> Floats:
    return values if task.direction == "minimize" else -values


def _add_study(
    storage: InMemoryStorage,
    task: Task,
    space: Mapping[str, BaseDistribution],
    configs: Sequence[Config],
    values: Floats,
) -> None:
    study = optuna.create_study(storage=storage, study_name=task.name, direction=task.direction)
    for key, attribute in task.attributes.items():
        study.set_user_attr(key, attribute)
    study.add_trials(
        [
            create_trial(params=dict(config), distributions=dict(space), value=float(value))
            for config, value in zip(configs, values, strict=True)
        ]
    )

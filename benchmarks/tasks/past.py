"""Build the past that other studies would have left: tasks and the trials run on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from functools import cached_property
from typing import Literal
from typing import TypeAlias

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import create_trial

from benchmarks.paths import cached
from benchmarks.tasks.family import seed_of
from benchmarks.tasks.space import Config
from benchmarks.tasks.space import Space
from optuna_metallmix.history import distances


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
    attributes: Mapping[str, float | str]


@dataclass(frozen=True)
class Past:
    """Past trials on each task.

    Attributes:
        tasks: The tasks.
        space: The space that was searched.
        configs: Configurations tried, by task.
        values: Their values, by task.
        seed: The repetition.
    """

    tasks: Sequence[Task]
    space: Space
    configs: Mapping[str, list[Config]]
    values: Mapping[str, Floats]
    seed: int

    @cached_property
    def storage(self) -> InMemoryStorage:
        """A study for each task."""
        storage = InMemoryStorage()
        for task in self.tasks:
            _add_study(storage, task, self.space, self.configs[task.name], self.values[task.name])
        return storage

    def with_values(self, values: Callable[[Task], Floats]) -> Past:
        """Return the same trials with ``values(task)`` instead of their own."""
        return replace(self, values={task.name: values(task) for task in self.tasks})

    @cached_property
    def losses(self) -> Floats:
        """Losses of all configurations on each task, shape (tasks, configurations).

        Configurations are in the order of the tasks. Costly, and independent of the held-out task.
        """
        configs = [config for task in self.tasks for config in self.configs[task.name]]
        return np.stack([losses_of(task, task.values(configs)) for task in self.tasks])


def permuted(past: Past) -> Past:
    """Permute the values within each study, so that nothing can be learned."""

    def values(task: Task) -> Floats:
        rng = np.random.default_rng(seed_of("permuted", task.name, past.seed))
        return rng.permutation(past.values[task.name])

    return past.with_values(values)


def inverted(past: Past) -> Past:
    """Negate the values, so that everything learned is wrong."""
    return past.with_values(lambda task: -past.values[task.name])


Tried: TypeAlias = Callable[[Space, Task, int, int], list[Config]]
"""Maps (space, task, seed, n) to the ``n`` configurations that a study of the task has tried."""


def past_of(tasks: Sequence[Task], space: Space, tried: Tried, seed: int, n: int) -> Past:
    """Build a past of ``n`` trials on each task."""
    configs = {task.name: tried(space, task, seed, n) for task in tasks}
    values = {task.name: task.values(configs[task.name]) for task in tasks}
    return Past(tasks, space, configs, values, seed)


def random_configs(space: Space, n: int, *seeds: object) -> list[Config]:
    """Draw ``n`` configurations with Optuna's random sampler."""
    study = optuna.create_study(sampler=RandomSampler(seed=seed_of("random", *seeds)))
    return [space.ask(study.ask()) for _ in range(n)]


def random_trials(space: Space, task: Task, seed: int, n: int) -> list[Config]:
    """Return the configurations of a random search."""
    return random_configs(space, n, "past", task.name, seed)


def tpe_trials(space: Space, task: Task, seed: int, n: int) -> list[Config]:
    """Return the configurations of a search by TPE, with a seed of its own for each study."""

    def search() -> list[Config]:
        sampler = TPESampler(seed=seed_of("tpe past", task.name, seed))
        study = optuna.create_study(direction=task.direction, sampler=sampler)
        study.optimize(lambda trial: float(task.values([space.ask(trial)])[0]), n_trials=n)
        return [trial.params for trial in study.trials]

    inputs = seed_of(space.parameters, n, optuna.__version__)
    configs: list[Config] = cached(f"tpe-{task.name}-{seed}-{inputs:08x}", search)
    return configs


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
    return int(losses_of(task, values).argmin())


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


def losses_of(task: Task, values: Floats) -> Floats:
    """Return the values, negated if they are to be maximized."""
    return values if task.direction == "minimize" else -values


def _add_study(
    storage: InMemoryStorage,
    task: Task,
    space: Space,
    configs: Sequence[Config],
    values: Floats,
) -> None:
    study = optuna.create_study(storage=storage, study_name=task.name, direction=task.direction)
    for key, attribute in task.attributes.items():
        study.set_user_attr(key, attribute)
    study.add_trials(
        [
            create_trial(params=dict(config), distributions=space.of(config), value=float(value))
            for config, value in zip(configs, values, strict=True)
        ]
    )

"""tasks and what was tried on them -> the past that other people's studies would be.

Two controls are the same past with its scores shuffled inside each study (nothing to learn), or
with their signs turned (everything learned is wrong); a third is in `_unrelated.py`.
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

from benchmarks.families.family import seed_of
from optuna_metallmix.history import distances


Config: TypeAlias = Mapping[str, Any]
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: What it is called.
        direction: ``"minimize"`` or ``"maximize"``.
        values: Configurations -> their values, shape (n,).
        regret: A value -> how far it is from the best, in the family's unit.
        attributes: What is known of it.
    """

    name: str
    direction: Literal["minimize", "maximize"]
    values: Callable[[Sequence[Config]], Floats]
    regret: Callable[[float], float]
    attributes: Mapping[str, int | str]


@dataclass(frozen=True)
class Past:
    """What was tried before on each task.

    Attributes:
        tasks: The tasks.
        space: What was searched.
        configs: What was tried, by task.
        values: The values, by task.
        seed: Which repetition.
    """

    tasks: Sequence[Task]
    space: Mapping[str, BaseDistribution]
    configs: Mapping[str, list[Config]]
    values: Mapping[str, Floats]
    seed: int

    @cached_property
    def storage(self) -> InMemoryStorage:
        """The studies."""
        return self.told(lambda task: self.values[task.name])

    @cached_property
    def permuted(self) -> InMemoryStorage:
        """The same with scores shuffled inside each study."""
        return self.told(
            lambda task: np.random.default_rng(
                seed_of("permuted", task.name, self.seed)
            ).permutation(self.values[task.name])
        )

    @cached_property
    def inverted(self) -> InMemoryStorage:
        """The same with scores whose signs are turned."""
        return self.told(lambda task: -self.values[task.name])

    def told(self, values: Callable[[Task], Floats]) -> InMemoryStorage:
        """Make a study of what was tried on each task, with ``values(task)`` for results."""
        storage = InMemoryStorage()
        for task in self.tasks:
            _add_study(storage, task, self.space, self.configs[task.name], values(task))
        return storage

    @cached_property
    def everywhere(self) -> Floats:
        """Losses of all configurations, in the order of the tasks, on each task: shape (task, n).

        Costly, and the same whichever task is left out.
        """
        configs = [config for one in self.tasks for config in self.configs[one.name]]
        return np.stack([_loss(one.values(configs), one) for one in self.tasks])


def past_of(
    tasks: Sequence[Task],
    space: Mapping[str, BaseDistribution],
    tried: Callable[[str], list[Config]],
    seed: int,
) -> Past:
    """Evaluate what was tried on each task."""
    configs = {one.name: tried(one.name) for one in tasks}
    values = {one.name: one.values(configs[one.name]) for one in tasks}
    return Past(tasks, space, configs, values, seed)


def random_configs(space: Mapping[str, BaseDistribution], n: int, *seeds: object) -> list[Config]:
    """Draw configurations as Optuna's random sampler does."""
    study = optuna.create_study(sampler=RandomSampler(seed=seed_of("random", *seeds)))
    return [study.ask(dict(space)).params for _ in range(n)]


def best_by_study(past: Past, tasks: Sequence[Task], seed: int, target: Task) -> list[Config]:
    """Return the best configuration of each study, of the nearest task first.

    Near is by what is known of the tasks; where nothing is, in any order.
    """
    rng = np.random.default_rng(seed_of("nearest", target.name, seed))
    away = distances(target.attributes, [one.attributes for one in tasks])
    far = [(math.inf if one is None else one, rng.random()) for one in away]
    nearest = [tasks[i] for i in sorted(range(len(tasks)), key=far.__getitem__)]
    return [past.configs[one.name][best_index(past.values[one.name], one)] for one in nearest]


def best_index(values: Floats, task: Task) -> int:
    """Return where the best value is."""
    return int(_loss(values, task).argmin())


def best_mean_rank(past: Past, target: Task) -> Config:
    """Return the past configuration whose rank over all past tasks is best.

    It is told more than any method that only reads the past: each task's configurations were
    evaluated on its own task alone, and this evaluates all of them on all past tasks.
    """
    tried = [(config, one) for one in past.tasks for config in past.configs[one.name]]
    others = np.array([one is not target for one in past.tasks])
    own = np.array([one is not target for _, one in tried])
    losses = past.everywhere[others][:, own]
    ranks = losses.argsort(axis=1).argsort(axis=1).sum(axis=0)
    return tried[int(np.flatnonzero(own)[ranks.argmin()])][0]


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

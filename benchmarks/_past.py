"""tasks and what was tried on them -> the past that other people's studies would be.

The controls are the same past with its scores shuffled
inside each study (nothing to learn), or with their signs turned (everything learned is wrong).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
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

from benchmarks._family import seed_of
from optuna_metallmix._meta_features import distances


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
        storage: The studies.
        permuted: The same with shuffled scores.
        inverted: The same with turned signs.
        configs: What was tried, by task.
        values: The values, by task.
    """

    storage: InMemoryStorage
    permuted: InMemoryStorage
    inverted: InMemoryStorage
    configs: Mapping[str, list[Config]]
    values: Mapping[str, Floats]


def past_of(
    tasks: Sequence[Task],
    space: Mapping[str, BaseDistribution],
    tried: Callable[[str, int], list[Config]],
    seed: int,
) -> Past:
    """Make a study of what was tried on each task: ``tried(task, seed)``."""
    storages = InMemoryStorage(), InMemoryStorage(), InMemoryStorage()
    configs = {one.name: tried(one.name, seed) for one in tasks}
    values = {one.name: one.values(configs[one.name]) for one in tasks}
    for one in tasks:
        found = values[one.name]
        rng = np.random.default_rng(seed_of("permuted", one.name, seed))
        for storage, told in zip(storages, (found, rng.permutation(found), -found), strict=True):
            _add_study(storage, one, space, configs[one.name], told)
    return Past(*storages, configs, values)


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
    return int(values.argmin() if task.direction == "minimize" else values.argmax())


def best_mean_rank(past: Past, tasks: Sequence[Task]) -> Config:
    """Return the past configuration whose rank over all past tasks is best.

    It is told more than any method that only reads the past: each task's configurations were
    evaluated on its own task alone, and this evaluates all of them on all past tasks.
    """
    configs = [config for one in tasks for config in past.configs[one.name]]
    ranks = np.zeros(len(configs))
    for one in tasks:
        values = one.values(configs)
        worse = values if one.direction == "minimize" else -values
        ranks += worse.argsort().argsort()
    return configs[int(ranks.argmin())]


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

"""a past -> one of the same trials that is about something else: a consistent, useless past.

What all past studies measured is one bowl of its own over the same parameters, moved a little from
study to study. A meta-learner finds it easily, predicts it well on studies it has not seen, and
knows nothing of the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.storages import InMemoryStorage

from benchmarks.families.family import seed_of
from benchmarks.families.past import Config
from benchmarks.families.past import Floats
from benchmarks.families.past import Past
from benchmarks.families.past import Task
from optuna_metallmix.space import to_unit


SHIFT = 0.05
"""Standard deviation of how far a study's centre is moved, in widths of the space."""


@dataclass(frozen=True)
class Bowl:
    """A quadratic function on the unit cube: 0 at its centre, more elsewhere.

    Attributes:
        space: The parameters.
        centre: Where it is least, shape (parameters,).
        weights: How much each parameter matters, in (0, 1), shape (parameters,).
        places: Where each choice of a categorical parameter lies in [0, 1], by name.
    """

    space: Mapping[str, BaseDistribution]
    centre: Floats
    weights: Floats
    places: Mapping[str, Floats]

    def __call__(self, configs: Sequence[Config], shift: Floats) -> Floats:
        """Return its values where its centre is moved by ``shift``, shape (n,)."""
        units = np.array([[self._unit(name, one[name]) for name in self.space] for one in configs])
        values: Floats = (self.weights * (units - self.centre - shift) ** 2).sum(axis=1)
        return values

    def _unit(self, name: str, value: Any) -> float:
        distribution = self.space[name]
        if isinstance(distribution, CategoricalDistribution):
            return float(self.places[name][distribution.choices.index(value)])
        return to_unit(distribution, value)


def random_bowl(space: Mapping[str, BaseDistribution], rng: np.random.Generator) -> Bowl:
    """Draw a bowl."""
    return Bowl(
        space,
        rng.random(len(space)),
        rng.random(len(space)),
        {
            name: rng.permutation(np.linspace(0, 1, len(one.choices)))
            for name, one in space.items()
            if isinstance(one, CategoricalDistribution)
        },
    )


def unrelated(past: Past, seed: int) -> InMemoryStorage:
    """Return the past with a random bowl's values; every ``seed`` has its own."""
    bowl = random_bowl(past.space, np.random.default_rng(seed_of("bowl", seed)))

    def values(task: Task) -> Floats:
        rng = np.random.default_rng(seed_of("shift", task.name, seed))
        found = bowl(past.configs[task.name], rng.normal(0, SHIFT, len(past.space)))
        return found if task.direction == "minimize" else -found

    return past.told(values)

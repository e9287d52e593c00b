"""Replace the scores of a past by those of an unrelated function, as a control.

All past studies measure the same quadratic function, shifted a little from study to study. A
meta-learner learns it easily and predicts held-out past studies well, but knows nothing about the
target.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from optuna.distributions import CategoricalDistribution

from benchmarks.tasks.family import seed_of
from benchmarks.tasks.past import Floats
from benchmarks.tasks.past import Past
from benchmarks.tasks.past import Task
from benchmarks.tasks.space import Config
from benchmarks.tasks.space import Space
from optuna_metallmix.space import to_unit


SHIFT = 0.05
"""Standard deviation of a study's shift, as a fraction of the width of the space."""


@dataclass(frozen=True)
class Bowl:
    """A quadratic function on the unit cube with value 0 at its centre.

    Attributes:
        space: The search space.
        centre: The minimum, shape (parameters,).
        weights: Weight of each parameter in (0, 1), shape (parameters,).
        positions: Position in [0, 1] of each choice of a categorical parameter, by name.
    """

    space: Space
    centre: Floats
    weights: Floats
    positions: Mapping[str, Floats]

    def __call__(self, configs: Sequence[Config], shift: Floats) -> Floats:
        """Return the values with the centre moved by ``shift``, shape (n,)."""
        units = np.array(
            [[self._unit(name, x) for name in self.space.parameters] for x in configs]
        )
        values: Floats = (self.weights * (units - self.centre - shift) ** 2).sum(axis=1)
        return values

    def _unit(self, name: str, config: Config) -> float:
        if name not in config:
            return 0.5  # inactive
        distribution, value = self.space.parameters[name], config[name]
        if isinstance(distribution, CategoricalDistribution):
            return float(self.positions[name][distribution.choices.index(value)])
        return to_unit(distribution, value)


def random_bowl(space: Space, rng: np.random.Generator) -> Bowl:
    """Draw a random centre, weights and positions of choices."""
    return Bowl(
        space,
        rng.random(len(space.parameters)),
        rng.random(len(space.parameters)),
        {
            name: rng.permutation(np.linspace(0, 1, len(dist.choices)))
            for name, dist in space.parameters.items()
            if isinstance(dist, CategoricalDistribution)
        },
    )


def unrelated(past: Past, seed: int) -> Past:
    """Return the past with the values of a random bowl, drawn from ``seed``."""
    bowl = random_bowl(past.space, np.random.default_rng(seed_of("bowl", seed)))

    def values(task: Task) -> Floats:
        rng = np.random.default_rng(seed_of("shift", task.name, seed))
        losses = bowl(past.configs[task.name], rng.normal(0, SHIFT, len(bowl.centre)))
        return losses if task.direction == "minimize" else -losses

    return past.with_values(values)

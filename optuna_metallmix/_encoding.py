"""configurations -> points in the unit cube, for a process that measures distances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution

from optuna_metallmix._meta_dataset import Config
from optuna_metallmix._search_space import SearchSpace
from optuna_metallmix._search_space import choices_of
from optuna_metallmix._search_space import is_number
from optuna_metallmix._search_space import is_ordered
from optuna_metallmix._search_space import label_of
from optuna_metallmix._search_space import to_unit


Floats = NDArray[np.float64]


class Encoding:
    """A number is one coordinate, a choice one for each of its values.

    Two different choices are as far apart as numbers at 0 and 0.7; a number that is not active is
    in the middle.

    Args:
        space: The parameters.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._widths = [_coordinates([{}], name, one).shape[1] for name, one in space.items()]

    def points(self, configs: Sequence[Config]) -> Floats:
        """Return points, shape (n, d)."""
        columns = [_coordinates(configs, name, one) for name, one in self.space.items()]
        return np.concatenate(columns, axis=1)

    def spread(self, by_parameter: Sequence[float] | Floats) -> Floats:
        """Return by coordinate what is given by parameter, in the order of the space."""
        return np.repeat(np.asarray(by_parameter, dtype=np.float64), self._widths)


def _coordinates(configs: Sequence[Config], name: str, distribution: BaseDistribution) -> Floats:
    if is_ordered(distribution):
        units = [
            to_unit(distribution, one[name]) if is_number(one.get(name)) else 0.5
            for one in configs
        ]
        column: Floats = np.clip(np.array(units, float), 0.0, 1.0)[:, None]
        return column
    labels = [label_of(distribution, choice) for choice in choices_of(distribution)]
    given = [label_of(distribution, one[name]) if name in one else None for one in configs]
    points: Floats = np.array([[0.5 * (one == label) for label in labels] for one in given])
    return points.reshape(len(configs), len(labels))

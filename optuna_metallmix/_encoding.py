"""configurations -> points in the unit cube, for a process that measures distances."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from optuna_metallmix._meta_dataset import Config
from optuna_metallmix._meta_dataset import labels_of
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
        stand_in: From a parameter's name and the label of its choice to the label that is taken
            for it. Default: each is itself.
    """

    def __init__(
        self, space: SearchSpace, stand_in: Callable[[str, str], str] | None = None
    ) -> None:
        self.space = space
        self._stand_in = stand_in
        self._widths = [self._coordinates([{}], name).shape[1] for name in space]

    def points(self, configs: Sequence[Config]) -> Floats:
        """Return points, shape (n, d)."""
        return np.concatenate([self._coordinates(configs, name) for name in self.space], axis=1)

    def spread(self, by_parameter: Sequence[float] | Floats) -> Floats:
        """Return by coordinate what is given by parameter, in the order of the space."""
        return np.repeat(np.asarray(by_parameter, dtype=np.float64), self._widths)

    def _coordinates(self, configs: Sequence[Config], name: str) -> Floats:
        distribution = self.space[name]
        if is_ordered(distribution):
            units = [
                to_unit(distribution, one[name]) if is_number(one.get(name)) else 0.5
                for one in configs
            ]
            column: Floats = np.clip(np.array(units, float), 0.0, 1.0)[:, None]
            return column
        labels = [label_of(distribution, choice) for choice in choices_of(distribution)]
        known = labels_of(distribution, (one[name] for one in configs if name in one))
        if self._stand_in is not None:
            known = [self._stand_in(name, label) for label in known]
        by_config = iter(known)
        given = [next(by_config) if name in one else None for one in configs]
        points: Floats = np.array([[0.5 * (one == label) for label in labels] for one in given])
        return points.reshape(len(configs), len(labels))

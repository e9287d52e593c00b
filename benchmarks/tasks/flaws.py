"""Take from a past what the held-out task needs: half of a range, the best choice, or the truth.

What it needs is measured on random configurations of the held-out task. Methods see the past only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from benchmarks.tasks.family import SkippedError
from benchmarks.tasks.past import Floats
from benchmarks.tasks.past import Past
from benchmarks.tasks.past import Task
from benchmarks.tasks.past import losses_of
from benchmarks.tasks.space import Config
from benchmarks.tasks.space import Space


MAX_LEVELS = 20
"""Integers with more values are a range and not a list of levels."""
Groups: TypeAlias = Mapping[str, Callable[[Any], Hashable]]
"""By parameter: the function from its value to a choice, a level, or a half of its range."""


@dataclass(frozen=True)
class Ranked:
    """Random configurations of a task, ranked.

    Attributes:
        space: The search space.
        configs: The configurations.
        ranks: Their ranks in [0, 1], 0 for the best, shape (n,).
    """

    space: Space
    configs: Sequence[Config]
    ranks: Floats

    def reached(self, name: str, groups: Groups) -> dict[Hashable, float]:
        """Return the rank that the best tenth of each group of a parameter's values reaches."""
        ranks: dict[Hashable, list[float]] = {}
        for config, at in zip(self.configs, self.ranks, strict=True):
            if name in config:
                ranks.setdefault(groups[name](config[name]), []).append(float(at))
        return {group: float(np.quantile(members, 0.1)) for group, members in ranks.items()}

    def extremes(self, groups: Groups) -> tuple[str, Any, Any]:
        """Return the parameter whose groups differ the most, its best group, and its worst.

        Raises:
            SkippedError: There is no such parameter.
        """
        if not groups:
            raise SkippedError("the family has no parameter of this kind")
        reached = {name: self.reached(name, groups) for name in groups}
        name = max(groups, key=lambda name: np.ptp(list(reached[name].values())))
        best, *_, worst = sorted(reached[name], key=reached[name].__getitem__)
        return name, best, worst


def rank(task: Task, space: Space, configs: Sequence[Config]) -> Ranked:
    """Evaluate and rank configurations on a task."""
    losses = losses_of(task, task.values(configs))
    return Ranked(space, configs, losses.argsort().argsort() / (len(losses) - 1))


def narrow(target: Ranked) -> Space:
    """Return the space with the worse half only of the range that matters most."""
    name, _, upper = target.extremes(_halves(target.space))
    distribution = target.space.parameters[name]
    middle = _middle(distribution)
    if isinstance(distribution, IntDistribution):
        low, high = distribution.low, distribution.high
        bounds = (int(middle) + 1, high) if upper else (low, int(middle))
        return target.space.with_parameter(name, IntDistribution(*bounds, log=distribution.log))
    assert isinstance(distribution, FloatDistribution)
    limits = (middle, distribution.high) if upper else (distribution.low, middle)
    return target.space.with_parameter(name, FloatDistribution(*limits, log=distribution.log))


def fewer_choices(target: Ranked) -> Space:
    """Return the space without the best choice of the parameter whose choices matter most.

    A family without choices loses every second level of an integer, the best among them.
    """
    name, best, _ = target.extremes(_choices(target.space) or _levels(target.space))
    distribution = target.space.parameters[name]
    if isinstance(distribution, CategoricalDistribution):
        rest = [choice for choice in distribution.choices if choice != best]
        return target.space.with_parameter(name, CategoricalDistribution(rest))
    assert isinstance(distribution, IntDistribution)
    kept = [x for x in range(distribution.low, distribution.high + 1) if (x - best) % 2]
    return target.space.with_parameter(name, IntDistribution(kept[0], kept[-1], step=2))


def wrong_choice(past: Past, target: Ranked) -> Past:
    """Exchange the values of the best and the worst choice of the parameter that matters most.

    In a family without choices these are the halves of a range. Other parameters keep their
    effects: the best trial with the one choice gets the value of the best with the other.
    """
    groups = _choices(target.space) or _halves(target.space)
    name, best, worst = target.extremes(groups)

    def values(task: Task) -> Floats:
        of = [groups[name](x[name]) if name in x else None for x in past.configs[task.name]]
        with_best, with_worst = (np.array([group == x for group in of]) for x in (best, worst))
        new = past.values[task.name].copy()
        new[with_best] = _matched(past.values[task.name], with_best, with_worst)
        new[with_worst] = _matched(past.values[task.name], with_worst, with_best)
        return new

    return past.with_values(values)


def _matched(values: Floats, own: NDArray[np.bool_], others: NDArray[np.bool_]) -> Floats:
    """Return the quantiles of the others' values at the ranks of the own values."""
    if not (own.any() and others.any()):
        return values[own]
    ranks = (values[own].argsort().argsort() + 0.5) / own.sum()
    matched: Floats = np.quantile(values[others], ranks, method="inverted_cdf")
    return matched


def _choices(space: Space) -> Groups:
    kinds = space.parameters.items()
    return {name: _itself for name, dist in kinds if isinstance(dist, CategoricalDistribution)}


def _levels(space: Space) -> Groups:
    return {
        name: _itself
        for name, dist in space.parameters.items()
        if isinstance(dist, IntDistribution) and dist.high - dist.low < MAX_LEVELS
    }


def _halves(space: Space) -> Groups:
    return {
        name: _is_upper(_middle(dist))
        for name, dist in space.parameters.items()
        if not isinstance(dist, CategoricalDistribution)
    }


def _itself(value: Hashable) -> Hashable:
    return value


def _is_upper(middle: float) -> Callable[[Any], Hashable]:
    return lambda value: bool(value > middle)


def _middle(distribution: BaseDistribution) -> float:
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    return math.sqrt(low * high) if distribution.log else (low + high) / 2

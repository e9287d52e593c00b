"""Define search spaces whose parameters may be active only for some values of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Any
from typing import Protocol
from typing import TypeAlias

import optuna
from optuna.distributions import BaseDistribution

from optuna_metallmix.space import contains


Config: TypeAlias = Mapping[str, Any]
Conditions: TypeAlias = Mapping[str, tuple[str, frozenset[str]]]
"""By child parameter: its parent, and the values of the parent that activate the child."""


class Asks(Protocol):
    """Something that suggests parameters as a define-by-run objective does."""

    def ask(self, trial: optuna.Trial) -> dict[str, Any]:
        """Suggest the active parameters, and return them."""
        ...


@dataclass(frozen=True)
class Space:
    """A search space.

    Attributes:
        parameters: Distributions by name, parents before children.
        conditions: When conditional parameters are active.
    """

    parameters: Mapping[str, BaseDistribution]
    conditions: Conditions = field(default_factory=dict)

    def ask(self, trial: optuna.Trial) -> dict[str, Any]:
        """Suggest the active parameters as a define-by-run objective does, and return them."""
        params: dict[str, Any] = {}
        for name, distribution in self.parameters.items():
            if is_active(name, params, self.conditions):
                params[name] = trial._suggest(name, distribution)
        return params

    def of(self, config: Config) -> dict[str, BaseDistribution]:
        """Return the distributions of a configuration's parameters."""
        return {name: self.parameters[name] for name in config}

    def contains(self, config: Config) -> bool:
        """Return whether each value is one of its parameter's."""
        return all(contains(dist, config[name]) for name, dist in self.of(config).items())

    def with_parameter(self, name: str, distribution: BaseDistribution) -> Space:
        """Return the space with another distribution of one parameter."""
        return replace(self, parameters={**self.parameters, name: distribution})


def is_active(name: str, params: Mapping[Any, Any], conditions: Conditions) -> bool:
    """Return whether a parameter is active, given its parent's value."""
    if name not in conditions:
        return True
    parent, values = conditions[name]
    return params.get(parent) in values

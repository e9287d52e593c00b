"""SHAP values of past trials -> what some values of one parameter did to the score."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optuna_metallmix._meta_dataset import Config
from optuna_metallmix._meta_dataset import labels_of
from optuna_metallmix._meta_learner import Floats
from optuna_metallmix._numbers import format_number
from optuna_metallmix._search_space import SearchSpace
from optuna_metallmix._search_space import is_number
from optuna_metallmix._search_space import is_ordered
from optuna_metallmix._search_space import label_of


N_BINS = 5
"""Parts of equal weight that the past values of a number are cut into."""
MIN_EFFECT = 0.01
"""Smallest effect worth a line, in score units."""


@dataclass(frozen=True)
class Evidence:
    """What some values of one parameter did to the score in the past.

    Attributes:
        id: ``"E1"``, ``"E2"``, ...: how it is cited.
        parameter: The parameter's name.
        values: The values in words.
        low, high: The range for a number, bounds included; ``None`` for a choice.
        choice: The label of the choice; ``None`` for a number.
        effect: Mean SHAP value over the past trials with such a value, in score units.
        n_trials: How many past trials had such a value.
        n_studies: In how many past studies.
    """

    id: str
    parameter: str
    values: str
    low: float | None
    high: float | None
    choice: str | None
    effect: float
    n_trials: int
    n_studies: int

    def covers(self, label: str, value: Any) -> bool:
        """Tell whether a value (and how it is written) is one this evidence is about."""
        if self.low is None or self.high is None:
            return label == self.choice
        return is_number(value) and self.low <= value <= self.high

    @property
    def sentence(self) -> str:
        """The evidence in words."""
        return f"{self.parameter} {self.values} {self.outcome}"

    @property
    def outcome(self) -> str:
        """What such values did, in words."""
        verb = "helped" if self.effect > 0 else "hurt"
        return f"{verb}: {self.effect:+.2f} ({self.n_trials} trials, {self.n_studies} studies)"


def bearing(evidence: Evidence, space: Mapping[str, Any], params: Config) -> int:
    """Return 1 where evidence speaks for a configuration, -1 where against, 0 where not at all.

    Evidence of what helped speaks for a configuration with such a value and against one without;
    evidence of what hurt the other way round.
    """
    if evidence.parameter not in params or evidence.parameter not in space:
        return 0
    value = params[evidence.parameter]
    inside = evidence.covers(label_of(space[evidence.parameter], value), value)
    return 1 if inside == (evidence.effect > 0) else -1


def find_evidence(
    space: SearchSpace, configs: Sequence[Config], values: Floats, groups: NDArray[np.int64]
) -> tuple[Evidence, ...]:
    """Return all evidence of at least :data:`MIN_EFFECT`, by parameter, without ids.

    Args:
        space: The parameters, in the order of the columns of ``values``.
        configs: Past trials' configurations, shape (n_rows,).
        values: Their SHAP values, shape (n_rows, n_parameters), in score units.
        groups: The number of each one's study, shape (n_rows,).
    """
    found: list[Evidence] = []
    for column, name in enumerate(space):
        active = np.array([name in config for config in configs])
        raw = [config[name] for config in configs if name in config]
        for part, where in _parts(space[name], raw):
            effect = float(values[active, column][where].mean())
            n_studies = len(np.unique(groups[active][where]))
            found.append(Evidence("", name, *part, effect, int(where.sum()), n_studies))
    return tuple(one for one in found if abs(one.effect) >= MIN_EFFECT)


_Part = tuple[str, float | None, float | None, str | None]


def _parts(distribution: Any, raw: Sequence[Any]) -> list[tuple[_Part, NDArray[np.bool_]]]:
    """Cut past values into parts, each with the mask of the trials in it."""
    labels = np.array(labels_of(distribution, raw), object)
    ordered = is_ordered(distribution)
    numbers = np.array(raw if ordered else [], float)
    if not ordered or len(set(labels)) <= N_BINS:
        masks = {label: labels == label for label in dict.fromkeys(labels)}
        return [
            (_range(numbers[mask]) if ordered else (f"= {label}", None, None, label), mask)
            for label, mask in masks.items()
        ]
    cuts = np.unique(np.quantile(numbers, np.linspace(0, 1, N_BINS + 1)))
    places = np.digitize(numbers, cuts[1:-1], right=True)
    return [(_range(numbers[places == i]), places == i) for i in np.unique(places)]


def _range(numbers: Floats) -> _Part:
    low, high = float(numbers.min()), float(numbers.max())
    first, last = format_number(low), format_number(high)
    return f"= {first}" if first == last else f"from {first} to {last}", low, high, None

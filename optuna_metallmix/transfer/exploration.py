"""Find what past studies advise against or do not know, so that it is tried nevertheless."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.distributions import BaseDistribution

from optuna_metallmix.history import History
from optuna_metallmix.metalearner import Floats
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import bounds_of
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import label_of
from optuna_metallmix.space import labels_of
from optuna_metallmix.space import to_unit
from optuna_metallmix.text import format_number


MAX_UNKNOWN_SHARE = 0.1
"""Maximum share of a range, on its scale, that past studies did not search but that counts as
known."""


class Exploration:
    """Knows the values of past studies.

    Args:
        history: Past studies.
        pool: Configurations to choose from.
        means: Their predicted scores, shape (len(pool),).
    """

    def __init__(self, history: History, pool: Sequence[Config], means: Floats) -> None:
        self._pool, self._means = pool, means
        self._values: dict[str, list[Any]] = {}
        self._bounds: dict[str, list[float]] = {}
        self._labels: dict[tuple[str, str], list[str]] = {}
        self._pool_labels: dict[tuple[str, str], list[str | None]] = {}
        for study in history.studies:
            for name, distribution in study.space.items():
                self._bounds.setdefault(name, []).extend(bounds_of(distribution))
            for trial in study.trials:
                for name, value in trial.params.items():
                    self._values.setdefault(name, []).append(value)

    def untried(
        self,
        best: Config,
        observed: Sequence[Config],
        space: SearchSpace,
        *,
        only_unknown: bool = False,
    ) -> Config | None:
        """Return a configuration with a choice that no observed trial has.

        The choices that past studies do not know come first, then those that they predict to be
        the best. ``None`` if every choice has been tried.

        Args:
            best: The best observed configuration, which gets an unknown choice.
            observed: The configurations of observed trials.
            space: The parameters that the objective is known to have.
            only_unknown: Whether to leave out the choices that past studies know.
        """
        unknown, known = [], []
        for name, distribution in space.items():
            if is_ordered(distribution):
                continue
            tried = {label_of(distribution, c[name]) for c in observed if name in c}
            for choice in choices_of(distribution):
                if (label := label_of(distribution, choice)) in tried:
                    continue
                if label not in self._past_labels(name, distribution):
                    unknown.append((name, choice))
                elif not only_unknown:
                    known.append((name, label))
        for name, choice in unknown:
            if name in best:
                return {**best, name: choice}
        rows = [i for name, label in known for i in self._rows_with(name, label, space[name])]
        return self._pool[max(rows, key=lambda i: self._means[i])] if rows else None

    def unknown(self, space: SearchSpace) -> dict[str, str]:
        """Describe, by parameter of ``space``, what no past trial has; empty if all is known."""
        phrases = {name: self._describe_unknown(name, space[name]) for name in space}
        return {name: phrase for name, phrase in phrases.items() if phrase}

    def _describe_unknown(self, name: str, distribution: BaseDistribution) -> str | None:
        if name not in self._values or (is_ordered(distribution) and not self._bounds[name]):
            return f"the parameter {name!r}"
        if not is_ordered(distribution):
            labels = labels_of(distribution, choices_of(distribution))
            known = self._past_labels(name, distribution)
            unknown = ", ".join(label for label in labels if label not in known)
            return f"{name!r} = {unknown}" if unknown else None
        low, high = min(self._bounds[name]), max(self._bounds[name])
        start, end = (min(max(to_unit(distribution, x), 0.0), 1.0) for x in (low, high))
        if end - start >= 1.0 - MAX_UNKNOWN_SHARE:
            return None
        return f"{name!r} outside {format_number(low)} to {format_number(high)}"

    def _rows_with(self, name: str, label: str, distribution: BaseDistribution) -> list[int]:
        """Return the indices of the pool's configurations with a choice."""
        key = name, repr(distribution)
        if key not in self._pool_labels:
            self._pool_labels[key] = [
                label_of(distribution, config[name]) if name in config else None
                for config in self._pool
            ]
        return [i for i, other in enumerate(self._pool_labels[key]) if other == label]

    def _past_labels(self, name: str, distribution: BaseDistribution) -> list[str]:
        key = name, repr(distribution)
        if key not in self._labels:
            labels = labels_of(distribution, self._values.get(name, ()))
            self._labels[key] = list(dict.fromkeys(labels))
        return self._labels[key]

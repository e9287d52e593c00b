"""Recognize and name the choices of a categorical parameter.

Storages keep choices as JSON: tuples come back as lists, the keys of dictionaries as strings, and
members of an ``IntEnum`` as numbers. In memory, choices may be any objects: classes, functions,
scalars of NumPy. A choice must stay the same choice throughout.
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Mapping
from itertools import count
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution

from optuna_metallmix.fork_lock import cached_property
from optuna_metallmix.text import format_value


NOT_JSON = (TypeError, ValueError, RecursionError)
"""What :func:`json_of` raises for objects, keys that are objects, and circular references."""

_NAN = (float, "nan")
_MAX_TABLES = 128


def value_key(value: Any) -> Hashable:
    """Return a key that is equal for values that are the same choice, also after JSON.

    Tuples equal lists, keys of dictionaries equal their text, and NaN equals NaN. Numbers are
    equal as in Python, NumPy's too, but truth values are not numbers. Other objects are compared
    with ``==``.
    """
    kind = type(value)
    if kind is str or kind is int or value is None:
        return value  # type: ignore[no-any-return]
    if kind is float:
        return value if value == value else _NAN
    if kind is bool:
        return bool, value
    return _key_of_object(value.item() if isinstance(value, np.generic) else value)


def _key_of_object(value: Any) -> Hashable:
    if isinstance(value, bool):
        return bool, value
    if isinstance(value, float) and value != value:
        return _NAN
    if isinstance(value, list | tuple):
        return list, *map(value_key, value)
    if isinstance(value, dict):
        return dict, frozenset((_json_key(key), value_key(item)) for key, item in value.items())
    if isinstance(value, set | frozenset):
        return set, frozenset(map(value_key, value))
    try:
        hash(value)
    except TypeError:
        return _Unhashable(value)
    return value  # type: ignore[no-any-return]


def _json_key(key: Any) -> Hashable:
    """Return what JSON makes of a dictionary's key."""
    return json.dumps(key) if isinstance(key, bool | int | float | None) else value_key(key)


class _Unhashable:
    """An unhashable object as a key."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return hash(type(self.value))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Unhashable):
            return False
        try:
            return self.value is other.value or bool(self.value == other.value)
        except (ValueError, TypeError, RuntimeError):  # arrays have no single truth value
            return False


class Choices:
    """The choices of a categorical parameter, with their labels and a fast look-up.

    Args:
        values: The choices.
    """

    def __init__(self, values: Iterable[Any]) -> None:
        self.values = tuple(values)
        self._places: dict[Hashable, int] = {}
        for place, value in enumerate(self.values):
            self._places.setdefault(value_key(value), place)

    def find(self, value: Any) -> int | None:
        """Return the index of the choice that ``value`` is, ``None`` if it is none of them."""
        place = self._places.get(value_key(value))
        if place is not None or isinstance(value, str | int | float | None):
            return place
        return self._redefined.get(_definition(value))

    def label(self, value: Any) -> str:
        """Return the label of a value; that of a value outside the choices is no choice's."""
        place = self.find(value)
        return self.labels[place] if place is not None else _new_label(value, self.by_label)

    @cached_property
    def by_label(self) -> dict[str, Any]:
        """The choices by a unique label that a language model can write."""
        labels: dict[str, Any] = {}
        for value in self.values:
            labels[_new_label(value, labels)] = value
        return labels

    @cached_property
    def labels(self) -> list[str]:
        """The labels, shape (n_choices,)."""
        return list(self.by_label)

    @cached_property
    def is_json(self) -> bool:
        """Whether JSON can hold all choices."""
        return all(map(_is_json, self.values))

    @cached_property
    def _redefined(self) -> Mapping[tuple[str, str], int]:
        """The indices of choices by where they were defined, without ambiguous ones.

        A class or function is another object once its notebook cell has run again.
        """
        definitions = [_definition(value) for value in self.values]
        return {d: i for i, d in enumerate(definitions) if definitions.count(d) == 1}


_TABLES: dict[int, Choices] = {}
"""Look-up tables by the ``id`` of a tuple of choices, which its table keeps alive. Choices may be
unhashable, and equal ones of different types, so they cannot be keys themselves."""


def table_of(distribution: CategoricalDistribution) -> Choices:
    """Return the look-up table of a distribution's choices."""
    key = id(distribution.choices)
    table = _TABLES.get(key)
    if table is None:
        if len(_TABLES) >= _MAX_TABLES:
            _TABLES.clear()
        table = _TABLES[key] = Choices(distribution.choices)
    return table


def json_of(value: Any) -> Any:
    """Return a value as JSON gives it back, with scalars of NumPy as numbers.

    Raises:
        TypeError, ValueError, RecursionError: JSON cannot hold the value, see :data:`NOT_JSON`.
    """
    return json.loads(json.dumps(value, default=np.generic.item))


def _is_json(value: Any) -> bool:
    try:
        json_of(value)
    except NOT_JSON:
        return False
    return True


def _new_label(value: Any, taken: Mapping[str, Any]) -> str:
    """Return a value's text, with its type or a number if that is the label of another value."""
    text = format_value(value)
    if text in taken and type(taken[text]) is not type(value):
        text = f"{text} ({type(value).__name__})"
    if text not in taken:
        return text
    return next(label for n in count(2) if (label := f"{text} #{n}") not in taken)


def _definition(value: Any) -> tuple[str, str]:
    return f"{type(value).__module__}.{type(value).__qualname__}", format_value(value)

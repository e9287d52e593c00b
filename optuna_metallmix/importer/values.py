"""Read values and distributions of parameters from the cells of a table."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from statistics import fmean
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_metallmix.space import contains
from optuna_metallmix.space import is_number
from optuna_metallmix.space import project
from optuna_metallmix.space import value_key
from optuna_metallmix.text import format_value


_WHOLE = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WORDS = {"true": True, "false": False, "None": None}

_MIN_RATIO = 10.0
_MIN_SPREAD = 1.4
"""Mean of ln(largest / value) from which numbers are on a log scale. It is 1 for numbers spread
evenly from 0 on, however small the smallest happens to be, and ln(ratio) / 2 for a log scale."""
_MAX_WHOLE = 2**53
"""Largest whole number that Optuna, which computes with floats, can tell from its neighbours."""
_MAX_TEXTS = 10
"""Number of different texts from which a column that seldom repeats one is no parameter."""


def parse_value(cell: Any) -> Any:
    """Return a parameter's value: a truth value, ``None``, a finite number or text."""
    if isinstance(cell, str):
        return _parse_text(cell)
    if isinstance(cell, Decimal):
        cell = float(cell)
    if cell is None or isinstance(cell, bool) or is_number(cell):
        return cell
    return str(cell) if isinstance(cell, list | tuple | np.ndarray) else format_value(cell)


def _parse_text(text: str) -> Any:
    if _WHOLE.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return _WORDS.get(text, _WORDS.get(text.lower(), text))


def parse_number(cell: Any) -> float | None:
    """Return a finite number, ``None`` if the cell is none."""
    value = parse_value(cell)
    return float(value) if is_number(value) else None


def infer_distribution(values: Sequence[Any], has_gaps: bool) -> BaseDistribution | None:
    """Infer a parameter's distribution.

    Args:
        values: Its values, at least one, as :func:`parse_value` returns them.
        has_gaps: Whether some runs have no value: pandas then turns whole numbers into floats.

    Returns:
        A range from the smallest to the largest number, of whole numbers if all are, and on a log
        scale if they are positive and spread over decades; the choices if not all values are
        numbers; ``None`` if nearly each value is another text, as in a column of names.
    """
    if not all(map(is_number, values)):
        return _infer_choices(values)
    low, high = min(values), max(values)
    log = bool(low > 0 and high >= _MIN_RATIO * low and _spread(values, high) >= _MIN_SPREAD)
    n_ints = sum(isinstance(value, int) for value in values)
    is_upcast = has_gaps and n_ints == 0 and all(value.is_integer() for value in values)
    is_exact = max(abs(low), abs(high)) <= _MAX_WHOLE
    if is_exact and (n_ints == len(values) or is_upcast):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _spread(values: Sequence[float], high: float) -> float:
    return fmean(math.log(high) - math.log(value) for value in values)


def _infer_choices(values: Sequence[Any]) -> CategoricalDistribution | None:
    choices = list({value_key(value): value for value in values}.values())
    n_texts = sum(isinstance(choice, str) for choice in choices)
    if n_texts > _MAX_TEXTS and n_texts > len(values) / 2:
        return None
    return CategoricalDistribution(sorted(choices, key=_order))


def _order(choice: Any) -> tuple[bool, float, str]:
    return (False, choice, "") if is_number(choice) else (True, 0.0, str(choice))


def fit_value(distribution: BaseDistribution, cell: Any) -> Any:
    """Return the value of ``distribution`` that a cell holds, also if it is written as text.

    Raises:
        ValueError: There is none.
    """
    for value in (cell, parse_value(cell), format_value(cell)):
        if contains(distribution, value):
            return project(distribution, value)
    raise ValueError(format_value(cell))

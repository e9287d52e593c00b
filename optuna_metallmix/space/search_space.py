"""Work with search spaces: all handling of Optuna's distributions that depends on their type.

A value is checked (:func:`contains`), moved into the space (:func:`project`), drawn, mapped to the
unit interval, and written for people and language models.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_metallmix.space.choices import NOT_JSON
from optuna_metallmix.space.choices import Choices
from optuna_metallmix.space.choices import json_of
from optuna_metallmix.space.choices import table_of
from optuna_metallmix.space.choices import value_key
from optuna_metallmix.text import format_number
from optuna_metallmix.text import format_value


SearchSpace: TypeAlias = Mapping[str, BaseDistribution]
Config: TypeAlias = Mapping[str, Any]
"""A configuration: parameter values by name, without inactive parameters."""
NumericDistribution: TypeAlias = FloatDistribution | IntDistribution

_NUMERIC = (FloatDistribution, IntDistribution)

ABSENT = "(not active)"
"""The value of a categorical column if a conditional parameter is inactive."""


def config_key(params: Config) -> Hashable:
    """Return a key that is equal for equal configurations only, by :func:`value_key`."""
    return tuple([(name, value_key(params[name])) for name in sorted(params)])


def is_number(value: Any) -> bool:
    """Return whether ``value`` is a finite number; booleans are not."""
    if type(value) is float:  # the usual case: the checks below take four times as long
        return math.isfinite(value)
    if type(value) is not int and not _is_numeric(value):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False


def _is_numeric(value: Any) -> bool:
    is_number = isinstance(value, int | float | np.integer | np.floating)
    return is_number and not isinstance(value, bool)


def bounds_of(distribution: BaseDistribution) -> list[float]:
    """Return the lowest and the highest value, or nothing if the values are not ordered."""
    return list(_bounds(distribution)[:2]) if is_ordered(distribution) else []


def is_ordered(distribution: BaseDistribution) -> bool:
    """Return whether all values are numbers, so that they can be compared by size."""
    if isinstance(distribution, CategoricalDistribution):
        return all(map(is_number, distribution.choices))
    return True


def is_continuous(distribution: BaseDistribution) -> bool:
    """Return whether two draws are hardly ever equal: a range of floats without a step."""
    is_float = isinstance(distribution, FloatDistribution) and distribution.step is None
    return is_float and not distribution.single()


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Return whether ``distribution`` can produce ``value``, including its step and type."""
    if isinstance(distribution, CategoricalDistribution):
        return table_of(distribution).find(value) is not None
    assert isinstance(distribution, _NUMERIC)
    value = _plain(value)
    if not is_number(value) or not distribution.low <= value <= distribution.high:
        return False
    relative = 0.0 if isinstance(distribution, IntDistribution) else 1e-9
    return math.isclose(_clip(distribution, value), value, rel_tol=relative, abs_tol=1e-12)


def project(distribution: BaseDistribution, value: Any, fallback: Any = None) -> Any:
    """Return a value of ``distribution`` close to ``value``, whatever ``value`` is.

    Numbers are clipped and rounded to the step; anything else becomes the middle of the range. A
    missing choice becomes the nearest choice if all choices are numbers, else the choice
    ``fallback``, else the first choice.
    """
    if isinstance(distribution, CategoricalDistribution):
        return _project_choice(distribution, value, fallback)
    assert isinstance(distribution, _NUMERIC)
    plain = _plain(value)
    return _clip(distribution, plain) if is_number(plain) else from_unit(distribution, 0.5)


def sample(distribution: BaseDistribution, rng: np.random.Generator) -> Any:
    """Draw a value uniformly, on the distribution's log scale if any."""
    if choices := choices_of(distribution):
        return choices[int(rng.integers(len(choices)))]
    return from_unit(distribution, float(rng.random()))


def perturb(
    distribution: BaseDistribution, value: Any, width: float, rng: np.random.Generator
) -> Any:
    """Draw a value of an ordered distribution near ``value``.

    ``width`` is the standard deviation in unit space.
    """
    position = to_unit(distribution, float(value)) + float(rng.normal(0.0, width))
    return from_unit(distribution, position)


def middle(distribution: BaseDistribution) -> Any:
    """Return the middle of the range, or the first choice."""
    choices = choices_of(distribution)
    return choices[0] if choices else from_unit(distribution, 0.5)


def to_unit(distribution: BaseDistribution, value: float) -> float:
    """Map a value of an ordered distribution to [0, 1], on its log scale if any."""
    low, high, log = _bounds(distribution)
    if log:
        low, high, value = math.log(low), math.log(high), math.log(max(value, low))
    elif _is_too_wide(low, high):
        low, high, value = low / 2, high / 2, value / 2
    return (value - low) / (high - low) if high > low else 0.5


def to_units(distribution: BaseDistribution, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map values of an ordered distribution to [0, 1] as :func:`to_unit` does; NaN stays NaN."""
    low, high, log = _bounds(distribution)
    if log:
        low, high, values = math.log(low), math.log(high), np.log(np.maximum(values, low))
    elif _is_too_wide(low, high):
        low, high, values = low / 2, high / 2, values / 2
    return (values - low) / (high - low) if high > low else np.where(np.isnan(values), values, 0.5)


def from_unit(distribution: BaseDistribution, position: float) -> Any:
    """Map [0, 1] to a value of an ordered distribution: the inverse of :func:`to_unit`."""
    low, high, log = _bounds(distribution)
    if log:
        low, high = math.log(low), math.log(high)
    position = min(max(position, 0.0), 1.0)
    if _is_too_wide(low, high):
        value = low * (1 - position) + high * position
    else:
        value = low + position * (high - low)
    if isinstance(distribution, _NUMERIC):
        return _clip(distribution, math.exp(value) if log else value)
    return project(distribution, value)


def merge_spaces(spaces: Iterable[SearchSpace]) -> dict[str, BaseDistribution]:
    """Return a space that covers all of ``spaces``.

    Ranges and choices are united. If a parameter is numeric in some spaces and categorical in
    others, the more frequent type wins, and the later one in case of a tie.
    """
    by_name: dict[str, list[BaseDistribution]] = {}
    for space in spaces:
        for name, distribution in space.items():
            by_name.setdefault(name, []).append(distribution)
    return {name: _merge(distributions) for name, distributions in by_name.items()}


def choices_of(distribution: BaseDistribution) -> list[Any]:
    """Return the choices of a categorical distribution; empty for a numeric one."""
    return list(distribution.choices) if isinstance(distribution, CategoricalDistribution) else []


def label_of(distribution: BaseDistribution, value: Any) -> str:
    """Return how ``value`` is written for people and language models, without exponents.

    Each choice has a label of its own, which no value outside the choices has.
    """
    if isinstance(distribution, CategoricalDistribution):
        return table_of(distribution).label(value)
    return format_number(value) if is_number(value) else format_value(value)


def labels_of(distribution: BaseDistribution, values: Iterable[Any]) -> list[str]:
    """Return :func:`label_of` each value; equal values are looked up once."""
    keyed = [(value_key(value), value) for value in values]
    labels = {key: label_of(distribution, value) for key, value in dict(keyed).items()}
    return [labels[key] for key, _ in keyed]


def describe(distribution: BaseDistribution) -> str:
    """Describe a distribution in one line: type, range or choices, scale and step."""
    if isinstance(distribution, CategoricalDistribution):
        return "one of " + ", ".join(map(json.dumps, table_of(distribution).labels))
    assert isinstance(distribution, _NUMERIC)
    kind = "whole number" if isinstance(distribution, IntDistribution) else "number"
    text = f"{kind} from {format_number(distribution.low)} to {format_number(distribution.high)}"
    if distribution.log:
        return text + ", log scale"
    plain = distribution.step is None or (kind == "whole number" and distribution.step == 1)
    return text if plain else f"{text} in steps of {format_number(distribution.step or 1)}"


def json_schema(distribution: BaseDistribution) -> dict[str, Any]:
    """Return a JSON schema of a value, simple enough for every local model server."""
    if isinstance(distribution, CategoricalDistribution):
        return {"type": "string", "enum": table_of(distribution).labels}
    assert isinstance(distribution, _NUMERIC)
    kind = "integer" if isinstance(distribution, IntDistribution) else "number"
    return {"type": kind, "minimum": distribution.low, "maximum": distribution.high}


def from_json(distribution: BaseDistribution, raw: Any) -> Any:
    """Return the parameter value for a JSON value that a language model wrote.

    Raises:
        ValueError: ``raw`` is outside ``distribution``; the message describes what is allowed.
    """
    if isinstance(distribution, CategoricalDistribution) and isinstance(raw, str):
        labels = table_of(distribution).by_label
        if raw in labels:
            return labels[raw]
    if not contains(distribution, raw):
        shown = json.dumps(raw, default=str)[:80]
        raise ValueError(f"{shown} does not fit: {describe(distribution)}")
    return project(distribution, raw)


def has_json_choices(distribution: BaseDistribution) -> bool:
    """Return whether JSON can hold all values."""
    if isinstance(distribution, CategoricalDistribution):
        return table_of(distribution).is_json
    return True


def to_record(distribution: BaseDistribution | None, value: Any) -> Any:
    """Return how a record in JSON writes a value: as it is if JSON can hold it, else its label.

    Either all choices of ``distribution`` are written as they are, or all as their labels.
    """
    if isinstance(distribution, CategoricalDistribution) and not table_of(distribution).is_json:
        return table_of(distribution).label(value)
    try:
        return json_of(value)
    except NOT_JSON:
        return format_value(value)


def from_record(distribution: BaseDistribution, raw: Any) -> Any:
    """Return the choice that :func:`to_record` wrote as ``raw``; ``raw`` if it is none."""
    if not isinstance(distribution, CategoricalDistribution):
        return raw
    table = table_of(distribution)
    place = table.find(raw)
    if table.is_json:
        return raw if place is None else table.values[place]
    return table.by_label.get(raw, raw)


def _plain(value: Any) -> Any:
    """Convert a NumPy scalar to a Python value."""
    return value.item() if isinstance(value, np.generic) else value


def _project_choice(distribution: CategoricalDistribution, value: Any, fallback: Any) -> Any:
    table = table_of(distribution)
    place = table.find(value)
    if place is None and is_number(value) and is_ordered(distribution):
        number = _plain(value)
        return min(distribution.choices, key=lambda choice: abs(float(choice) - number))  # type: ignore[arg-type]
    return table.values[table.find(fallback) or 0 if place is None else place]


def _clip(distribution: NumericDistribution, value: float) -> float | int:
    if isinstance(distribution, IntDistribution):
        return _clip_whole(distribution, value)
    low, high, step = distribution.low, distribution.high, distribution.step
    value = min(max(float(value), low), high)
    if step is not None:
        half = 0.5 if _is_too_wide(low, high) else 1.0
        width, above = half * high - half * low, half * value - half * low
        steps = min(round(above / (half * step)), math.floor(width / (half * step) + 1e-9))
        value = min((half * low + steps * (half * step)) / half, high)
    return value


def _clip_whole(distribution: IntDistribution, value: float) -> int:
    """Clip with integer arithmetic: floats are inexact beyond 2**53, and seeds may be larger."""
    low, high, step = distribution.low, distribution.high, distribution.step
    above: int = min(max(round(value), low), high) - low
    return low + min((above + step // 2) // step, (high - low) // step) * step


def _is_too_wide(low: float, high: float) -> bool:
    """Return whether the width of a range overflows, as of [-1.7e308, 1.7e308]."""
    return high - low == math.inf


def _bounds(distribution: BaseDistribution) -> tuple[float, float, bool]:
    if isinstance(distribution, CategoricalDistribution):
        numbers = [float(choice) for choice in distribution.choices]  # type: ignore[arg-type]
        return min(numbers), max(numbers), False
    assert isinstance(distribution, _NUMERIC)
    return distribution.low, distribution.high, distribution.log


def _merge(distributions: Sequence[BaseDistribution]) -> BaseDistribution:
    latest = distributions[-1]
    if all(d is latest or _is_equal(d, latest) for d in distributions):
        return latest
    choices = [d for d in distributions if isinstance(d, CategoricalDistribution)]
    tie = 2 * len(choices) == len(distributions)
    if 2 * len(choices) > len(distributions) or (tie and latest in choices):
        return _merge_choices(choices)
    return _merge_ranges([d for d in distributions if isinstance(d, _NUMERIC)])


def _is_equal(first: BaseDistribution, second: BaseDistribution) -> bool:
    """Return whether distributions are equal; unlike in Optuna, choices 0 and ``False`` differ."""
    choices = choices_of(first), choices_of(second)
    if not (choices[0] and choices[1]):
        return first == second
    return list(map(value_key, choices[0])) == list(map(value_key, choices[1]))


def _merge_choices(distributions: Sequence[CategoricalDistribution]) -> CategoricalDistribution:
    merged = Choices(())
    for distribution in distributions:
        if new := [c for c in distribution.choices if merged.find(c) is None]:
            merged = Choices((*merged.values, *new))
    return CategoricalDistribution(merged.values)


def _merge_ranges(distributions: Sequence[NumericDistribution]) -> NumericDistribution:
    low = min(d.low for d in distributions)
    high = max(d.high for d in distributions)
    log = low > 0 and 2 * sum(d.log for d in distributions) > len(distributions)
    integers = [d for d in distributions if isinstance(d, IntDistribution)]
    if len(integers) == len(distributions):
        step = math.gcd(*(n for d in integers for n in (d.step, d.low - int(low))))
        return IntDistribution(int(low), int(high), log=log, step=1 if log else step)
    return FloatDistribution(low, high, log=log, step=None if log else _shared_step(distributions))


def _shared_step(distributions: Sequence[NumericDistribution]) -> float | None:
    """Return the common step, if the bounds also differ by multiples of it, in decimals."""
    first, step = distributions[0], distributions[0].step
    if step is None or any(d.step != step for d in distributions):
        return None
    low, width = Decimal(str(first.low)), Decimal(str(step))
    bounds = [Decimal(str(bound)) for d in distributions for bound in (d.low, d.high)]
    return step if all((bound - low) % width == 0 for bound in bounds) else None

"""Work with search spaces: all handling of Optuna's distributions that depends on their type.

A value is checked (:func:`contains`), moved into the space (:func:`project`), drawn, mapped to the
unit interval, and written for people and language models.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from typing import TypeAlias

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_metallmix.text import format_number


SearchSpace: TypeAlias = Mapping[str, BaseDistribution]
Config: TypeAlias = Mapping[str, Any]
"""A configuration: parameter values by name, without inactive parameters."""
NumericDistribution: TypeAlias = FloatDistribution | IntDistribution

_NUMERIC = (FloatDistribution, IntDistribution)

ABSENT = "(not active)"
"""The value of a categorical column if a conditional parameter is inactive."""


def config_key(params: Config) -> str:
    """Return a key that is equal for equal configurations only."""
    return repr([(name, _plain(params[name])) for name in sorted(params)])


def is_number(value: Any) -> bool:
    """Return whether ``value`` is a finite number; booleans are not."""
    if type(value) is float:  # the usual case: the checks below take four times as long
        return math.isfinite(value)
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False


def is_ordered(distribution: BaseDistribution) -> bool:
    """Return whether all values are numbers, so that they can be compared by size."""
    return all(is_number(choice) for choice in choices_of(distribution))


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Return whether ``distribution`` can produce ``value``, including its step and type."""
    if isinstance(distribution, CategoricalDistribution):
        return any(_same(choice, value) for choice in distribution.choices)
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
    return (value - low) / (high - low) if high > low else 0.5


def from_unit(distribution: BaseDistribution, position: float) -> Any:
    """Map [0, 1] to a value of an ordered distribution: the inverse of :func:`to_unit`."""
    low, high, log = _bounds(distribution)
    if log:
        low, high = math.log(low), math.log(high)
    value = low + min(max(position, 0.0), 1.0) * (high - low)
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


def choice_labels(distribution: CategoricalDistribution) -> dict[str, Any]:
    """Return the choices by a unique label that a language model can write."""
    labels: dict[str, Any] = {}
    for choice in distribution.choices:
        label = choice if isinstance(choice, str) else _default_label(choice)
        while label in labels:
            label = f"{label} ({type(choice).__name__})"
        labels[label] = choice
    return labels


def label_of(distribution: BaseDistribution, value: Any) -> str:
    """Return how ``value`` is written for people and language models, without exponents."""
    if isinstance(distribution, CategoricalDistribution):
        for label, choice in choice_labels(distribution).items():
            if _same(choice, value):
                return label
    return format_number(value) if is_number(value) else str(value)


def labels_of(distribution: BaseDistribution, values: Iterable[Any]) -> list[str]:
    """Return :func:`label_of` each value; equal values are looked up once."""
    keyed = [((type(value), repr(value)), value) for value in values]
    labels = {key: label_of(distribution, value) for key, value in dict(keyed).items()}
    return [labels[key] for key, _ in keyed]


def describe(distribution: BaseDistribution) -> str:
    """Describe a distribution in one line: type, range or choices, scale and step."""
    if isinstance(distribution, CategoricalDistribution):
        return "one of " + ", ".join(json.dumps(label) for label in choice_labels(distribution))
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
        return {"type": "string", "enum": list(choice_labels(distribution))}
    assert isinstance(distribution, _NUMERIC)
    kind = "integer" if isinstance(distribution, IntDistribution) else "number"
    return {"type": kind, "minimum": distribution.low, "maximum": distribution.high}


def from_json(distribution: BaseDistribution, raw: Any) -> Any:
    """Return the parameter value for a JSON value that a language model wrote.

    Raises:
        ValueError: ``raw`` is outside ``distribution``; the message describes what is allowed.
    """
    if isinstance(distribution, CategoricalDistribution) and isinstance(raw, str):
        labels = choice_labels(distribution)
        if raw in labels:
            return labels[raw]
    if not contains(distribution, raw):
        shown = json.dumps(raw, default=str)[:80]
        raise ValueError(f"{shown} does not fit: {describe(distribution)}")
    return project(distribution, raw)


def _plain(value: Any) -> Any:
    """Convert a NumPy scalar to a Python value."""
    return value.item() if isinstance(value, np.generic) else value


def _same(choice: Any, value: Any) -> bool:
    choice, value = _plain(choice), _plain(value)
    if isinstance(choice, bool) is not isinstance(value, bool):
        return False
    return bool(choice == value) or (choice != choice and value != value)  # NaN may be a choice


def _project_choice(distribution: CategoricalDistribution, value: Any, fallback: Any) -> Any:
    for wanted in (value, fallback):
        for choice in distribution.choices:
            if _same(choice, wanted):
                return choice
        if is_number(value) and is_ordered(distribution):
            return min(distribution.choices, key=lambda choice: abs(float(choice) - value))  # type: ignore[arg-type]
    return distribution.choices[0]


def _clip(distribution: NumericDistribution, value: float) -> float | int:
    if isinstance(distribution, IntDistribution):
        return _clip_whole(distribution, value)
    low, high, step = distribution.low, distribution.high, distribution.step
    value = min(max(float(value), low), high)
    if step is not None:
        steps = min(round((value - low) / step), math.floor((high - low) / step + 1e-9))
        value = min(low + steps * step, high)
    return value


def _clip_whole(distribution: IntDistribution, value: float) -> int:
    """Clip with integer arithmetic: floats are inexact beyond 2**53, and seeds may be larger."""
    low, high, step = distribution.low, distribution.high, distribution.step
    above: int = min(max(round(value), low), high) - low
    return low + min((above + step // 2) // step, (high - low) // step) * step


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
    types = [[type(choice) for choice in choices_of(d)] for d in (first, second)]
    return first == second and types[0] == types[1]


def _merge_choices(distributions: Sequence[CategoricalDistribution]) -> CategoricalDistribution:
    choices: list[Any] = []
    for distribution in distributions:
        choices += [c for c in distribution.choices if not any(_same(c, seen) for seen in choices)]
    return CategoricalDistribution(choices)


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


def _default_label(choice: Any) -> str:
    if isinstance(choice, float) and math.isfinite(choice):
        return format_number(choice, None)
    try:
        return json.dumps(choice)
    except TypeError:
        return repr(choice)

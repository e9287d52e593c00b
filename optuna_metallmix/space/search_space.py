"""distributions -> contains, project, describe, JSON schema: the one room that asks their kind."""

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

from optuna_metallmix.text import format_exactly
from optuna_metallmix.text import format_number


SearchSpace: TypeAlias = Mapping[str, BaseDistribution]
NumericDistribution: TypeAlias = FloatDistribution | IntDistribution

_NUMBER = (FloatDistribution, IntDistribution)


def config_key(params: Mapping[str, Any]) -> str:
    """Return what two configurations have in common exactly when they are the same."""
    return repr([(name, _plain(params[name])) for name in sorted(params)])


def is_number(value: Any) -> bool:
    """Tell whether ``value`` is a finite number; ``True`` and ``False`` are not."""
    if type(value) is float:  # almost always, and the questions below take four times as long
        return math.isfinite(value)
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def is_ordered(distribution: BaseDistribution) -> bool:
    """Tell whether all values are numbers, so that a model may compare them by size."""
    return all(is_number(choice) for choice in choices_of(distribution))


def contains(distribution: BaseDistribution, value: Any) -> bool:
    """Tell whether ``value`` is one that ``distribution`` can produce, step and type included."""
    if isinstance(distribution, CategoricalDistribution):
        return any(_same(choice, value) for choice in distribution.choices)
    assert isinstance(distribution, _NUMBER)
    value = _plain(value)
    if not is_number(value) or not distribution.low <= value <= distribution.high:
        return False
    relative = 0.0 if isinstance(distribution, IntDistribution) else 1e-9
    return math.isclose(_clip(distribution, value), value, rel_tol=relative, abs_tol=1e-12)


def project(distribution: BaseDistribution, value: Any, otherwise: Any = None) -> Any:
    """Return the value of ``distribution`` that stands for ``value``; never raises on a value.

    Numbers are clipped and put on the step. A choice that is absent gives way to the nearest
    number where all choices are numbers, else to the choice ``otherwise``, else to the first.
    Something that is no number gives way to the middle of the range.
    """
    if isinstance(distribution, CategoricalDistribution):
        return _project_choice(distribution, value, otherwise)
    assert isinstance(distribution, _NUMBER)
    plain = _plain(value)
    return _clip(distribution, plain) if is_number(plain) else from_unit(distribution, 0.5)


def sample(distribution: BaseDistribution, rng: np.random.Generator) -> Any:
    """Draw one value, uniformly (on the log scale where the distribution has one)."""
    if choices := choices_of(distribution):
        return choices[int(rng.integers(len(choices)))]
    return from_unit(distribution, float(rng.random()))


def perturb(
    distribution: BaseDistribution, value: Any, width: float, rng: np.random.Generator
) -> Any:
    """Draw a value near ``value`` of an ordered distribution, ``width`` in unit space."""
    position = to_unit(distribution, float(value)) + float(rng.normal(0.0, width))
    if isinstance(distribution, CategoricalDistribution):
        low, high, _ = _bounds(distribution)
        return project(distribution, low + position * (high - low))
    return from_unit(distribution, position)


def middle(distribution: BaseDistribution) -> Any:
    """Return the middle of a range, or the first choice."""
    choices = choices_of(distribution)
    return choices[0] if choices else from_unit(distribution, 0.5)


def to_unit(distribution: BaseDistribution, value: float) -> float:
    """Map a value of an ordered distribution to [0, 1], along the log scale where it has one."""
    low, high, log = _bounds(distribution)
    if log:
        low, high, value = math.log(low), math.log(high), math.log(max(value, low))
    return (value - low) / (high - low) if high > low else 0.5


def from_unit(distribution: BaseDistribution, position: float) -> Any:
    """Map [0, 1] back to a value of a numeric distribution; the inverse of :func:`to_unit`."""
    assert isinstance(distribution, _NUMBER)
    low, high, log = _bounds(distribution)
    position = min(max(position, 0.0), 1.0)
    if log:
        low, high = math.log(low), math.log(high)
        return _clip(distribution, math.exp(low + position * (high - low)))
    return _clip(distribution, low + position * (high - low))


def merge_spaces(spaces: Iterable[SearchSpace]) -> dict[str, BaseDistribution]:
    """Return one space that covers all of ``spaces``, by name.

    Ranges and choices are united. Where studies disagree about the kind of a parameter, the kind
    that more of them use wins, and the later one on a tie.
    """
    by_name: dict[str, list[BaseDistribution]] = {}
    for space in spaces:
        for name, distribution in space.items():
            by_name.setdefault(name, []).append(distribution)
    return {name: _merge(distributions) for name, distributions in by_name.items()}


def choices_of(distribution: BaseDistribution) -> list[Any]:
    """Return the choices, none for a number."""
    return list(distribution.choices) if isinstance(distribution, CategoricalDistribution) else []


def choice_labels(distribution: CategoricalDistribution) -> dict[str, Any]:
    """Return the choices by a text that a model can write; each label stands for one choice."""
    labels: dict[str, Any] = {}
    for choice in distribution.choices:
        label = choice if isinstance(choice, str) else _written(choice)
        while label in labels:
            label = f"{label} ({type(choice).__name__})"
        labels[label] = choice
    return labels


def label_of(distribution: BaseDistribution, value: Any) -> str:
    """Return how ``value`` is written for people and models: decimals, never exponents."""
    if isinstance(distribution, CategoricalDistribution):
        for label, choice in choice_labels(distribution).items():
            if _same(choice, value):
                return label
    return format_number(value) if is_number(value) else str(value)


def describe(distribution: BaseDistribution) -> str:
    """Return one line for a person or a model: kind, range or choices, scale."""
    if isinstance(distribution, CategoricalDistribution):
        return "one of " + ", ".join(json.dumps(label) for label in choice_labels(distribution))
    assert isinstance(distribution, _NUMBER)
    kind = "whole number" if isinstance(distribution, IntDistribution) else "number"
    text = f"{kind} from {format_number(distribution.low)} to {format_number(distribution.high)}"
    if distribution.log:
        return text + ", log scale"
    plain = distribution.step is None or (kind == "whole number" and distribution.step == 1)
    return text if plain else f"{text} in steps of {format_number(distribution.step or 1)}"


def json_schema(distribution: BaseDistribution) -> dict[str, Any]:
    """Return the JSON schema of one value, as plain as every local server understands it."""
    if isinstance(distribution, CategoricalDistribution):
        return {"type": "string", "enum": list(choice_labels(distribution))}
    assert isinstance(distribution, _NUMBER)
    kind = "integer" if isinstance(distribution, IntDistribution) else "number"
    return {"type": kind, "minimum": distribution.low, "maximum": distribution.high}


def from_json(distribution: BaseDistribution, raw: Any) -> Any:
    """Return the parameter's value for what a model wrote.

    Raises:
        ValueError: ``raw`` is outside ``distribution``; the sentence says what is allowed.
    """
    chosen = isinstance(distribution, CategoricalDistribution) and choice_labels(distribution)
    if chosen and isinstance(raw, str) and raw in chosen:
        return chosen[raw]
    if not contains(distribution, raw):
        written = json.dumps(raw, default=str)[:80]
        raise ValueError(f"{written} does not fit: {describe(distribution)}")
    return project(distribution, raw)


def _plain(value: Any) -> Any:
    """Return the Python value that a NumPy scalar stands for."""
    return value.item() if isinstance(value, np.generic) else value


def _same(choice: Any, value: Any) -> bool:
    choice, value = _plain(choice), _plain(value)
    if isinstance(choice, bool) is not isinstance(value, bool):
        return False
    return bool(choice == value) or (choice != choice and value != value)  # NaN is a choice too


def _project_choice(distribution: CategoricalDistribution, value: Any, otherwise: Any) -> Any:
    for wanted in (value, otherwise):
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
    """Clip in whole numbers: a float cannot hold those beyond 2**53, such as seeds."""
    low, high, step = distribution.low, distribution.high, distribution.step
    above: int = min(max(round(value), low), high) - low
    return low + min((above + step // 2) // step, (high - low) // step) * step


def _bounds(distribution: BaseDistribution) -> tuple[float, float, bool]:
    if isinstance(distribution, CategoricalDistribution):
        numbers = [float(choice) for choice in distribution.choices]  # type: ignore[arg-type]
        return min(numbers), max(numbers), False
    assert isinstance(distribution, _NUMBER)
    return distribution.low, distribution.high, distribution.log


def _merge(distributions: Sequence[BaseDistribution]) -> BaseDistribution:
    latest = distributions[-1]
    if all(one is latest or _alike(one, latest) for one in distributions):
        return latest
    choices = [one for one in distributions if isinstance(one, CategoricalDistribution)]
    tie = 2 * len(choices) == len(distributions)
    if 2 * len(choices) > len(distributions) or (tie and latest in choices):
        return _merge_choices(choices)
    return _merge_ranges([one for one in distributions if isinstance(one, _NUMBER)])


def _alike(first: BaseDistribution, second: BaseDistribution) -> bool:
    """Tell whether two are equal, choices 0 and ``False`` apart, which Optuna takes as one."""
    kinds, others = (list(map(type, choices_of(one))) for one in (first, second))
    return first == second and kinds == others


def _merge_choices(distributions: Sequence[CategoricalDistribution]) -> CategoricalDistribution:
    choices: list[Any] = []
    for distribution in distributions:
        choices += [c for c in distribution.choices if not any(_same(c, seen) for seen in choices)]
    return CategoricalDistribution(choices)


def _merge_ranges(distributions: Sequence[NumericDistribution]) -> NumericDistribution:
    low = min(one.low for one in distributions)
    high = max(one.high for one in distributions)
    log = low > 0 and 2 * sum(one.log for one in distributions) > len(distributions)
    whole = [one for one in distributions if isinstance(one, IntDistribution)]
    if len(whole) == len(distributions):
        step = math.gcd(*(n for one in whole for n in (one.step, one.low - int(low))))
        return IntDistribution(int(low), int(high), log=log, step=1 if log else step)
    shared = None if log else _shared_step(distributions)
    return FloatDistribution(low, high, log=log, step=shared)


def _shared_step(distributions: Sequence[NumericDistribution]) -> float | None:
    """Return the step of all, where their ranges are also whole steps apart, in decimals."""
    first, step = distributions[0], distributions[0].step
    if step is None or any(one.step != step for one in distributions):
        return None
    low, width = Decimal(str(first.low)), Decimal(str(step))
    ends = [Decimal(str(end)) for one in distributions for end in (one.low, one.high)]
    return step if all((end - low) % width == 0 for end in ends) else None


def _written(choice: Any) -> str:
    if isinstance(choice, float) and math.isfinite(choice):
        return format_exactly(choice)
    try:
        return json.dumps(choice)
    except TypeError:
        return repr(choice)


Config: TypeAlias = Mapping[str, Any]
"""One configuration: values by parameter name; inactive parameters are absent."""


ABSENT = "(not active)"
"""What a categorical column says where a conditional parameter is not active."""


def labels_of(distribution: BaseDistribution, values: Iterable[Any]) -> list[str]:
    """Return :func:`label_of` each of many values; each different one is looked up once."""
    known: dict[tuple[type, str], str] = {}
    labels = []
    for value in values:
        key = type(value), repr(value)
        if key not in known:
            known[key] = label_of(distribution, value)
        labels.append(known[key])
    return labels

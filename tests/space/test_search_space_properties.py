from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_metallmix.space.choices import table_of
from optuna_metallmix.space.search_space import contains
from optuna_metallmix.space.search_space import describe
from optuna_metallmix.space.search_space import from_json
from optuna_metallmix.space.search_space import from_unit
from optuna_metallmix.space.search_space import json_schema
from optuna_metallmix.space.search_space import label_of
from optuna_metallmix.space.search_space import merge_spaces
from optuna_metallmix.space.search_space import middle
from optuna_metallmix.space.search_space import perturb
from optuna_metallmix.space.search_space import project
from optuna_metallmix.space.search_space import sample
from optuna_metallmix.space.search_space import to_unit


@st.composite
def floats(draw: st.DrawFn) -> FloatDistribution:
    if draw(st.booleans()):
        low = draw(st.floats(1e-300, 1e300))
        return FloatDistribution(low, draw(st.floats(low, 1e300)), log=True)
    if draw(st.booleans()):
        low = draw(st.integers(-1_000, 1_000)) / 10
        step = draw(st.sampled_from([0.1, 0.25, 0.3, 1.0, 1e-3]))
        high = round(low + step * draw(st.integers(0, 50)), 6)
        return FloatDistribution(low, high, step=step)
    low = draw(st.floats(-1e150, 1e150))
    return FloatDistribution(low, draw(st.floats(low, 1e150)))


@st.composite
def ints(draw: st.DrawFn) -> IntDistribution:
    if draw(st.booleans()):
        low = draw(st.integers(1, 10**9))
        return IntDistribution(low, draw(st.integers(low, 10**12)), log=True)
    low = draw(st.integers(-(10**12), 10**12))
    step = draw(st.integers(1, 1000))
    return IntDistribution(low, low + step * draw(st.integers(0, 1000)), step=step)


CHOICE = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.floats(), st.text(max_size=8)
)
choices = st.lists(CHOICE, min_size=1, max_size=6).map(CategoricalDistribution)
numbers = st.one_of(floats(), ints())
anything = st.one_of(floats(), ints(), choices)
ANY_VALUE = st.one_of(
    CHOICE,
    st.just(10**400),
    st.floats().map(np.float64),
    st.integers(-5, 5).map(np.int64),
    st.just(np.float32(0.5)),
    st.just(np.True_),
    st.just(1j),
    st.just(np.complex128(1j)),
    st.just([1]),
    st.just({"a": 1}),
)
seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@given(anything, seeds)
def test_what_is_sampled_is_contained(distribution: BaseDistribution, rng: Any) -> None:
    value = sample(distribution, rng)
    assert contains(distribution, value)
    assert contains(distribution, middle(distribution))


@given(anything, ANY_VALUE)
def test_projection_never_raises_and_lands_inside(
    distribution: BaseDistribution, value: Any
) -> None:
    projected = project(distribution, value)
    assert contains(distribution, projected)
    assert project(distribution, projected) == projected or projected != projected
    if isinstance(distribution, IntDistribution):
        assert type(projected) is int
    if isinstance(distribution, FloatDistribution):
        assert type(projected) is float


@given(anything, seeds)
def test_projection_keeps_what_is_contained(distribution: BaseDistribution, rng: Any) -> None:
    value = sample(distribution, rng)
    kept = project(distribution, value)
    assert kept == value or (kept != kept and value != value)


@given(numbers, ANY_VALUE)
def test_numeric_containment_agrees_with_optuna(
    distribution: FloatDistribution | IntDistribution, value: Any
) -> None:
    if contains(distribution, value):
        inside = project(distribution, value)
        assert distribution._contains(distribution.to_internal_repr(inside))
        assert math.isclose(inside, value, rel_tol=1e-9, abs_tol=1e-12)


@given(numbers, st.floats(0, 1))
def test_unit_round_trip(distribution: Any, position: float) -> None:
    value = from_unit(distribution, position)
    assert contains(distribution, value)
    unit = to_unit(distribution, value)
    assert -1e-9 <= unit <= 1 + 1e-9
    assert from_unit(distribution, unit) == pytest.approx(
        value, rel=1e-6, abs=1e-9 * abs(distribution.high - distribution.low)
    )


@given(floats(), st.floats(0, 1), st.floats(0, 1))
def test_unit_keeps_the_order(distribution: Any, first: float, second: float) -> None:
    low, high = sorted((first, second))
    assert from_unit(distribution, low) <= from_unit(distribution, high)


@given(numbers, seeds, st.floats(0, 0.5))
def test_perturbations_stay_inside(distribution: Any, rng: Any, width: float) -> None:
    assert contains(distribution, perturb(distribution, sample(distribution, rng), width, rng))


@given(choices)
def test_each_label_identifies_a_choice(distribution: CategoricalDistribution) -> None:
    labels = table_of(distribution).by_label
    assert all(isinstance(label, str) for label in labels)
    for label, choice in labels.items():
        assert label in table_of(distribution).by_label
        value = from_json(distribution, label)
        assert (value == choice and type(value) is type(choice)) or value != value
    for choice in distribution.choices:
        assert label_of(distribution, choice) in labels
        back = labels[label_of(distribution, choice)]
        assert back == choice or back != back


@given(anything, seeds)
def test_json_round_trip(distribution: BaseDistribution, rng: Any) -> None:
    value = sample(distribution, rng)
    if isinstance(distribution, CategoricalDistribution):
        raw: Any = label_of(distribution, value)
        assert raw in json_schema(distribution)["enum"]
    else:
        raw = json.loads(json.dumps(value))
        schema = json_schema(distribution)
        assert schema["minimum"] <= raw <= schema["maximum"]
    back = from_json(distribution, raw)
    assert back == value or back != back


@given(anything, ANY_VALUE)
def test_from_json_gives_a_value_inside_or_a_sentence(
    distribution: BaseDistribution, raw: Any
) -> None:
    try:
        value = from_json(distribution, raw)
    except ValueError as error:
        sentence = str(error)
        assert describe(distribution) in sentence
    else:
        assert contains(distribution, value)


@given(st.lists(anything, min_size=1, max_size=4), seeds)
def test_merged_space_covers_every_space_of_its_kind(
    distributions: list[BaseDistribution], rng: Any
) -> None:
    merged = merge_spaces([{"x": distribution} for distribution in distributions])["x"]
    for distribution in distributions:
        same_kind = isinstance(distribution, CategoricalDistribution) == isinstance(
            merged, CategoricalDistribution
        )
        if same_kind:
            assert contains(merged, sample(distribution, rng))

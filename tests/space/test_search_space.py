from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_metallmix.space.choices import table_of
from optuna_metallmix.space.search_space import config_key
from optuna_metallmix.space.search_space import contains
from optuna_metallmix.space.search_space import describe
from optuna_metallmix.space.search_space import from_json
from optuna_metallmix.space.search_space import from_unit
from optuna_metallmix.space.search_space import is_number
from optuna_metallmix.space.search_space import is_ordered
from optuna_metallmix.space.search_space import label_of
from optuna_metallmix.space.search_space import labels_of
from optuna_metallmix.space.search_space import merge_spaces
from optuna_metallmix.space.search_space import perturb
from optuna_metallmix.space.search_space import project
from optuna_metallmix.space.search_space import to_unit
from optuna_metallmix.space.search_space import to_units


@pytest.mark.parametrize("value", [True, False, np.True_, None, "1", math.nan, math.inf, [1]])
def test_numbers_contain_numbers_only(value: Any) -> None:
    assert not contains(FloatDistribution(0, 2), value)
    assert not contains(IntDistribution(0, 2), value)


def test_containment_knows_steps_types_and_bounds() -> None:
    assert contains(FloatDistribution(0.1, 0.9, step=0.2), 0.1 + 0.2)
    assert not contains(FloatDistribution(0.1, 0.9, step=0.2), 0.4)
    assert contains(IntDistribution(2, 10, step=4), 6)
    assert not contains(IntDistribution(2, 10, step=4), 8)
    assert contains(IntDistribution(1, 5), 3.0)
    assert not contains(IntDistribution(1, 5), 3.5)
    assert contains(FloatDistribution(0, 1), np.float32(0.5))
    assert not contains(FloatDistribution(0, 1), 1.0001)
    assert not contains(CategoricalDistribution([0, 1]), False)
    assert not contains(CategoricalDistribution([True]), 1)
    assert contains(CategoricalDistribution([math.nan]), math.nan)
    assert contains(CategoricalDistribution([None, "a"]), None)


def test_whole_numbers_beyond_float_precision_stay_exact() -> None:
    seed = IntDistribution(0, 2**62)
    assert project(seed, 2**62 - 1) == 2**62 - 1
    assert contains(seed, 2**62 - 1)


def test_projection_clips_rounds_and_replaces() -> None:
    assert project(FloatDistribution(0.0, 1.0), 7) == 1.0
    assert project(FloatDistribution(0.0, 1.0, step=0.25), 0.4) == 0.5
    assert project(IntDistribution(8, 64, step=8), 21) == 24
    assert project(IntDistribution(1, 9), "x") == 5
    assert project(CategoricalDistribution([16, 64]), 20) == 16
    assert project(CategoricalDistribution(["a", "b", "c"]), "z", "b") == "b"
    assert project(CategoricalDistribution(["a", "b"]), "z", "y") == "a"
    assert project(CategoricalDistribution(["a", "b"]), 3) == "a"
    assert project(CategoricalDistribution([16, 64]), "x", 64) == 64


def test_perturbed_choice_is_a_choice_nearby() -> None:
    sizes = CategoricalDistribution([16, 32, 64, 1024])
    rng = np.random.default_rng(0)
    assert {perturb(sizes, 32, 0.01, rng) for _ in range(50)} <= {16, 32, 64}
    assert perturb(CategoricalDistribution([3]), 3, 0.5, rng) == 3


def test_labels_of_lookalikes_differ() -> None:
    distribution = CategoricalDistribution(["1", 1, True, "true", None, "null", 1.5, "1.5"])
    labels = table_of(distribution).by_label
    assert len(labels) == 8
    for choice in distribution.choices:
        back = labels[label_of(distribution, choice)]
        assert (back, type(back)) == (choice, type(choice))


def test_no_label_has_an_exponent() -> None:
    rates = CategoricalDistribution([1e-5, 3e-7, 0.01, 1e16, 12345.678])
    assert list(table_of(rates).by_label) == [
        "0.00001", "0.0000003", "0.01", "10000000000000000", "12345.678",
    ]  # fmt: skip
    assert describe(rates).startswith('one of "0.00001", "0.0000003"')
    assert from_json(rates, "0.00001") == 1e-5


@pytest.mark.parametrize(
    ("distribution", "raw"),
    [
        (FloatDistribution(0, 1), True),
        (FloatDistribution(0, 1), "0.5"),
        (FloatDistribution(0, 1), None),
        (FloatDistribution(0, 1), math.nan),
        (FloatDistribution(0, 1), 10**400),
        (IntDistribution(1, 3), 2.5),
        (IntDistribution(1, 3), 4),
        (CategoricalDistribution(["a"]), "b"),
        (CategoricalDistribution(["a"]), ["a"]),
        (CategoricalDistribution([1, 2]), True),
    ],
)
def test_from_json_refuses(distribution: BaseDistribution, raw: Any) -> None:
    with pytest.raises(ValueError, match=r"does not fit: (one of|number|whole)"):
        from_json(distribution, raw)


def test_from_json_takes_a_number_for_an_ordered_choice() -> None:
    assert from_json(CategoricalDistribution([16, 32]), 16) == 16
    assert from_json(IntDistribution(1, 5), 3.0) == 3


def test_merging_unites_ranges_choices_and_names() -> None:
    first = {"lr": FloatDistribution(1e-4, 1e-2, log=True), "a": CategoricalDistribution([1, "x"])}
    second = {"lr": FloatDistribution(1e-3, 1e-1, log=True), "n": IntDistribution(1, 4)}
    third = {"a": CategoricalDistribution(["x", None]), "n": IntDistribution(2, 9)}
    assert merge_spaces([first, second, third]) == {
        "lr": FloatDistribution(1e-4, 1e-1, log=True),
        "a": CategoricalDistribution([1, "x", None]),
        "n": IntDistribution(1, 9),
    }


def test_merging_keeps_a_step_that_all_share() -> None:
    step = [
        {"width": IntDistribution(32, 128, step=32), "p": FloatDistribution(0, 0.4, step=0.1)},
        {"width": IntDistribution(64, 256, step=32), "p": FloatDistribution(0.1, 0.6, step=0.1)},
    ]
    assert merge_spaces(step) == {
        "width": IntDistribution(32, 256, step=32),
        "p": FloatDistribution(0, 0.6, step=0.1),
    }
    offset = [{"n": IntDistribution(1, 9, step=4)}, {"n": IntDistribution(3, 11, step=4)}]
    assert contains(merge_spaces(offset)["n"], 7)
    assert contains(merge_spaces(offset)["n"], 5)


def test_merging_disagreeing_kinds_takes_the_majority_then_the_latest() -> None:
    number, choice = FloatDistribution(0, 1), CategoricalDistribution(["a"])
    assert merge_spaces([{"x": number}, {"x": number}, {"x": choice}])["x"] == number
    assert merge_spaces([{"x": number}, {"x": choice}])["x"] == choice
    assert merge_spaces([{"x": choice}, {"x": number}])["x"] == number


def test_merging_keeps_truth_values_and_numbers_apart() -> None:
    spaces = [
        {"x": CategoricalDistribution([0, 1])},
        {"x": CategoricalDistribution([False, True])},
    ]
    merged = merge_spaces(spaces)["x"]
    assert all(contains(merged, value) for value in (0, 1, False, True))


def test_descriptions_name_kind_range_scale_and_step() -> None:
    assert (
        describe(FloatDistribution(1e-5, 0.1, log=True)) == "number from 0.00001 to 0.1, log scale"
    )
    assert describe(IntDistribution(1, 5)) == "whole number from 1 to 5"
    assert describe(IntDistribution(0, 8, step=4)) == "whole number from 0 to 8 in steps of 4"
    assert describe(FloatDistribution(0, 1, step=0.5)) == "number from 0 to 1 in steps of 0.5"
    assert describe(CategoricalDistribution(["a", None, True])) == 'one of "a", "null", "true"'


def test_ordered_means_all_numbers() -> None:
    assert is_ordered(IntDistribution(0, 1))
    assert is_ordered(CategoricalDistribution([1, 2.5]))
    assert not is_ordered(CategoricalDistribution([1, None]))
    assert not is_ordered(CategoricalDistribution([True, False]))
    assert not is_ordered(CategoricalDistribution([1, math.nan]))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, True), (np.float32(1), True), (np.int8(1), True), (True, False), (np.False_, False),
     (math.inf, False), (np.nan, False), ("1", False), (10**400, False), (1j, False),
     (np.complex64(1), False)],
)  # fmt: skip
def test_what_a_number_is(value: Any, expected: bool) -> None:
    assert is_number(value) is expected


def test_configurations_are_the_same_whatever_order_and_float_type() -> None:
    assert config_key({"a": 1, "b": 0.5}) == config_key({"b": np.float64(0.5), "a": np.int64(1)})
    assert config_key({"a": 1}) != config_key({"a": True})
    assert config_key({"a": 1}) != config_key({"a": "1"})
    assert config_key({"a": None}) != config_key({})


def test_a_label_identifies_a_choice_of_its_own_type() -> None:
    distribution = CategoricalDistribution([0, 0.0])
    for label, choice in table_of(distribution).by_label.items():
        assert type(from_json(distribution, label)) is type(choice)


def test_labels_of_many_values_are_those_of_each() -> None:
    distribution = CategoricalDistribution([1, True, "1", None, math.nan])
    values = [None, 1, True, 1, "1", math.nan, None]
    labels = labels_of(distribution, iter(values))
    assert labels == [label_of(distribution, value) for value in values]
    assert len(set(labels)) == 5


@pytest.mark.parametrize(
    "distribution",
    [
        FloatDistribution(-sys.float_info.max, sys.float_info.max),
        FloatDistribution(-1.7e308, 1.7e308, step=1e307),
        FloatDistribution(5e-324, sys.float_info.max, log=True),
        FloatDistribution(1e-320, 1e-310, log=True),
        FloatDistribution(0.0, 5e-324),
        FloatDistribution(-5e-324, 5e-324),
        IntDistribution(-(2**62), 2**62),
        CategoricalDistribution([-sys.float_info.max, 0.0, sys.float_info.max]),
    ],
)
def test_extreme_ranges_do_not_overflow(distribution: BaseDistribution) -> None:
    positions = np.linspace(0.0, 1.0, 5)
    with np.errstate(all="raise", under="ignore"):
        values = [from_unit(distribution, position) for position in positions]
        units = [to_unit(distribution, value) for value in values]
        again = to_units(distribution, np.array(values, float))
        ends = [project(distribution, np.float64(end)) for end in (-1e308, 1e308)]
        assert all(contains(distribution, value) for value in [*values, *ends])
    assert units == pytest.approx(again)
    assert units == sorted(units)
    assert (units[0], units[-1]) == (0.0, 1.0)
    assert all(0.0 <= unit <= 1.0 for unit in units)

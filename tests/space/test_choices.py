"""A choice stays the same choice, whatever object or JSON it has become."""

from __future__ import annotations

import enum
import functools
import json
import math
from collections import OrderedDict
from collections import namedtuple
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.distributions import distribution_to_json
from optuna.distributions import json_to_distribution

from optuna_metallmix.space import choices_of
from optuna_metallmix.space import config_key
from optuna_metallmix.space import contains
from optuna_metallmix.space import from_json
from optuna_metallmix.space import from_record
from optuna_metallmix.space import has_json_choices
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import json_schema
from optuna_metallmix.space import label_of
from optuna_metallmix.space import labels_of
from optuna_metallmix.space import merge_spaces
from optuna_metallmix.space import project
from optuna_metallmix.space import to_record


pytestmark = pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")

Layers = namedtuple("Layers", ["first", "second"])


class Swish:
    pass


class Mish:
    pass


class Norm(enum.Enum):
    BATCH = "b"
    LAYER = "l"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Optimizer(enum.StrEnum):
    ADAM = "adam"
    SGD = "sgd"


@dataclass
class Head:
    """Equal by value and not hashable."""

    width: int


class Opaque:
    """Told apart by identity only: all have the same text."""

    def __repr__(self) -> str:
        return "opaque"


class Loose(SimpleNamespace):
    """Compares to an array, as NumPy does."""

    def __eq__(self, other: object) -> Any:
        return np.array([True, False])


def gelu(x: float) -> float:
    return x


def stored(choices: Any) -> CategoricalDistribution:
    """Return a distribution as a journal file or a database gives it back."""
    distribution = json_to_distribution(distribution_to_json(CategoricalDistribution(choices)))
    assert isinstance(distribution, CategoricalDistribution)
    return distribution


def labels(choices: Any) -> list[str]:
    return labels_of(CategoricalDistribution(choices), choices)


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.sampled_from([0.0, 1.0, 0.1, math.nan, math.inf]),
    st.sampled_from(["", "1", "1.0", "true", "null", "a", "[1]"]),
)
KEY = st.one_of(st.text(max_size=2), st.integers(-2, 2), st.booleans(), st.none())
NESTED = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEY, inner, max_size=2),
    ),
    max_leaves=6,
)


@given(st.lists(NESTED, min_size=1, max_size=5))
def test_choices_that_came_back_as_json_are_the_same(choices: list[Any]) -> None:
    ours, theirs = CategoricalDistribution(choices), stored(choices)
    for choice, back in zip(choices, theirs.choices, strict=True):
        assert contains(ours, back)
        assert contains(theirs, choice)
        assert any(project(ours, back) is choice for choice in choices)
        assert config_key({"c": back}) == config_key({"c": choice})
        assert label_of(ours, back) == label_of(ours, choice)
    assert merge_spaces([{"c": theirs}, {"c": ours}])["c"] is ours


@given(NESTED, NESTED)
def test_only_the_same_choices_have_a_key_in_common(first: Any, second: Any) -> None:
    one = CategoricalDistribution([first])
    same = config_key({"c": first}) == config_key({"c": second})
    assert contains(one, second) is same
    merged = merge_spaces([{"c": one}, {"c": CategoricalDistribution([second])}])["c"]
    assert len(choices_of(merged)) == 2 - same


@given(st.lists(NESTED, min_size=1, max_size=6))
def test_labels_tell_different_choices_apart(choices: list[Any]) -> None:
    distribution = CategoricalDistribution(choices)
    kinds = {config_key({"c": choice}) for choice in choices}
    assert len(set(labels_of(distribution, choices))) == len(kinds)
    for choice in choices:
        label = label_of(distribution, choice)
        assert type(label) is str
        assert config_key({"c": from_json(distribution, label)}) == config_key({"c": choice})


@given(st.lists(NESTED, min_size=1, max_size=5), NESTED)
def test_label_of_another_value_is_no_choices_label(choices: list[Any], value: Any) -> None:
    distribution = CategoricalDistribution(choices)
    taken = label_of(distribution, value) in json_schema(distribution)["enum"]
    assert taken is contains(distribution, value)


@pytest.mark.parametrize(
    ("choice", "value"),
    [
        ((64, 32), [64, 32]),
        ([64, 32], (64, 32)),
        (((1, 2), (3,)), [[1, 2], [3]]),
        (Layers(1, 2), [1, 2]),
        ({"a": 1, "b": (2, 3)}, {"b": [2, 3], "a": 1}),
        (OrderedDict(a=1), {"a": 1}),
        ({1: "x", None: "z"}, {"1": "x", "null": "z"}),
        ({0.5: 1, True: 2}, {"true": 2, "0.5": 1}),
        (np.int64(16), 16),
        (16, np.int8(16)),
        (np.True_, True),
        (np.str_("a"), "a"),
        ((np.float64(0.5), np.int64(2)), [0.5, 2]),
        (1, 1.0),
        (float("nan"), np.float32("nan")),
        ((math.nan,), [float("nan")]),
        (Level.HIGH, 2),
        (Optimizer.ADAM, "adam"),
        (Norm.BATCH, Norm.BATCH),
        (frozenset({1, 2}), {2, 1}),
        (Head(3), Head(3)),
        (Decimal("0.5"), Decimal("0.50")),
    ],
)
def test_same_choice(choice: Any, value: Any) -> None:
    distribution = CategoricalDistribution([choice, "other"])
    assert contains(distribution, value)
    assert project(distribution, value, "other") is choice
    assert config_key({"c": choice}) == config_key({"c": value})
    assert label_of(distribution, value) == label_of(distribution, choice)


@pytest.mark.parametrize(
    ("choice", "value"),
    [
        (True, 1),
        ((True,), [1]),
        ({"a": False}, {"a": 0}),
        ("16", 16),
        (["16"], [16]),
        (None, "null"),
        ((1, 2), (2, 1)),
        ((1, 2), "[1, 2]"),
        ((1,), 1),
        ({"a": 1}, [["a", 1]]),
        ({"a": 1}, {"a": 1, "b": 1}),
        (Swish, "Swish"),
        (Norm.BATCH, "b"),
        (Head(3), Head(4)),
        (math.nan, "NaN"),
    ],
)
def test_another_choice(choice: Any, value: Any) -> None:
    distribution = CategoricalDistribution([choice])
    assert not contains(distribution, value)
    assert config_key({"c": choice}) != config_key({"c": value})
    assert label_of(distribution, value) != label_of(distribution, choice)
    merged = merge_spaces([{"c": distribution}, {"c": CategoricalDistribution([value])}])["c"]
    assert len(choices_of(merged)) == 2


def test_arrays_are_compared_without_an_error() -> None:
    first, second = Loose(), Loose()
    distribution = CategoricalDistribution([np.array([1, 2]), first, second])
    assert project(distribution, np.array([1, 2])) is distribution.choices[0]
    assert project(distribution, second) is second
    assert not contains(distribution, np.array([3, 4]))
    assert not contains(distribution, Loose())


def test_merging_keeps_the_latest_choices_objects() -> None:
    tuples = CategoricalDistribution([(8,), (16, 8)])
    merged = merge_spaces([{"c": stored([(8,), (16, 8)])}, {"c": tuples}])["c"]
    assert merged is tuples
    wider = merge_spaces([{"c": tuples}, {"c": stored([(16, 8), (32,)])}])["c"]
    assert choices_of(wider) == [(8,), (16, 8), [32]]


def test_objects_are_written_by_name() -> None:
    choices = [Swish, gelu, np.tanh, math.sqrt, Norm.LAYER, Level.LOW, Swish(), Optimizer.SGD]
    assert labels(choices) == [
        "Swish", "gelu", "tanh", "sqrt", "Norm.LAYER", "1", "Swish (Swish)", "sgd",
    ]  # fmt: skip
    assert labels([(Swish, 1), [gelu, {"a": Norm.BATCH}], frozenset({"b", "a"})]) == [
        '["Swish", 1]', '["gelu", {"a": "Norm.BATCH"}]', "{a, b}",
    ]  # fmt: skip
    assert labels([Head(3), Decimal("0.5"), 1j, {(1, 2): 3}]) == [
        "Head(width=3)", "0.5", "1j", "{(1, 2): 3}",
    ]  # fmt: skip
    assert labels(list(np.arange(16, 49, 16))) == ["16", "32", "48"]
    assert labels([np.True_, np.float32(0.5), (np.int64(1), np.False_)]) == [
        "true", "0.5", "[1, false]",
    ]  # fmt: skip


def test_every_label_can_be_encoded() -> None:
    distribution = CategoricalDistribution(["a\ud800", "a\\ud800", "é", Decimal(1), {"\udfff": 1}])
    written = labels_of(distribution, distribution.choices)
    assert written == ["a\\ud800", "a\\ud800 #2", "é", "1", '{"\\udfff": 1}']
    assert "".join(written).encode()
    assert from_json(distribution, written[0]) == "a\ud800"


def test_no_label_has_a_memory_address() -> None:
    choices = [object(), object(), Swish(), functools.partial(gelu, 2.0), Swish().__init__]
    choices += [lambda: 1, lambda: 2, SimpleNamespace(act=Swish())]
    written = labels(choices)
    assert written[:3] == ["object", "object #2", "Swish"]
    assert written[3] == "functools.partial(gelu, 2.0)"
    assert written[5:7] == ["lambda", "lambda #2"]
    assert len(set(written)) == len(choices)
    assert not any("0x" in label for label in written)


def test_lookalikes_have_labels_of_their_own() -> None:
    first, second = Opaque(), Opaque()
    distribution = CategoricalDistribution([first, second, "opaque", Swish, "Swish"])
    written = labels_of(distribution, distribution.choices)
    assert written == ["opaque", "opaque #2", "opaque (str)", "Swish", "Swish (str)"]
    assert [from_json(distribution, label) for label in written] == list(distribution.choices)
    assert project(distribution, second) is second


def test_label_of_an_object_is_a_single_line() -> None:
    class Network:
        def __str__(self) -> str:
            return "Network(\n  (0): Linear()\n)"

    assert labels([Network()]) == ["Network( (0): Linear() )"]


def test_class_that_a_notebook_defined_again_is_the_same_choice() -> None:
    def cell() -> list[Any]:
        class Silu:
            pass

        class Size(enum.Enum):
            SMALL = 1

        def relu(x: float) -> float:
            return x

        return [Silu, Size.SMALL, relu, Silu(), (Silu, 2)]

    before, after = cell(), CategoricalDistribution(cell())
    for old, new in zip(before, after.choices, strict=True):
        assert old != new
        assert project(after, old) is new
        assert label_of(after, old) == label_of(after, new)
    merged = merge_spaces([{"c": CategoricalDistribution(before)}, {"c": after}])["c"]
    assert len(choices_of(merged)) == len(before)


def test_functions_of_one_name_stay_apart() -> None:
    def scaled(factor: float) -> Any:
        return lambda x: factor * x

    half, double, triple = scaled(0.5), scaled(2.0), scaled(3.0)
    distribution = CategoricalDistribution([half, double])
    assert project(distribution, double) is double
    assert not contains(distribution, triple)
    assert label_of(distribution, triple) not in labels_of(distribution, [half, double])


def test_numbers_of_any_type_are_ordered() -> None:
    for choices in (list(Level), list(np.arange(1, 3)), [1, np.float32(2.5)]):
        assert is_ordered(CategoricalDistribution(choices))
        assert project(CategoricalDistribution(choices), 7) is choices[-1]
    assert not is_ordered(CategoricalDistribution(list(Norm)))
    assert not is_ordered(CategoricalDistribution([np.True_, np.False_]))


@pytest.mark.parametrize(
    "choices",
    [
        ["a", "1", 1],
        [1, 2.5, "auto", None, True],
        [(64, 32), [8]],
        [{"a": (1, 2)}, {"b": np.True_}],
        list(np.arange(16, 33, 16)),
        list(Level),
    ],
)
def test_record_holds_choices_as_json(choices: list[Any]) -> None:
    distribution = CategoricalDistribution(choices)
    assert has_json_choices(distribution)
    raw = [to_record(distribution, choice) for choice in choices]
    assert raw == json.loads(json.dumps(choices, default=np.generic.item))
    back = [from_record(distribution, value) for value in raw]
    assert all(value is choice for value, choice in zip(back, choices, strict=True))


@pytest.mark.parametrize(
    "choices",
    [
        [Swish, "Swish", 1],
        list(Norm),
        [(Swish, 1), (Mish, 1)],
        [{(1, 2): 3}, "a"],
        [{np.int64(1): 3}, None],
    ],
)
def test_record_holds_labels_of_choices_that_json_cannot_hold(choices: list[Any]) -> None:
    distribution = CategoricalDistribution(choices)
    assert not has_json_choices(distribution)
    raw = [to_record(distribution, choice) for choice in choices]
    assert raw == labels(choices)
    back = [from_record(distribution, value) for value in raw]
    assert all(value is choice for value, choice in zip(back, choices, strict=True))


def test_record_holds_other_values() -> None:
    assert to_record(CategoricalDistribution(["a"]), Swish) == "Swish"
    assert to_record(FloatDistribution(0, 1), np.float64(0.5)) == 0.5
    assert to_record(None, (1, Swish)) == '[1, "Swish"]'
    assert from_record(IntDistribution(1, 3), 2) == 2
    assert from_record(CategoricalDistribution(["a"]), "b") == "b"

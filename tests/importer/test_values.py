"""Check the values and distributions that are read from cells."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_metallmix.importer.values import fit_value
from optuna_metallmix.importer.values import infer_distribution
from optuna_metallmix.importer.values import parse_value


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("64", 64),
        ("-3", -3),
        ("64.0", 64.0),
        ("1e-4", 1e-4),
        (".5", 0.5),
        ("1E+3", 1e3),
        ("True", True),
        ("FALSE", False),
        ("None", None),
        ("none", "none"),
        ("adam", "adam"),
        ("inf", "inf"),
        ("1e999", "1e999"),
        ("1_000", "1_000"),
        ("[64, 64]", "[64, 64]"),
        ([64, 64], "[64, 64]"),
        ((64, 64), "(64, 64)"),
        (Decimal("0.5"), 0.5),
        (float("inf"), "Infinity"),
        (int, "int"),
        (None, None),
        (True, True),
    ],
)
def test_values(cell: Any, value: Any) -> None:
    assert parse_value(cell) == value
    assert type(parse_value(cell)) is type(value)


LR = [3e-4, 1e-3, 1e-2, 5e-4, 1e-1]


@pytest.mark.parametrize(
    ("values", "distribution"),
    [
        (LR, FloatDistribution(3e-4, 1e-1, log=True)),
        ([0.001, 0.01, 0.1], FloatDistribution(0.001, 0.1, log=True)),
        ([0.1, 0.2, 0.45, 0.5], FloatDistribution(0.1, 0.5)),
        ([0.0, 1e-5, 1e-2], FloatDistribution(0.0, 1e-2)),
        ([-1.0, 100.0], FloatDistribution(-1.0, 100.0)),
        ([0.9, 0.99, 0.95], FloatDistribution(0.9, 0.99)),
        ([1, 2, 8], IntDistribution(1, 8)),
        ([16, 32, 64, 128], IntDistribution(16, 128)),
        ([1, 10, 1000], IntDistribution(1, 1000, log=True)),
        ([1, 0.5], FloatDistribution(0.5, 1.0)),
        ([1.0, 10.0, 100.0], FloatDistribution(1.0, 100.0, log=True)),
        ([3, 3], IntDistribution(3, 3)),
        ([0.9], FloatDistribution(0.9, 0.9)),
        ([0, 10**30], FloatDistribution(0.0, 1e30)),
        (["sgd", "adam", "sgd"], CategoricalDistribution(["adam", "sgd"])),
        ([True, False], CategoricalDistribution([False, True])),
        ([10, None, 3], CategoricalDistribution([3, 10, None])),
        (["scale", 0.1, 0.01], CategoricalDistribution([0.01, 0.1, "scale"])),
        (["adam"], CategoricalDistribution(["adam"])),
    ],
)
def test_distributions(values: list[Any], distribution: BaseDistribution) -> None:
    assert infer_distribution(values, False) == distribution


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [20, 200])
def test_scale_is_that_of_random_search(seed: int, n: int) -> None:
    """Of 200 even numbers the smallest is easily a thousand times smaller than the largest."""
    rng = np.random.default_rng(seed)
    even, log = rng.uniform(0.0, 0.5, n), 10 ** rng.uniform(-5, -1, n)
    for numbers, is_log in [(even, False), (log, True)]:
        distribution = infer_distribution(numbers.tolist(), False)
        assert isinstance(distribution, FloatDistribution)
        assert distribution.log is is_log


def test_whole_numbers_of_a_column_with_gaps() -> None:
    assert infer_distribution([16.0, 64.0], True) == IntDistribution(16, 64)
    assert infer_distribution([16.0, 64.0], False) == FloatDistribution(16.0, 64.0)


def test_a_text_of_its_own_in_each_run_is_no_choice() -> None:
    names = [f"runs/{i}" for i in range(30)]
    assert infer_distribution(names, False) is None
    assert infer_distribution(names[:8], False) == CategoricalDistribution(sorted(names[:8]))
    assert infer_distribution(names[:12] * 3, False) == CategoricalDistribution(sorted(names[:12]))


@pytest.mark.parametrize(
    ("distribution", "cell", "value"),
    [
        (CategoricalDistribution([16, 32]), "32", 32),
        (CategoricalDistribution(["16", "32"]), 32.0, "32"),
        (CategoricalDistribution(["None", "relu"]), "None", "None"),
        (CategoricalDistribution([None, "relu"]), "None", None),
        (FloatDistribution(0.0, 1.0, step=0.1), "0.30000000000000004", 0.3),
        (FloatDistribution(0, 10), 3, 3.0),
        (IntDistribution(0, 10), "3.0", 3),
    ],
)
def test_given_distribution(distribution: BaseDistribution, cell: Any, value: Any) -> None:
    found = fit_value(distribution, cell)
    assert found == (pytest.approx(value) if isinstance(value, float) else value)
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("distribution", "cell"),
    [
        (CategoricalDistribution(["a"]), "b"),
        (IntDistribution(0, 3), 4),
        (FloatDistribution(0, 1), "x"),
    ],
)
def test_value_outside(distribution: BaseDistribution, cell: Any) -> None:
    with pytest.raises(ValueError, match=str(cell)):
        fit_value(distribution, cell)

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from optuna_metallmix.space.choices import table_of
from optuna_metallmix.space.search_space import describe
from optuna_metallmix.text import MAX_DIGITS
from optuna_metallmix.text import format_number


def _read(text: str) -> Decimal:
    mantissa, _, power = text.partition("x10^")
    return Decimal(mantissa) * Decimal(10) ** int(power or 0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-5, "0.00001"),
        (2.39e-2, "0.0239"),
        (0.123456, "0.1235"),
        (65536.0, "65536"),
        (123456789, "123456789"),
        (np.int64(65536), "65536"),
        (-0.5, "-0.5"),
        (0.0, "0"),
        (1e-12, "0.000000000001"),
        (-1.23456e-18, "-0.000000000000000001235"),
        (1e20, "100000000000000000000"),
        (2**63, "9223372036854775808"),
        (0.1 + 0.2, "0.3"),
        (0.12345678901234567, "0.1235"),
        (np.float32(0.1), "0.1"),
        (1e-300, "1x10^-300"),
        (-1.23456e-300, "-1.235x10^-300"),
        (1.5e300, "1.5x10^300"),
        (10**400, "1x10^400"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_numbers_are_written_without_exponents(value: float, text: str) -> None:
    assert format_number(value) == text


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers()))
def test_written_numbers_are_close_and_bounded(value: float) -> None:
    text = format_number(value)
    assert "e" not in text.lower()
    assert len(text) <= MAX_DIGITS + 1
    assert float(_read(text)) == pytest.approx(float(value), rel=1e-3, abs=1e-323)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_exact_numbers_differ(value: float) -> None:
    text = format_number(value, None)
    assert "e" not in text.lower()
    assert len(text) <= 32
    assert float(_read(text)) == value


def test_extreme_ranges_and_choices_stay_short_and_true() -> None:
    tiny = FloatDistribution(1e-300, 1e300, log=True)
    assert describe(tiny) == "number from 1x10^-300 to 1x10^300, log scale"
    rates = CategoricalDistribution([1e-12, 1.25e-200, 1.26e-200])
    assert list(table_of(rates).by_label) == ["0.000000000001", "1.25x10^-200", "1.26x10^-200"]

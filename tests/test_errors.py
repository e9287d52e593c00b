from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest

from optuna_metallmix import errors
from optuna_metallmix.errors import CalculationError
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.errors import numerical_errors


@pytest.fixture
def hidden(monkeypatch) -> None:
    monkeypatch.setattr(errors, "hides_numerical_errors", True)


def fit_constant() -> None:
    from catboost import CatBoostRegressor

    CatBoostRegressor(iterations=1, allow_writing_files=False).fit([[1.0], [2.0]], [1.0, 1.0])


def factorize() -> None:
    from scipy.linalg import cho_factor

    cho_factor(-np.eye(2))


def measure_nan() -> None:
    from scipy.linalg import solve

    solve(np.full((2, 2), np.nan), np.ones(2))


def allocate() -> None:
    np.empty(2**50)


def divide_strictly() -> None:
    with np.errstate(all="raise"):
        np.ones(1) / np.zeros(1)


def divide_with_warnings_as_errors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.ones(1) / np.zeros(1)


@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize(
    "calculate",
    [
        lambda: 1 / 0,
        lambda: math.exp(1e9),
        lambda: round(math.inf),
        lambda: np.linalg.cholesky(-np.eye(2)),
        lambda: np.random.default_rng(0).integers(0),
        factorize,
        measure_nan,
        fit_constant,
        allocate,
        divide_strictly,
        divide_with_warnings_as_errors,
    ],
)
def test_numerical_errors_are_translated(calculate: Callable[[], object]) -> None:
    message = r"A calculation failed \(\w+: .+\)\. "
    with pytest.raises(CalculationError, match=message) as raised, numerical_errors():
        calculate()
    assert raised.value.__cause__ is not None
    assert len(str(raised.value)) < 400


@pytest.mark.usefixtures("hidden")
def test_missing_memory_has_its_own_advice() -> None:
    with pytest.raises(CalculationError, match="Free some memory"), numerical_errors():
        raise MemoryError


@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize(
    ("calculate", "error"),
    [
        (lambda: {}["x"], KeyError),
        (lambda: [][1], IndexError),
        (lambda: None + 1, TypeError),
        (lambda: None.x, AttributeError),
        (lambda: np.ones(2)[5], IndexError),
        (lambda: list(zip([1], [], strict=True)), ValueError),
        (lambda: int("x"), ValueError),
    ],
)
def test_bugs_are_not_translated(calculate: Callable[[], object], error: type[Exception]) -> None:
    with pytest.raises(error), numerical_errors():
        calculate()


@pytest.mark.usefixtures("hidden")
@pytest.mark.parametrize("error", [HistoryError("no past"), KeyboardInterrupt()])
def test_deliberate_errors_and_interrupts_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, numerical_errors():
        raise error
    assert raised.value is error


def test_our_own_tests_see_every_numerical_error() -> None:
    with pytest.raises(ZeroDivisionError), numerical_errors():
        1 / 0  # noqa: B018

"""Meta-features of a table, in all the forms that users have tables in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from optuna_metallmix import tabular_meta_features


def test_the_seven_groups() -> None:
    frame = pd.DataFrame({"a": [1.0, np.nan, 3, 4], "b": list("xyxy"), "c": [True, False] * 2})
    assert tabular_meta_features(frame, ["yes", "no", "no", "no"]) == {
        "n_instances": 4,
        "n_features": 3,
        "n_classes": 2,
        "categorical_share": pytest.approx(2 / 3),
        "missing_share": pytest.approx(1 / 12),
        "imbalance_ratio": 3.0,
        "class_entropy": pytest.approx(0.811278, abs=1e-6),
    }


def test_a_regression() -> None:
    found = tabular_meta_features(np.zeros((4, 2)), [0.5, 1.5, 2.0, 2.5])
    assert (found["n_classes"], found["imbalance_ratio"], found["class_entropy"]) == (0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("target", "n_classes"),
    [
        ([0.5, 1.5, 2.0, 2.5], 0),
        ([0, 1, 2, 2], 3),
        ([0.0, 1.0, 1.0, 1.0], 2),
        ([True, False, True, True], 2),
        (pd.Series(["a", "b", "b", "b"], dtype="category"), 2),
        (pd.Series(pd.Categorical(["a", "b", "b", "b"], categories=["a", "b", "unused"])), 2),
        (pd.Series([1, 2, 2, 1], dtype="Int64"), 2),
        (pd.Series(["a", "b", "b", "b"], dtype="string"), 2),
        ([[0], [1], [1], [0]], 2),
        (pd.DataFrame({"y": [0, 1, 1, 0]}), 2),
    ],
)
def test_kinds_of_target(target: Any, n_classes: int) -> None:
    found = tabular_meta_features(np.zeros((4, 2)), target)
    assert found["n_classes"] == n_classes
    assert found["class_entropy"] <= math.log2(max(n_classes, 1))
    assert all(type(value) in (int, float) for value in found.values())


@pytest.mark.parametrize(
    ("columns", "categorical", "missing"),
    [
        ([[1, "a"], [2, "b"], [3, None], [4, "a"]], 0.5, 0.125),
        (np.array([[1.0], [np.nan], [3], [4]]), 0.0, 0.25),
        (pd.DataFrame({"a": pd.Categorical(list("xyxy"))}), 1.0, 0.0),
        (pd.DataFrame({"a": pd.Series([1, None, 2, 3], dtype="Int64")}), 0.0, 0.25),
        (pd.DataFrame({"a": pd.date_range("2026-01-01", periods=4)}), 0.0, 0.0),
        (pd.DataFrame([[1, "a"]] * 4, columns=["same", "same"]), 0.5, 0.0),
    ],
)
def test_kinds_of_columns(columns: Any, categorical: float, missing: float) -> None:
    found = tabular_meta_features(columns, [0, 1, 1, 0])
    assert (found["categorical_share"], found["missing_share"]) == (categorical, missing)


def test_a_tensor() -> None:
    torch = pytest.importorskip("torch")
    found = tabular_meta_features(torch.zeros(4, 3), torch.tensor([0, 1, 1, 0]))
    assert (found["n_features"], found["n_classes"]) == (3, 2)


def test_many_whole_numbers_are_not_classes_unless_the_user_says_so() -> None:
    ages = list(range(30))
    assert tabular_meta_features(np.zeros((30, 1)), ages)["n_classes"] == 0
    assert tabular_meta_features(np.zeros((30, 1)), ages, "classification")["n_classes"] == 30


@pytest.mark.parametrize(
    ("columns", "target", "message"),
    [
        (np.zeros(3), [0, 1, 0], "not a table"),
        (np.zeros((0, 2)), [], "not a table"),
        (csr_matrix(np.eye(3)), [0, 1, 0], "before they are encoded"),
        (np.zeros((3, 2)), [0, 1], "3 rows and y has 2"),
        (np.zeros((3, 2)), np.zeros((3, 2)), "shape"),
        (np.zeros((3, 2)), [0.0, 1.0, np.nan], "missing targets"),
        (np.zeros((3, 2)), ["a", None, "b"], "missing targets"),
    ],
)
def test_what_is_not_a_table_is_refused(columns: Any, target: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tabular_meta_features(columns, target)


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(ValueError, match='must be "classification"'):
        tabular_meta_features(np.zeros((3, 2)), [0, 1, 1], task="ranking")  # type: ignore[arg-type]

"""Check that CSV files and data frames are read as they were meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.importer.table import MISSING
from optuna_metallmix.importer.table import read_csv
from optuna_metallmix.importer.table import read_table
from optuna_metallmix.importer.table import similar_names


TABLE = {"lr": ["0.1", "0.01"], "opt": ["sgd", ""]}


@pytest.mark.parametrize(
    "content",
    [
        b"lr,opt\n0.1,sgd\n0.01,\n",
        b"\xef\xbb\xbflr,opt\r\n0.1,sgd\r\n\r\n0.01\r\n",
        b"lr\topt\n0.1\tsgd\n0.01\t\n",
        b"lr|opt\n0.1|sgd\n0.01|\n",
        b"lr;opt\n0,1;sgd\n0,01;\n",
        b"sep=;\nlr;opt\n0,1;sgd\n0,01;\n",
        b'"lr","opt"\n"0.1","sgd"\n"0.01",""\n',
        b"lr,opt\r0.1,sgd\r0.01,\r",
        b",lr,opt\n0,0.1,sgd\n1,0.01,\n",
        b"lr,opt,\n0.1,sgd,\n0.01,,\n",
        "lr\topt\n0.1\tsgd\n0.01\t\n".encode("utf-16"),
    ],
)
def test_csv(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "runs.csv").write_bytes(content)
    assert read_csv(tmp_path / "runs.csv") == TABLE


def test_decimal_commas_are_not_lists(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("lr;layers\n0,5;64,64\n1;64,64,64\n;32,32\n")
    columns = read_csv(tmp_path / "runs.csv")
    assert columns == {"lr": ["0.5", "1", ""], "layers": ["64,64", "64,64,64", "32,32"]}


def test_text_of_excel_without_unicode(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_bytes("modèle\nrésnet\n".encode("cp1252"))
    assert read_csv(tmp_path / "runs.csv") == {"modèle": ["résnet"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"lr,acc\n0.1,0.5\n[1, 2],0.5\n", "row 2 has 3 cells, but there are 2 columns"),
        (b"lr,lr\n0.1,0.5\n", "two columns are called 'lr'"),
    ],
)
def test_no_table(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "runs.csv").write_bytes(content)
    with pytest.raises(HistoryError, match=message):
        read_csv(tmp_path / "runs.csv")


def test_empty_cells_are_missing() -> None:
    empty: list[Any] = [None, float("nan"), np.nan, pd.NA, pd.NaT, "", " ", "NaN", "N/A", "<NA>"]
    frame = pd.DataFrame({"a": pd.Series([*empty, "None", 0, False], dtype=object)})
    assert read_table(frame)["a"] == [*[MISSING] * len(empty), "None", 0, False]


def test_types_are_those_of_python() -> None:
    frame = pd.DataFrame(
        {"a": np.array([1, 2], dtype=np.int32), "b": pd.array([True, None], dtype="boolean")}
    )
    table = read_table(frame)
    assert table == {"a": [1, 2], "b": [True, MISSING]}
    assert type(table["a"][0]) is int
    assert type(table["b"][0]) is bool


def test_dictionaries_become_columns_in_which_none_is_a_value() -> None:
    configs: list[Any] = [{"lr": 0.1, "opt": {"name": "sgd", "wd": None}}, {"lr": 0.2}, None]
    assert read_table({"config": configs}) == {
        "config.lr": [0.1, 0.2, MISSING],
        "config.opt.name": ["sgd", MISSING, MISSING],
        "config.opt.wd": [None, MISSING, MISSING],
    }


@pytest.mark.parametrize(
    "text",
    [
        "{'C': 0.5, 'depth': None}",
        '{"C": 0.5, "depth": null}',
        "{'C': np.float64(0.5), 'depth': None}",
        '{"C": {"value": 0.5, "desc": null}, "depth": {"value": null}}',
    ],
)
def test_dictionaries_in_text(text: str) -> None:
    assert read_table({"params": [text]}) == {"params.C": [0.5], "params.depth": [None]}


@pytest.mark.parametrize("cell", ["{x}", "{'a': 1", {1: 0.5}, "{0: 1.0, 1: 5.0}"])
def test_other_braces_are_a_cell(cell: Any) -> None:
    assert read_table({"class_weight": [cell]}) == {"class_weight": [cell]}


def test_wrong_frames() -> None:
    with pytest.raises(TypeError, match=r"read a file with pandas.read_csv first"):
        read_table("runs.csv")
    with pytest.raises(TypeError, match=r"must be a pandas.DataFrame"):
        read_table(3)
    with pytest.raises(ValueError, match="has no rows"):
        read_table(pd.DataFrame({"a": []}))
    with pytest.raises(ValueError, match="two columns 'a'"):
        read_table(pd.DataFrame([[1, 2]], columns=["a", "a "]))


def test_similar_names() -> None:
    columns = ["params.lr", "metrics.accuracy", "metrics.val_accuracy", "status"]
    assert similar_names("accuracy", columns) == ["metrics.accuracy", "metrics.val_accuracy"]
    assert similar_names("Metrics.Acuracy", columns)[0] == "metrics.accuracy"
    assert similar_names("metrics.accuracy", ["accuracy", "loss"]) == ["accuracy"]
    assert similar_names("val", columns) == ["metrics.val_accuracy"]
    assert similar_names("batch_size", ["params.batch", "params.lr"]) == ["params.batch"]
    assert similar_names("zzz", columns) == []

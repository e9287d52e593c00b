"""The table of faults names tests that exist and run."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "concepts" / "faults.md"
HEADER = ["fault", "what happens", "test"]
NAME = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
NOT_RUN = {"skip", "xfail", "gpu", "ollama", "shared"}
"""Marks of tests that do not run in CI."""


def rows() -> list[list[str]]:
    """Return the cells of each fault."""
    found, is_fault = [], False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        is_fault = line.startswith("|") and (is_fault or cells == HEADER)
        if is_fault and cells != HEADER and not line.startswith("| ---"):
            found.append(cells)
    return found


def named() -> list[tuple[str, str]]:
    """Return the file and the function of each test that is named."""
    return [test for row in rows() for test in NAME.findall(row[-1])]


@cache
def marks(path: str) -> dict[str, set[str]]:
    """Return the names in the decorators of each test of a file, and in its ``pytestmark``."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    of_file = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
    ]
    return {
        node.name: {
            part.attr
            for expression in [*of_file, *node.decorator_list]
            for part in ast.walk(expression)
            if isinstance(part, ast.Attribute)
        }
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_fault_has_a_test() -> None:
    assert len(rows()) >= 40
    for row in rows():
        assert len(row) == len(HEADER), row
        assert NAME.sub("", row[-1]).strip(" ,") == "", row
        assert all(row), row


@pytest.mark.parametrize(("path", "name"), sorted(set(named())))
def test_named_tests_exist_and_run(path: str, name: str) -> None:
    assert (ROOT / path).is_file()
    assert name in marks(path)
    assert marks(path)[name] & NOT_RUN == set()


def test_no_fault_is_told_twice() -> None:
    faults = [row[0] for row in rows()]
    assert sorted(set(faults)) == sorted(faults)

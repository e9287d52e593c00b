"""Test that the sub-packages of `benchmarks` depend in one direction, and where files are kept."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.paths import CACHE
from benchmarks.paths import RESULTS
from benchmarks.paths import ROOT
from benchmarks.paths import data_folder


ORDER = (
    *("paths", "tasks", "report", "methods", "families", "work", "bench", "run", "medical"),
    "shipped",
)
"""Each may import those before it; the other commands may import all of them."""
MAX_MODULES = 12


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("benchmarks."):
            yield str(node.module).split(".")[1]


@pytest.mark.parametrize("name", ORDER)
def test_imports_follow_the_order(name):
    module = ROOT / "benchmarks" / f"{name}.py"
    modules = [module] if module.is_file() else sorted((ROOT / "benchmarks" / name).glob("*.py"))
    assert modules
    for path in modules:
        assert set(imported(path)) <= set(ORDER[: ORDER.index(name) + 1]), path


def test_no_folder_has_too_many_modules():
    for folder in {path.parent for path in (ROOT / "benchmarks").rglob("*.py")}:
        assert len([p for p in folder.glob("*.py") if p.name[:2] != "__"]) <= MAX_MODULES, folder


def test_paths_are_in_the_checkout(monkeypatch):
    assert (ROOT / "pyproject.toml").is_file()
    assert (RESULTS / "medical.csv").is_file()
    assert CACHE == ROOT / "cache"  # ignored by git
    monkeypatch.delenv("METALLMIX_DATA", raising=False)
    assert data_folder() == ROOT.parent / "shared" / "data"
    monkeypatch.setenv("METALLMIX_DATA", "elsewhere")
    assert data_folder() == Path("elsewhere")

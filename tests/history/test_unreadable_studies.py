"""Studies that are damaged, beside others that are not."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import RDBStorage
from optuna.storages import get_storage
from optuna.trial import FrozenTrial
from optuna.trial import create_trial

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history.history import History
from optuna_metallmix.history.history import own_features
from optuna_metallmix.history.history import read_history
from optuna_metallmix.history.history import read_past
from optuna_metallmix.history.history import study_names
from optuna_metallmix.history.history import with_own_trials
from optuna_metallmix.settings import check_source


NAMES = ["first", "odd", "last"]
OF_ODD = "trial_id IN (SELECT trial_id FROM trials WHERE study_id = 2)"
SPACE = {"x": FloatDistribution(0, 1), "kind": CategoricalDistribution(["a", "b"])}


def fill(storage: BaseStorage | str) -> BaseStorage:
    for name in NAMES:
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        study.set_user_attr("n_rows", 100)
        params: list[dict[str, Any]] = [{"x": i / 9, "kind": "ab"[i % 2]} for i in range(6)]
        study.add_trials(
            [create_trial(params=p, distributions=SPACE, value=p["x"]) for p in params]
        )
    return study._storage


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("intact") / "past.db"
    fill(f"sqlite:///{path}")
    return path


@pytest.fixture
def database(tmp_path: Path, intact: Path) -> Path:
    return Path(shutil.copy(intact, tmp_path / "past.db"))


def execute(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement, values)
        database.commit()


def distribution(kind: str, **attributes: object) -> str:
    text = json.dumps({"name": kind, "attributes": attributes})
    name = "kind" if "choices" in attributes else "x"
    where = f"param_name = '{name}' AND {OF_ODD}"
    return f"UPDATE trial_params SET distribution_json = '{text}' WHERE {where}"


def attribute(owner: str, text: str) -> str:
    table, key = ("trial_system", f"(SELECT trial_id FROM trials WHERE {OF_ODD} LIMIT 1)")
    if owner == "study":
        table, key = "study_user", "2"
    return (
        f"INSERT INTO {table}_attributes ({owner}_id, key, value_json) "
        f"VALUES ({key}, 'constraints', '{text}')"
    )


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (distribution("TreeDistribution", depth=3), "Unknown distribution class"),
        (
            distribution("FloatDistribution", low=2.0, high=1.0, log=False, step=None),
            "low <= high",
        ),
        (distribution("CategoricalDistribution", choices=["a"]), "IndexError"),
        (f"UPDATE trial_params SET distribution_json = '{{' WHERE {OF_ODD}", "JSONDecodeError"),
        (f"UPDATE trial_params SET distribution_json = NULL WHERE {OF_ODD}", "cannot be read"),
        (f"UPDATE trial_values SET value = 'high' WHERE {OF_ODD}", "not a number"),
        (f"UPDATE trial_values SET value_type = 'HUGE' WHERE {OF_ODD}", "HUGE"),
        (f"UPDATE trials SET datetime_start = 'noon' WHERE {OF_ODD}", "cannot be read"),
        (f"UPDATE trials SET state = 'PAUSED' WHERE {OF_ODD}", "cannot be read|no complete trial"),
        (f"UPDATE trial_params SET param_value = NULL WHERE param_name = 'x' AND {OF_ODD}", "no"),
        (f"DELETE FROM trial_values WHERE {OF_ODD}", "no complete trial"),
        ("DELETE FROM study_directions WHERE study_id = 2", "no direction"),
        ("UPDATE study_directions SET direction = 'NOT_SET' WHERE study_id = 2", "no direction"),
        ("UPDATE study_directions SET direction = 'UP' WHERE study_id = 2", "UP"),
        (attribute("study", "{"), "JSONDecodeError"),
        (attribute("study", "[" * 900), "JSONDecodeError"),
        (attribute("trial", "{"), "JSONDecodeError"),
        (attribute("trial", '["late"]'), "constraint of trial 0 is not a number"),
        (
            f"INSERT INTO trial_values (trial_id, objective, value, value_type) "
            f"SELECT trial_id, 1, 0.5, 'FINITE' FROM trials WHERE {OF_ODD}",
            "trial 0",
        ),
    ],
)
def test_a_damaged_study_is_left_out_and_the_others_are_read(
    database: Path, statement: str, reason: str
) -> None:
    execute(database, statement)
    for storage in (get_storage(f"sqlite:///{database}"), Unknown(f"sqlite:///{database}")):
        if not (isinstance(storage, Unknown) and "study_" in statement):
            history = read_history(storage)
            assert [study.name for study in history.studies] == ["first", "last"]
            assert list(history.left_out) == ["odd"]
            assert any(part in history.left_out["odd"] for part in reason.split("|"))
            assert "\n" not in history.left_out["odd"]


class Unknown(RDBStorage):
    """A subclass, which is read by its methods."""


@pytest.mark.parametrize(
    "statement",
    [
        distribution("UniformDistribution", low=0.0, high=1.0),
        distribution("CategoricalDistribution", choices=["a", "b", "c"]),
        distribution("CategoricalDistribution", choices=[["a"], {"b": None}]),
        f"UPDATE trials SET datetime_start = NULL, datetime_complete = NULL WHERE {OF_ODD}",
        "UPDATE trial_params SET param_value = NULL WHERE param_name = 'x' AND trial_id = 7",
        "UPDATE trial_values SET value = NULL WHERE trial_id = 7",
        attribute("study", "NaN"),
        attribute("study", "[" * 100_000),  # too long for a meta-feature
        attribute("study", json.dumps("long " * 10_000)),
        attribute("trial", "null"),
    ],
)
def test_an_unusual_study_is_read(database: Path, statement: str) -> None:
    execute(database, statement)
    history = read_history(get_storage(f"sqlite:///{database}"))
    assert [study.name for study in history.studies] == NAMES
    assert history.left_out == {}


class Damaged(InMemoryStorage):
    """The study "odd" cannot be read."""

    def get_all_trials(self, study_id: int, *args: Any, **options: Any) -> list[FrozenTrial]:
        if self.get_study_name_from_id(study_id) == "odd":
            raise OSError("a block\nis bad " + 1000 * "x")
        return super().get_all_trials(study_id, *args, **options)


def test_a_study_whose_storage_raises_is_left_out_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    storage = fill(Damaged())
    history, again = read_history(storage), read_history(storage)
    assert history == again
    assert [study.name for study in history.studies] == ["first", "last"]
    assert history.left_out["odd"].startswith("it cannot be read (OSError: a block is bad")
    assert len(history.left_out["odd"]) < 300
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warning.startswith("1 of 3 past studies in Damaged cannot be used. 'odd': it cannot")


def test_no_readable_study_is_an_error() -> None:
    with pytest.raises(HistoryError, match=r"No past study .*'odd': it cannot be read.*Check"):
        read_history(fill(Damaged()), names=["odd"])


def test_a_study_can_be_named_beside_a_damaged_one(database: Path) -> None:
    execute(database, attribute("study", "{"))
    assert study_names(get_storage(f"sqlite:///{database}")) == NAMES
    assert check_source(database, ["first"]) == ("first",)
    assert check_source(database, ["missing"]) == ("missing",)
    history = read_history(get_storage(f"sqlite:///{database}"), names=["last", "missing"])
    assert [study.name for study in history.studies] == ["last"]
    assert history.left_out == {}
    (problem,) = history.problems
    assert "no study 'missing'. It has: " in problem
    assert "'odd'" in problem


def test_own_attributes_that_cannot_be_read_are_a_history_error(database: Path) -> None:
    study = optuna.load_study(storage=f"sqlite:///{database}", study_name="odd")
    execute(database, attribute("study", "{"))
    with pytest.raises(HistoryError, match="JSONDecodeError"):
        own_features(study)
    history = with_own_trials(read_past(study, None, None), study)
    assert [past.name for past in history.studies] == ["first", "last"]
    assert history.left_out == {}


def broken(*_: object) -> Any:
    raise AttributeError("a bug")


@pytest.mark.parametrize("name", ["rdb_reader._bare_trials", "scores.rank_trials"])
def test_a_bug_is_not_taken_for_damage(
    database: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(f"optuna_metallmix.history.{name}", broken)
    with pytest.raises(AttributeError, match="a bug"):
        read_history(get_storage(f"sqlite:///{database}"))


def test_a_storage_that_cannot_list_its_studies_is_an_error() -> None:
    class Closed(InMemoryStorage):
        def get_all_studies(self) -> Any:
            raise ConnectionError("closed\n" * 99)

    read: Callable[[BaseStorage], History | list[str]]
    for read in (read_history, study_names):
        with pytest.raises(
            HistoryError, match=r"ConnectionError: closed closed .* \.\.\.\)\. Check"
        ):
            read(Closed())

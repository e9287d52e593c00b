from __future__ import annotations

import ast
import copy
import os
import shutil
import warnings
from collections.abc import Callable
from collections.abc import Iterator
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.storages import BaseStorage
from optuna.storages import GrpcStorageProxy
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal import JournalRedisBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import create_trial

import optuna_metallmix
from optuna_metallmix.optuna_access import _database_location
from optuna_metallmix.optuna_access import close_storage
from optuna_metallmix.optuna_access import describe_storage
from optuna_metallmix.optuna_access import find_study
from optuna_metallmix.optuna_access import is_enqueued
from optuna_metallmix.optuna_access import is_single_objective
from optuna_metallmix.optuna_access import plain_rdb_engine
from optuna_metallmix.optuna_access import same_storage
from optuna_metallmix.optuna_access import storage_of
from optuna_metallmix.optuna_access import study_id_of
from optuna_metallmix.optuna_access import study_key


PACKAGE = Path(optuna_metallmix.__file__).parent
PRIVATE_ATTRIBUTES = {"_storage", "_study_id", "_trial_id", "_backend", "_file_path"}


def _private_uses(path: Path) -> Iterator[str]:
    """Return the private names of Optuna that a file imports or reads from another object."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "optuna":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in names if "._" in name)
        elif isinstance(node, ast.Attribute) and node.attr in PRIVATE_ATTRIBUTES:
            owner = node.value.id if isinstance(node.value, ast.Name) else None
            yield from [node.attr] * (owner != "self")


def test_only_one_module_uses_private_names_of_optuna() -> None:
    used = {path.name: sorted(_private_uses(path)) for path in PACKAGE.rglob("*.py")}
    assert used.pop("optuna_access.py")
    assert {name: names for name, names in used.items() if names} == {}


def _journal(path: Path | str) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path)))


def test_storages_in_the_same_place_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    absolute = get_storage(f"sqlite:///{tmp_path / 'a.db'}")
    assert same_storage(absolute, get_storage("sqlite:///a.db"))
    assert not same_storage(absolute, get_storage("sqlite:///b.db"))
    assert same_storage(_journal("a.jsonl"), _journal(tmp_path / "a.jsonl"))
    assert not same_storage(_journal("a.jsonl"), absolute)


@pytest.mark.parametrize(
    "name",
    [
        "sqlite:///{folder}/a.db",
        "sqlite+pysqlite:///a.db?timeout=5",
        "sqlite:///file:a.db?uri=true",
        "sqlite:///file:{folder}/a.db?mode=rwc&uri=true",
        "sqlite:///file://{folder}/%61.db?uri=TRUE",
        "sqlite:///link.db",
    ],
)
def test_one_file_has_many_urls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    first = get_storage("sqlite:///a.db")
    (tmp_path / "link.db").symlink_to(tmp_path / "a.db")
    second = get_storage(name.format(folder=tmp_path))
    assert same_storage(first, second)
    assert [path.name for path in tmp_path.glob("*a.db")] == ["a.db"]


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///:memory:", "sqlite:///file:a?mode=memory&cache=shared&uri=true"],
)
def test_a_database_in_memory_has_no_location(url: str) -> None:
    assert _database_location(sqlalchemy.make_url(url)) is None


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("postgresql://me:old@host/hpo", "postgresql+psycopg2://you:new@host/hpo", True),
        ("mysql+pymysql://host:3306/hpo", "mysql+mysqldb://host:3306/hpo", True),
        ("postgresql://host/hpo", "postgresql://host/other", False),
        ("postgresql://host/hpo", "postgresql://server/hpo", False),
        ("postgresql://host/hpo", "mysql://host/hpo", False),
        ("postgresql://host/hpo?options=-csearch_path=a", "postgresql://host/hpo", False),
    ],
)
def test_the_location_of_a_database_is_its_server_and_name(
    first: str, second: str, same: bool
) -> None:
    locations = [_database_location(sqlalchemy.make_url(url)) for url in (first, second)]
    assert (locations[0] == locations[1]) == same
    assert "old" not in str(locations[0])


def test_the_location_of_a_proxy_is_its_server() -> None:
    pytest.importorskip("grpc")
    first, second, other = (_proxy(port) for port in (13000, 13000, 13001))
    assert same_storage(first, second)
    assert not same_storage(first, other)
    assert describe_storage(first) == "grpc://localhost:13000"


def _proxy(port: int) -> GrpcStorageProxy:
    with warnings.catch_warnings():  # experimental
        warnings.simplefilter("ignore")
        return GrpcStorageProxy(host="localhost", port=port)


def test_the_location_of_a_journal_on_redis_is_its_server_and_prefix() -> None:
    pytest.importorskip("redis")
    first = _redis("redis://:secret@localhost")
    assert same_storage(first, _redis("redis://localhost:6379/0"))
    assert not same_storage(first, _redis("redis://localhost/1"))
    assert not same_storage(first, _redis("redis://localhost", prefix="mine"))
    assert "secret" not in describe_storage(first)


def _redis(url: str, prefix: str = "") -> JournalStorage:
    class Unconnected(JournalRedisBackend):
        def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
            return iter(())

        def load_snapshot(self) -> None:
            return None

    with warnings.catch_warnings():  # experimental
        warnings.simplefilter("ignore")
        return JournalStorage(Unconnected(url, prefix=prefix))


def test_storages_in_memory_are_the_same_only_if_identical() -> None:
    memory = InMemoryStorage()
    assert same_storage(memory, memory)
    assert not same_storage(memory, InMemoryStorage())
    first, second = get_storage("sqlite://"), get_storage("sqlite://")
    assert same_storage(first, first)
    assert not same_storage(first, second)


def test_storages_are_described_by_their_place(tmp_path: Path) -> None:
    assert "a.db" in describe_storage(get_storage(f"sqlite:///{tmp_path / 'a.db'}"))
    assert describe_storage(_journal(tmp_path / "a.jsonl")) == str(tmp_path / "a.jsonl")
    assert describe_storage(InMemoryStorage()) == "InMemoryStorage"


def test_a_closed_database_can_be_used_again(tmp_path: Path) -> None:
    storage = get_storage(f"sqlite:///{tmp_path / 'a.db'}")
    optuna.create_study(storage=storage, study_name="a")
    close_storage(storage)
    assert plain_rdb_engine(storage).pool.checkedin() == 0  # type: ignore[union-attr,attr-defined]
    assert [study.study_name for study in storage.get_all_studies()] == ["a"]
    close_storage(InMemoryStorage())


def test_enqueued_trials_are_known_before_and_after_they_start() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"x": 1})
    assert is_enqueued(study.trials[0])
    study.ask()
    assert is_enqueued(study.trials[0])
    study.ask()
    assert not is_enqueued(study.trials[1])


def test_one_direction_is_a_single_objective() -> None:
    assert is_single_objective(optuna.create_study())
    assert not is_single_objective(optuna.create_study(directions=["minimize", "maximize"]))


class Forwarding(InMemoryStorage):
    """An unknown kind of storage, such as a proxy, whose server may be in another time zone."""

    def __init__(self, server: BaseStorage, offset: timedelta = timedelta(0)) -> None:
        super().__init__()
        self.server, self.offset = server, offset

    def get_study_id_from_name(self, study_name: str) -> int:
        return self.server.get_study_id_from_name(study_name)

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return self.server.get_trial_id_from_study_id_trial_number(study_id, trial_number)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        trial = copy.copy(self.server.get_trial(trial_id))
        if trial.datetime_start is not None:
            trial.datetime_start = trial.datetime_start.astimezone(UTC) + self.offset
        return trial


def _study(storage: BaseStorage | str, name: str = "mine", n_trials: int = 1) -> optuna.Study:
    study = optuna.create_study(storage=storage, study_name=name)
    for _ in range(n_trials):
        study.ask()
    return study


def _sqlite(path: Path) -> BaseStorage:
    return get_storage(f"sqlite:///{path}")


@pytest.mark.parametrize("open_storage", [_sqlite, _journal])
@pytest.mark.parametrize("n_trials", [0, 1, 2])
def test_a_study_is_found_through_any_storage(
    tmp_path: Path, open_storage: Callable[[Path], BaseStorage], n_trials: int
) -> None:
    storage = open_storage(tmp_path / "a")
    _study(storage, "first")
    study = _study(storage, n_trials=n_trials)
    other = open_storage(tmp_path / "a")
    hours = (0, -11, 5.75, 14)
    proxies = [Forwarding(other, timedelta(hours=offset)) for offset in hours]
    for found in (storage, other, *proxies):
        assert find_study(study, found) == study_id_of(study)


def test_a_copied_study_is_found_under_its_id_there(tmp_path: Path) -> None:
    study, copied = _study(InMemoryStorage(), n_trials=2), InMemoryStorage()
    _study(copied, "first")
    optuna.copy_study(from_study_name="mine", from_storage=storage_of(study), to_storage=copied)
    assert find_study(study, copied) == 1 != study_id_of(study)


def test_another_study_of_the_same_name_is_not_found() -> None:
    study = _study(InMemoryStorage())
    assert find_study(study, InMemoryStorage()) is None
    assert find_study(study, storage_of(_study(InMemoryStorage()))) is None
    assert find_study(study, storage_of(_study(InMemoryStorage(), n_trials=0))) is None
    assert find_study(_study(InMemoryStorage(), n_trials=0), storage_of(study)) is None


def _imported(storage: BaseStorage, *values: float) -> optuna.Study:
    """A study whose trials started at midnight, as those of a table with dates do."""
    study = _study(storage, n_trials=0)
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
    for value in values:
        trial = create_trial(params={"x": value}, distributions=space, value=value)
        trial.datetime_start = trial.datetime_complete = datetime(2025, 1, 1 + len(study.trials))
        study.add_trial(trial)
    return study


def test_imported_studies_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    study = _imported(_sqlite(tmp_path / "a.db"), 0.5, 0.25)
    assert find_study(study, _sqlite(tmp_path / "a.db")) == study_id_of(study)
    assert find_study(study, storage_of(_imported(InMemoryStorage(), 0.5, 0.25))) == 0
    assert find_study(study, storage_of(_imported(InMemoryStorage(), 0.5, 0.75))) is None
    assert find_study(study, storage_of(_imported(InMemoryStorage(), 0.5))) is None


def test_a_study_that_has_more_trials_by_now_is_found(tmp_path: Path) -> None:
    older = Path(shutil.copy(_file_with_a_study(tmp_path / "a.db"), tmp_path / "copy.db"))
    behind = optuna.load_study(study_name="mine", storage=_sqlite(older))
    behind.ask()
    assert find_study(behind, _sqlite(tmp_path / "a.db")) is None
    study = optuna.load_study(study_name="mine", storage=_sqlite(tmp_path / "a.db"))
    assert find_study(study, _sqlite(older)) == study_id_of(study)


def _file_with_a_study(path: Path) -> Path:
    _study(_sqlite(path))
    return path


def test_enqueued_trials_are_compared_by_their_parameters() -> None:
    first, second, third = (_study(InMemoryStorage(), n_trials=0) for _ in range(3))
    for study, value in ((first, 1), (second, 1), (third, 2)):
        study.enqueue_trial({"x": value})
    assert find_study(first, storage_of(second)) == 0
    assert find_study(first, storage_of(third)) is None


class Unreadable(InMemoryStorage):
    def get_trial(self, trial_id: int) -> FrozenTrial:
        raise OSError("Input/output error")


def test_a_study_that_cannot_be_compared_is_not_its_own_past() -> None:
    study, unreadable = _study(InMemoryStorage()), Unreadable()
    study_id = unreadable.create_new_study([StudyDirection.MINIMIZE], "mine")
    unreadable.create_new_trial(study_id)
    assert find_study(study, unreadable) == study_id


@pytest.mark.skipif(not hasattr(os, "link"), reason="there are no hard links")
@pytest.mark.parametrize("open_storage", [_sqlite, _journal])
def test_a_study_is_found_through_a_hard_link(
    tmp_path: Path, open_storage: Callable[[Path], BaseStorage]
) -> None:
    study = _study(open_storage(tmp_path / "a"))
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert find_study(study, open_storage(tmp_path / "b")) == study_id_of(study)


@pytest.mark.parametrize("url", ["redis://:a/b@host", "redis://host:port", "redis://[host"])
def test_an_unusual_address_has_no_location(url: str) -> None:
    backend = object.__new__(JournalRedisBackend)
    backend._url, backend._prefix = url, ""
    storage = object.__new__(JournalStorage)
    storage._backend = backend
    assert describe_storage(storage) == "JournalRedisBackend"


def test_a_deleted_working_folder_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    study = _study(_journal("a.jsonl"))
    shutil.rmtree(folder)
    assert describe_storage(storage_of(study))
    assert study_key(study)[1] == "mine"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///{folder}/a.db?password=s3cret",
        "sqlite:///{folder}/a.db?sslpassword=s3cret&timeout=5",
    ],
)
def test_storages_are_described_without_passwords_among_options(tmp_path: Path, url: str) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    storage = RDBStorage(f"sqlite:///{tmp_path / 'a.db'}")
    storage.engine = engine
    engine.url = sqlalchemy.make_url(url.format(folder=tmp_path))
    assert "s3cret" not in describe_storage(storage)
    assert "a.db" in describe_storage(storage)


def test_a_study_whose_first_trial_waits_is_found(tmp_path: Path) -> None:
    study = _study(_journal(tmp_path / "a.jsonl"), n_trials=0)
    study.enqueue_trial({"x": 1})
    assert find_study(study, _journal(tmp_path / "a.jsonl")) == study_id_of(study)
    assert find_study(study, storage_of(_study(InMemoryStorage()))) is None

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history.history import read_past
from optuna_metallmix.history.history import with_own_trials
from optuna_metallmix.history.open_storage import _open_url
from optuna_metallmix.history.open_storage import open_source
from optuna_metallmix.settings import check_source


AddStudy = Callable[..., optuna.Study]


@pytest.fixture
def journal(tmp_path: Path, add_study: AddStudy) -> Path:
    path = tmp_path / "past.jsonl"
    add_study(JournalStorage(JournalFileBackend(str(path))), "skin", n_trials=3)
    return path


@pytest.fixture
def database(tmp_path: Path, add_study: AddStudy) -> Path:
    path = tmp_path / "hpo.db"
    add_study(get_storage(f"sqlite:///{path}"), "skin", n_trials=3)
    return path


def _names(source: Any) -> list[str]:
    with open_source(source) as storage:
        return [study.study_name for study in storage.get_all_studies()]


def _state(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }


def test_journal_by_path(journal: Path) -> None:
    before = _state(journal.parent)
    assert _names(str(journal)) == _names(journal) == ["skin"]
    assert _state(journal.parent) == before


def test_sqlite_by_path_and_by_url(database: Path) -> None:
    before = _state(database.parent)
    assert _names(str(database)) == _names(database) == ["skin"]
    assert _names(f"sqlite:///{database}") == ["skin"]
    assert _names(f"sqlite+pysqlite:///{database}?timeout=5") == ["skin"]
    assert _state(database.parent) == before


def test_relative_paths(database: Path, journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(database.parent)
    assert _names("hpo.db") == _names("sqlite:///hpo.db") == _names("past.jsonl") == ["skin"]


@pytest.mark.parametrize("name", ["past 100%25 {SCHEMA_VERSION} ümlaut?#.db", "file:past.db"])
def test_any_file_name(tmp_path: Path, database: Path, journal: Path, name: str) -> None:
    for file in (database, journal):
        path = Path(shutil.copy(file, tmp_path / name))
        assert _names(path) == _names(path.as_uri()) == ["skin"]


@pytest.mark.parametrize(
    "uri",
    [
        "file:hpo.db",
        "file:hpo.db?mode=ro",
        "file:{folder}/hpo.db",
        "file://{folder}/hp%6F.db?mode=ro&cache=private",
        "file://localhost{folder}/hpo.db",
        "file:past.jsonl",
        "file://{folder}/past.jsonl",
        "sqlite:///file:hpo.db?uri=true",
        "sqlite:///file:hpo.db?mode=ro&uri=true&timeout=5",
        "sqlite:///file:{folder}/hpo.db?mode=ro&uri=true",
        "sqlite+pysqlite:///file:///{folder}/hpo.db?mode=ro&uri=true",
        "~/hpo.db",
    ],
)
def test_uris_and_the_home_folder(
    database: Path, journal: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.chdir(database.parent)
    monkeypatch.setenv("HOME", str(database.parent))
    before = _state(database.parent)
    assert _names(uri.format(folder=database.parent)) == ["skin"]
    assert _state(database.parent) == before


@pytest.mark.parametrize("uri", ["file://hpo.db", "sqlite:///file://hpo.db?uri=true"])
def test_a_uri_with_two_slashes_is_an_error(uri: str) -> None:
    with pytest.raises(HistoryError, match="write file:///absolute/path or file:relative/path"):
        _names(uri)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_an_empty_database_in_memory_is_an_error(url: str) -> None:
    with pytest.raises(HistoryError, match="contains no Optuna studies"):
        _names(url)


@pytest.mark.parametrize("source", ["{name}", "file:{name}", "sqlite:///{name}", "./{name}"])
def test_a_study_is_not_its_own_past(
    database: Path, monkeypatch: pytest.MonkeyPatch, add_study: AddStudy, source: str
) -> None:
    monkeypatch.chdir(database.parent)
    (database.parent / "link.db").symlink_to(database)
    study = add_study(get_storage(f"sqlite:///{database}"), "mine", n_trials=4)
    for name in ("hpo.db", "link.db"):
        history = with_own_trials(read_past(study, source.format(name=name), None), study)
        assert [(past.name, past.is_target) for past in history.studies] == [
            ("skin", False),
            ("mine", True),
        ]
        assert history.is_own_storage
        named = read_past(study, source.format(name=name), ["skin", "mine"])
        assert [past.name for past in named.studies] == ["skin"]


def test_another_study_of_the_same_name_is_past(
    database: Path, tmp_path: Path, add_study: AddStudy
) -> None:
    study = add_study(InMemoryStorage(), "skin", n_trials=4)
    history = read_past(study, database, None)
    assert [past.name for past in history.studies] == ["skin"]
    assert not history.is_own_storage


@pytest.fixture
def n_open() -> Iterator[Counter[str]]:
    """Counts the database connections that are opened and closed."""
    counts: Counter[str] = Counter()
    listeners = {
        name: lambda *_, name=name: counts.update([name]) for name in ("connect", "close")
    }
    for name, listener in listeners.items():
        sqlalchemy.event.listen(sqlalchemy.Pool, name, listener)
    yield counts
    for name, listener in listeners.items():
        sqlalchemy.event.remove(sqlalchemy.Pool, name, listener)


def test_connections_are_closed(database: Path, n_open: Counter[str]) -> None:
    assert _names(database) == ["skin"]
    check_source(f"sqlite:///{database}", ["skin"])
    read_past(optuna.create_study(), database, None)
    assert n_open["connect"] == n_open["close"] > 0


def test_a_storage_object_is_left_open(database: Path, n_open: Counter[str]) -> None:
    assert _names(get_storage(f"sqlite:///{database}")) == ["skin"]
    assert n_open["connect"] > n_open["close"]


def test_a_storage_object_is_used_as_it_is() -> None:
    storage = InMemoryStorage()
    with open_source(storage) as opened:
        assert opened is storage


@pytest.mark.parametrize(
    "source",
    [
        "missing.jsonl",
        "missing.db",
        "sqlite:///missing.db",
        "sqlite+pysqlite:///missing.db",
        "sqlite:///missing.db?timeout=5",
        "folder/missing.db",
        "file:missing.db",
        "file:///missing/past.jsonl",
        "sqlite:///file:missing.db?mode=ro&uri=true",
        "sqlite:///file:missing.db",
        "~/missing/past.db",
        ".",
    ],
)
def test_a_missing_file_is_an_error_and_not_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HistoryError, match=r"there is no file .*Pass a journal file"):
        _names(source)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("by_url", [True, False])
def test_a_database_without_studies_is_an_error_and_unchanged(
    tmp_path: Path, by_url: bool
) -> None:
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE customers (name TEXT)")
        database.commit()
    before = _state(tmp_path)
    with pytest.raises(HistoryError, match="contains no Optuna studies"):
        _names(f"sqlite:///{path}" if by_url else path)
    assert _state(tmp_path) == before


@pytest.mark.parametrize("content", [b"", b"plain text", b"SQLite format 3\x00 but broken" * 99])
def test_the_url_of_another_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hpo.db"
    path.write_bytes(content)
    with pytest.raises(HistoryError, match=r"hpo\.db"):
        _names(f"sqlite:///{path}")
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"lr,acc\n0.1,0.5\n", b"\x00\x01", b"[1]", b"\xef\xbb\xbf{}"])
def test_another_file_is_an_error_and_unchanged(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "past.csv"
    path.write_bytes(content)
    with pytest.raises(HistoryError, match="neither an SQLite file nor a readable Optuna journal"):
        _names(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "line",
    [
        '{"not": "a journal"}',
        "{broken",
        '{"op_code": 0}',
        '{"op_code": 99, "worker_id": "x"}',
        '{"op_code": null, "worker_id": "x"}',
        '{"op_code": 0, "worker_id": "x", "study_name": "s", "directions": [7]}',
        '{"op_code": 0, "worker_id": "x", "study_name": "s", "directions": 7}',
        "{\xff}",
    ],
)
def test_a_damaged_journal_is_an_error(tmp_path: Path, line: str) -> None:
    path = tmp_path / "past.jsonl"
    path.write_text(f"{line}\n{line}\n", encoding="latin-1")
    with pytest.raises(HistoryError, match="neither an SQLite file nor a readable Optuna journal"):
        _names(path)


def test_journal_cut_in_its_last_line_still_opens(journal: Path) -> None:
    with journal.open("a") as file:
        file.write(json.dumps({"op_code": 0})[:5])
    assert _names(journal) == ["skin"]


@pytest.mark.parametrize("url", ["nosuchdb://host/name", "redis://host", "://", "mysql+no://h/d"])
def test_a_url_that_cannot_be_opened_is_an_error(url: str) -> None:
    with pytest.raises(HistoryError, match="cannot be opened"):
        _names(url)


@pytest.mark.parametrize("password", ["s3cret", "s3cr@t", ""])
def test_passwords_are_hidden(password: str) -> None:
    with pytest.raises(HistoryError, match="cannot be opened") as caught:
        _names(f"nosuchdb://me:{password}@host/name")
    assert "://me:***@host/name" in str(caught.value)
    assert "s3cr" not in str(caught.value)


@pytest.mark.parametrize("source", [5, b"past.db", ["past.db"], object(), True])
def test_other_types_are_an_error(source: Any) -> None:
    with pytest.raises(TypeError, match=r"source_storage=.* must be a path, a database URL or"):
        _names(source)


def test_a_study_is_not_a_source() -> None:
    study: Any = optuna.create_study()
    with pytest.raises(TypeError, match="must be a path, a database URL or an Optuna storage"):
        _names(study)


def test_database_server_without_studies_gets_no_tables(tmp_path: Path) -> None:
    # Opened like the URL of a server, which is not available here.
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE mine (a)")
    with pytest.raises(HistoryError, match="contains no Optuna studies"):
        _open_url(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]

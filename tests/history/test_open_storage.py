from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history import open_storage
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


def _storage(source: Any) -> BaseStorage:
    with open_source(source) as storage:
        return storage


@pytest.mark.parametrize("kind", ["database", "journal"])
def test_an_address_is_opened_once_as_long_as_its_file_is_the_same(
    tmp_path: Path, request: pytest.FixtureRequest, add_study: AddStudy, kind: str
) -> None:
    path: Path = request.getfixturevalue(kind)
    storage = _storage(path)
    assert _storage(path) is _storage(str(path)) is storage
    add_study(storage, "chest", n_trials=3)
    assert _storage(path) is storage
    shutil.copy(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    assert _storage(path) is not storage
    assert _names(path) == ["skin", "chest"]
    path.unlink()
    with pytest.raises(HistoryError, match="there is no file"):
        _names(path)


def test_a_journal_that_is_written_anew_is_read_anew(journal: Path, add_study: AddStudy) -> None:
    assert _names(journal) == ["skin"]
    for name in ("chest", "retina"):  # a shorter file, and one that is longer, with the same inode
        other = journal.with_name("other.jsonl")
        add_study(JournalStorage(JournalFileBackend(str(other))), name, n_trials=len(name) - 4)
        journal.write_bytes(other.read_bytes())
        other.unlink()
        assert _names(journal) == [name]


def test_a_journal_that_was_read_in_part_is_opened_anew(journal: Path) -> None:
    storage = _storage(journal)
    with journal.open("a") as file:
        file.write('{"op_code": 99, "worker_id": "x"}\n')
    with pytest.raises(HistoryError, match="cannot be read"):
        read_past(optuna.create_study(), journal, None)
    with pytest.raises(HistoryError, match="neither an SQLite file nor a readable"):
        _names(journal)
    lines = journal.read_text().splitlines(keepends=True)[:-1]
    journal.write_text("".join(lines))
    assert _names(journal) == ["skin"]
    assert _storage(journal) is not storage


def test_the_number_of_storages_that_are_kept_is_bounded(tmp_path: Path, database: Path) -> None:
    for i in range(20):
        _names(shutil.copy(database, tmp_path / f"{i}.db"))
    assert len(open_storage._KEPT) <= open_storage._MAX_KEPT


def test_a_relative_path_depends_on_the_working_folder(
    tmp_path: Path, database: Path, add_study: AddStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    add_study(get_storage(f"sqlite:///{folder / 'hpo.db'}"), "chest", n_trials=3)
    for where, name in ((tmp_path, "skin"), (folder, "chest"), (tmp_path, "skin")):
        monkeypatch.chdir(where)
        assert _names("hpo.db") == _names("sqlite:///hpo.db") == [name]


def test_an_absolute_path_works_in_a_deleted_folder(
    tmp_path: Path, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    shutil.rmtree(folder)
    assert _names(journal) == ["skin"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("kind", ["database", "journal"])
def test_a_forked_child_opens_the_source_anew(request: pytest.FixtureRequest, kind: str) -> None:
    path: Path = request.getfixturevalue(kind)
    with open_source(path) as storage, open_storage._LOCK:
        lock: Any = getattr(storage, "_thread_lock", None) or storage._lock  # type: ignore[attr-defined]
        with lock:  # as another thread may hold it
            child = os.fork()
            if child == 0:
                try:
                    os._exit(0 if _names(path) == ["skin"] else 1)
                finally:
                    os._exit(2)  # an error must not go on with the other tests
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_readers_have_one_connection_at_a_time(
    database: Path, n_open: Counter[str], add_study: AddStudy
) -> None:
    study = add_study(InMemoryStorage(), "mine", n_trials=3)
    n_most = 0

    def count(*_: Any) -> None:
        nonlocal n_most
        n_most = max(n_most, n_open["connect"] - n_open["close"])

    sqlalchemy.event.listen(sqlalchemy.Pool, "checkout", count)
    with ThreadPoolExecutor(6) as pool:
        histories = list(pool.map(lambda _: read_past(study, database, None), range(6)))
    sqlalchemy.event.remove(sqlalchemy.Pool, "checkout", count)
    assert all(history == histories[0] for history in histories)
    assert n_open["connect"] == n_open["close"]
    assert n_most == 1


def test_the_database_of_the_study_is_not_opened_twice(
    database: Path, n_open: Counter[str], add_study: AddStudy
) -> None:
    url = f"sqlite:///{database}"
    study = add_study(get_storage(url), "mine", n_trials=3)
    before = n_open["connect"]
    assert [past.name for past in read_past(study, url, None).studies] == ["skin"]
    assert n_open["connect"] == before


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("source", ["{path}", "file:{path}", "sqlite:///{path}"])
def test_a_pipe_is_no_file_and_is_not_waited_for(tmp_path: Path, source: str) -> None:
    os.mkfifo(tmp_path / "past.db")
    with pytest.raises(HistoryError, match=r"there is no file .*past\.db"):
        _names(source.format(path=tmp_path / "past.db"))


@pytest.mark.parametrize("source", ["{path}", "sqlite:///{path}", "file:{path}"])
def test_links_in_a_circle_are_an_error(tmp_path: Path, source: str) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(HistoryError, match=r"source_storage: .*Check"):
        _names(source.format(path=tmp_path / "a"))


@pytest.mark.parametrize("source", ["a\0b", "~nobody-of-that-name/past.db", "x" * 5_000])
def test_an_impossible_path_is_an_error(source: str) -> None:
    with pytest.raises(HistoryError, match=r"source_storage: .*Check|there is no file"):
        _names(source)


@contextmanager
def _without_rights() -> Iterator[None]:
    """Give up root's right to read every file."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="there are no such rights")
@pytest.mark.parametrize("source", ["{path}", "sqlite:///{path}", "file:{path}"])
@pytest.mark.parametrize("kind", ["database", "journal"])
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_file_that_may_not_be_read_is_an_error(
    request: pytest.FixtureRequest, source: str, kind: str, what: str
) -> None:
    path: Path = request.getfixturevalue(kind)
    _names(path)  # it was readable before
    (path if what == "file" else path.parent).chmod(0)
    try:
        with _without_rights(), pytest.raises(HistoryError, match=r"source_storage: .* cannot be"):
            read_past(optuna.create_study(), source.format(path=path), None)
    finally:
        (path if what == "file" else path.parent).chmod(0o700)


@pytest.fixture
def public_database(database: Path) -> Iterator[Path]:
    """A database whose folder everyone may enter, unlike pytest's."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(shutil.copy(database, folder))
        Path(folder).chmod(0o700)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="there are no such rights")
@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.parametrize("source", ["{path}", "sqlite:///{path}", "file:{path}"])
def test_a_database_that_may_not_be_read_is_not_to_be_repaired(
    public_database: Path, source: str, what: str
) -> None:
    (public_database if what == "file" else public_database.parent).chmod(0)
    with _without_rights(), pytest.raises(HistoryError) as caught:
        _names(source.format(path=public_database))
    assert "Permission denied" in str(caught.value)
    assert str(caught.value).endswith("Check that it exists and that you may read it.")


@pytest.mark.parametrize("source", ["{path}", "sqlite:///{path}", "file:{path}"])
def test_a_locked_database_is_not_to_be_repaired(
    database: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0))  # no waiting
    with closing(sqlite3.connect(database)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(HistoryError, match=r"locked.*Another program is writing to it: try"):
            _names(source.format(path=database))
    assert _names(source.format(path=database)) == ["skin"]


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="there are no such rights")
def test_a_database_beside_which_no_file_can_be_made_is_not_to_be_repaired(
    public_database: Path,
) -> None:
    """SQLite's write-ahead log needs one, also to read."""
    with closing(sqlite3.connect(public_database)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
    public_database.chmod(0o444)
    public_database.parent.chmod(0o555)
    with _without_rights(), pytest.raises(HistoryError, match="may read it, and write to its"):
        _names(f"sqlite:///{public_database}")


@pytest.mark.parametrize("source", ["{path}", "sqlite:///{path}", "file:{path}"])
def test_a_folder_is_no_database(tmp_path: Path, source: str) -> None:
    with pytest.raises(HistoryError, match="there is no file"):
        _names(source.format(path=tmp_path))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that fails")
@pytest.mark.parametrize("source", ["/proc/self/mem", "file:/proc/self/mem"])
def test_a_file_whose_device_fails_is_an_error(source: str) -> None:
    with pytest.raises(HistoryError, match=r"Input/output error.*Check"):
        _names(source)


def test_a_journal_that_cannot_be_read_any_more_is_an_error(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _names(journal)

    def fail(*_: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(JournalFileBackend, "read_logs", fail)
    with pytest.raises(HistoryError, match=r"OSError: .*Input/output error.*Check"):
        read_past(optuna.create_study(), journal, None)
    journal.touch()
    monkeypatch.undo()
    assert _names(journal) == ["skin"]


def test_a_database_that_refuses_connections_is_not_told_to_have_no_studies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Refusing:
        """The driver of a database that is full."""

        def __getattr__(self, name: str) -> Any:
            return getattr(sqlite3, name)

        def connect(self, *_: Any, **__: Any) -> Any:
            raise sqlite3.OperationalError("FATAL: sorry, too many clients already")

    dialect = sqlalchemy.dialects.registry.load("sqlite")
    monkeypatch.setattr(dialect, "import_dbapi", classmethod(lambda _: Refusing()))
    with pytest.raises(HistoryError, match=r"cannot be opened .*too many clients") as caught:
        _open_url("sqlite://")
    assert "no Optuna studies" not in str(caught.value)


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


@pytest.mark.parametrize("password", ["s3cret", "s3cr@t", "s3cr/t", "s3cr:t", "s3cr#t?", ""])
@pytest.mark.parametrize("scheme", ["nosuchdb", "postgresql+nodriver", "redis", "mysql+no"])
def test_passwords_are_hidden(scheme: str, password: str) -> None:
    with pytest.raises(HistoryError, match="cannot be opened") as caught:
        _names(f"{scheme}://me:{password}@host/name")
    assert "://me:***@host/name" in str(caught.value)
    assert "s3cr" not in str(caught.value)


def test_passwords_among_the_options_are_hidden() -> None:
    with pytest.raises(HistoryError, match="cannot be opened") as caught:
        _names("nosuchdb://host/name?user=me&password=s3cret&sslmode=require")
    assert "user=me&password=***&sslmode=require" in str(caught.value)
    assert "s3cret" not in str(caught.value)


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

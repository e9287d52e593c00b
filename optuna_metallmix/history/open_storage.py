"""Open a storage of past studies from a path, a URL or a storage object, without changing it.

Optuna creates what is missing: an SQLite file, its tables, a journal. So this module checks the
file first. What was opened from a path or URL is kept for the next reader in this process, because
opening a journal reads all of it. A database has no connection open between reads.
"""

from __future__ import annotations

import os
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import closing
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from stat import S_ISREG
from textwrap import shorten
from typing import Any
from typing import TypeAlias
from urllib.parse import parse_qsl

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.fork_lock import ForkLock
from optuna_metallmix.history.rdb_reader import has_known_layout
from optuna_metallmix.optuna_access import close_storage
from optuna_metallmix.optuna_access import file_of_uri
from optuna_metallmix.optuna_access import sqlite_file
from optuna_metallmix.progress import status_line
from optuna_metallmix.shipped import PREFIX
from optuna_metallmix.shipped import shipped_past
from optuna_metallmix.text import hide_passwords
from optuna_metallmix.text import one_line
from optuna_metallmix.text import visible_error


Source: TypeAlias = str | os.PathLike[str] | BaseStorage

_SQLITE_MAGIC = b"SQLite format 3\x00"
_BUSY = "Another program is writing to it: try again once it has finished."
_NO_FILE_BESIDE = "Check that you may read it, and write to its folder."
_SQLITE_ADVICE = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_CANTOPEN: _NO_FILE_BESIDE,
    sqlite3.SQLITE_READONLY: _NO_FILE_BESIDE,
    sqlite3.SQLITE_IOERR: "Check its disk.",
}
"""What to do after an error of SQLite, by its kind; most others mean that the file is damaged."""
_NO_STUDIES = "contains no Optuna studies. Pass the database that your studies are stored in."
_N_COMPARED = 256
"""Number of bytes by which journals are told apart: the first line names its writer, at random."""


@dataclass(frozen=True)
class _Opened:
    """An opened storage.

    Attributes:
        storage: The storage.
        file: Its file; ``None`` for a server.
        identity: What changes if there is another file at that path.
        size: Size of the file in bytes; a journal only grows.
    """

    storage: BaseStorage
    file: Path | None
    identity: object = None
    size: int = 0

    @classmethod
    def of(cls, storage: BaseStorage, file: Path | None) -> _Opened:
        """Remember which file is at the path now."""
        return cls(storage, None) if file is None else cls(storage, file, *_identify(file))

    def is_current(self) -> bool:
        """Return whether the file is still the one that was opened."""
        if self.file is None:
            return True
        try:
            identity, size = _identify(self.file)
        except (OSError, HistoryError):  # opening it anew says what is wrong
            return False
        return identity == self.identity and size >= self.size


_KEPT: OrderedDict[tuple[str, str], _Opened] = OrderedDict()
"""What was opened in this process, by working folder and address; the latest used last."""
_MAX_KEPT = 8
_OPENING_ERRORS = (StorageInternalError, ImportError, RuntimeError, ValueError, LookupError)
"""What Optuna and drivers raise if a database cannot be opened."""
_LOCK = ForkLock()

if hasattr(os, "register_at_fork"):  # storages have locks that another thread may hold
    os.register_at_fork(after_in_child=_KEPT.clear)


@contextmanager
def open_source(source: Source, argument: str = "source_storage") -> Iterator[BaseStorage]:
    """Open a storage of past studies; no connection is left open when the context ends.

    Args:
        source: A journal file (``"past.jsonl"``) or an SQLite file, also as a ``file:`` URI, a
            database URL (``"sqlite:///past.db"``, ``"postgresql://..."``), a past that comes with
            the package (``"shipped:lightgbm"``, :func:`shipped_past`) or a storage object, which
            is used as it is and not closed. The same path or URL gives the same storage object as
            long as its file is the same.
        argument: What messages call the source: an argument or option that the user has passed.

    Raises:
        HistoryError: The source does not exist, cannot be read, or is not an Optuna storage.
        TypeError: The source is neither a path, a URL nor a storage.
    """
    if isinstance(source, BaseStorage):
        yield get_storage(source)
        return
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"{argument}={source!r} must be a path, a database URL or an Optuna storage."
        )
    try:
        storage = _open(os.fspath(source))
    except HistoryError as error:
        raise HistoryError(f"{argument}: {error}") from error
    try:
        yield storage
    except BaseException:
        _forget(storage)  # a journal may have been read in part
        raise
    finally:
        close_storage(storage)


def _open(source: str | bytes) -> BaseStorage:
    """Open an address, or return the storage that was opened for it before."""
    name = os.fsdecode(source)
    address = (_working_folder(), name)
    try:
        with _LOCK:
            opened = _KEPT.pop(address, None)
            if opened is None or not opened.is_current():
                opened = _open_anew(name)
            _KEPT[address] = opened
            while len(_KEPT) > _MAX_KEPT:
                _KEPT.popitem(last=False)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: no such home folder
        raise HistoryError(
            f"{hide_passwords(name)!r} cannot be read ({_describe(error)}). Check that it exists "
            "and that you may read it."
        ) from error
    return opened.storage


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted; absolute paths still work
        return ""


def _forget(storage: BaseStorage) -> None:
    with _LOCK:
        for address in [a for a, opened in _KEPT.items() if opened.storage is storage]:
            del _KEPT[address]


def _identify(file: Path) -> tuple[object, int]:
    """Return what changes if a file is replaced by another one, and its size in bytes."""
    status = _check_exists(file).stat()
    with file.open("rb") as opened:
        start = opened.read(_N_COMPARED)
    if start.startswith(_SQLITE_MAGIC):  # it has counters at its start, and may shrink
        return (status.st_dev, status.st_ino), 0
    return (status.st_dev, status.st_ino, start), status.st_size


def _open_anew(source: str) -> _Opened:
    if source.startswith(PREFIX):
        return _open_shipped(source.removeprefix(PREFIX))
    if source.startswith("file:"):
        return _open_uri(source)
    if "://" in source:
        return _open_url(source)
    path = Path(source).expanduser()
    return _open_file(path, str(path), {})


def _open_shipped(library: str) -> _Opened:
    try:
        return _Opened(shipped_past(library), None)
    except ValueError as error:
        raise HistoryError(str(error)) from error


def _open_uri(uri: str) -> _Opened:
    name, _, query = uri.partition("?")
    try:
        path = Path(file_of_uri(uri))
    except ValueError as error:
        raise HistoryError(f"{uri!r} is not the URI of a file: {error}.") from error
    return _open_file(path, name, {**dict(parse_qsl(query)), "uri": "true"})


def _open_file(path: Path, name: str, options: Mapping[str, str]) -> _Opened:
    """Open a journal, or an SQLite file by the name and options of its URL."""
    with _check_exists(path).open("rb") as file:
        start = file.read(len(_SQLITE_MAGIC))
    if start == _SQLITE_MAGIC:
        from sqlalchemy import URL

        return _open_url(URL.create("sqlite", database=name, query=options).render_as_string())
    try:
        if start and not start.startswith(b"{"):
            raise ValueError("it does not start with a JSON object")
        with status_line(f"Reading {path.name}"):  # opening a journal reads all of it
            return _Opened.of(JournalStorage(JournalFileBackend(str(path))), path)
    except OSError:
        raise
    except Exception as error:  # Optuna raises almost anything for a damaged journal.
        raise HistoryError(
            f"{str(path)!r} is neither an SQLite file nor a readable Optuna "
            f"journal ({_describe(error)}). Pass the file or URL that your studies are stored in."
        ) from error


def _open_url(url: str) -> _Opened:
    from sqlalchemy import make_url
    from sqlalchemy.exc import SQLAlchemyError

    shown = hide_passwords(repr(url))  # errors are logged and stored on trials
    try:
        if url.startswith("redis"):
            return _Opened(get_storage(url), None)
        parsed = make_url(url)
        path = sqlite_file(parsed) if parsed.get_backend_name() == "sqlite" else None
        if path is not None:
            _check_sqlite(path)
        return _Opened.of(_open_database(url), path)
    except (*_OPENING_ERRORS, SQLAlchemyError) as error:
        raise HistoryError(
            f"{shown} cannot be opened ({_describe(error, url)}). Check the URL, the driver and "
            "the database's Optuna version (`optuna storage upgrade`)."
        ) from error


def _open_database(url: str) -> BaseStorage:
    """Open a database so that it has a connection only while it is used.

    Raises:
        HistoryError: It has no tables of Optuna.
        SQLAlchemyError: It cannot be reached.
    """
    from sqlalchemy import NullPool
    from sqlalchemy import create_engine
    from sqlalchemy import inspect

    options: dict[str, Any] = {"poolclass": NullPool}
    open_database = partial(RDBStorage, url, options, skip_table_creation=True)
    try:
        # Optuna's check of the layout has a second connection.
        storage = open_database(skip_compatibility_check=True)
        return get_storage(storage if has_known_layout(storage) else open_database())
    except StorageInternalError as error:
        engine = create_engine(url, **options)
        if inspect(engine).has_table("studies"):
            raise
        reason = _describe(error, url)
        raise HistoryError(f"{hide_passwords(repr(url))} {_NO_STUDIES} ({reason})") from error


def _describe(error: BaseException, url: str = "") -> str:
    """Return a driver's error on one line; it may quote the URL."""
    text = str(visible_error(error))
    text = text.replace(url, hide_passwords(url)) if url else text
    return shorten(one_line(hide_passwords(text)), 300, placeholder=" ...") or type(error).__name__


def _check_sqlite(path: Path) -> None:
    with _check_exists(path).open("rb"):  # an OSError says more than SQLite does
        read_only = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(read_only, uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    except sqlite3.Error as error:
        # The lower byte is the kind of error; drivers other than CPython's may have none.
        kind = getattr(error, "sqlite_errorcode", 0) & 0xFF
        advice = _SQLITE_ADVICE.get(kind, "Repair or replace it.")
        raise HistoryError(f"{path} cannot be read as SQLite ({error}). {advice}") from error
    if "studies" not in tables:
        raise HistoryError(f"{path} {_NO_STUDIES}")


def _check_exists(path: Path) -> Path:
    """Check that there is a regular file; opening a pipe would wait for a writer.

    Raises:
        HistoryError: There is none.
        OSError: It cannot be examined.
    """
    try:
        is_file = S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_file = False
    if not is_file:
        raise HistoryError(
            f"there is no file {path}. Pass a journal file, an SQLite file or a database URL with "
            "Optuna studies."
        )
    return path

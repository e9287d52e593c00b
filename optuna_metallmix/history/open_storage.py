"""path, URL or storage object -> an opened storage that reading leaves as it was.

Optuna creates what it cannot find: a missing SQLite file, the tables in a file that is no Optuna
storage, a missing journal. So each is looked at first.
"""

from __future__ import annotations

import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.progress import line


Source: TypeAlias = str | os.PathLike[str] | BaseStorage

_SQLITE_URL = re.compile(r"sqlite(\+\w+)?:///(?P<path>[^?]*)")
_PASSWORD = re.compile(r"(://[^:/@]*:)[^/]*@")
_HIDDEN = r"\1***@"
_SQLITE_MAGIC = b"SQLite format 3\x00"


def open_source(source: Source) -> BaseStorage:
    """Open a storage of past studies.

    Args:
        source: A journal file (``"past.jsonl"``), a SQLite file, a database URL
            (``"sqlite:///past.db"``, ``"postgresql://..."``) or a storage object.

    Raises:
        HistoryError: It does not exist or is no Optuna storage.
        TypeError: It is neither a path, a URL nor a storage.
    """
    if isinstance(source, BaseStorage):
        return get_storage(source)
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"source_storage={source!r} must be a path, a database URL or an Optuna storage."
        )
    place = os.fspath(source)
    if match := _SQLITE_URL.match(place):
        return _open_sqlite(Path(match["path"]), place)
    return _opened(place) if "://" in place else _open_file(place)


def _open_file(place: str) -> BaseStorage:
    path = _existing(Path(place))
    with path.open("rb") as file:
        start = file.read(len(_SQLITE_MAGIC))
    if start == _SQLITE_MAGIC:
        return _open_sqlite(path, f"sqlite:///{path}")
    if start and not start.startswith(b"{"):
        raise HistoryError(
            f"source_storage={place!r} is neither an Optuna journal nor an SQLite file: pass the "
            "file or URL that your studies were stored in."
        )
    try:
        with line(f"Reading {path.name}"):  # a journal is read to its end before it is open
            return JournalStorage(JournalFileBackend(str(path)))
    except Exception as error:  # a damaged journal makes Optuna raise almost anything
        raise HistoryError(
            f"source_storage={place!r} is no readable Optuna journal ({error}): pass the file "
            "that your studies were stored in."
        ) from error


def _open_sqlite(path: Path, url: str) -> BaseStorage:
    read_only = f"{_existing(path).absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(read_only, uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    except sqlite3.Error as error:
        raise HistoryError(
            f"source_storage: {path} cannot be read as SQLite ({error}): mend or replace it."
        ) from error
    if "studies" not in tables:
        raise HistoryError(
            f"source_storage: {path} has no Optuna studies in it: pass the database that your "
            "studies were stored in."
        )
    return _opened(url)


def _opened(url: str) -> BaseStorage:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        if url.startswith("redis"):
            return get_storage(url)
        return get_storage(RDBStorage(url, skip_table_creation=True))
    except StorageInternalError as error:  # Optuna looks for its tables, and finds none
        raise HistoryError(
            f"source_storage={_PASSWORD.sub(_HIDDEN, url)!r} has no Optuna studies in it "
            f"({error.__cause__ or error}): pass the database that your studies were stored in."
        ) from error
    except (SQLAlchemyError, ImportError, RuntimeError, ValueError) as error:
        shown = _PASSWORD.sub(_HIDDEN, url)  # this sentence is logged, and stored on a trial
        raise HistoryError(
            f"source_storage={shown!r} cannot be opened ({error}): check the URL, the driver and "
            "the database's Optuna version (`optuna storage upgrade`)."
        ) from error


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise HistoryError(
            f"source_storage: there is no file {path}. Pass a journal file, an SQLite file, a "
            "database URL or a storage object that holds your past studies."
        )
    return path

"""Open a storage of past studies from a path, a URL or a storage object, without changing it.

Optuna creates what is missing: an SQLite file, its tables, a journal. So this module checks the
file first.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.optuna_access import close_storage
from optuna_metallmix.progress import status_line


Source: TypeAlias = str | os.PathLike[str] | BaseStorage

_SQLITE_URL = re.compile(r"sqlite(\+\w+)?:///(?P<path>[^?]*)")
_SQLITE_MAGIC = b"SQLite format 3\x00"
_PASSWORD = re.compile(r"(://[^:/@]*:)[^/]*@")
_NO_STUDIES = "contains no Optuna studies. Pass the database that your past studies are stored in."


@contextmanager
def open_source(source: Source) -> Iterator[BaseStorage]:
    """Open a storage of past studies; its connections are closed when the context ends.

    Args:
        source: A journal file (``"past.jsonl"``), an SQLite file, a database URL
            (``"sqlite:///past.db"``, ``"postgresql://..."``) or a storage object, which is used
            as it is and not closed.

    Raises:
        HistoryError: The source does not exist or is not an Optuna storage.
        TypeError: The source is neither a path, a URL nor a storage.
    """
    if isinstance(source, BaseStorage):
        yield get_storage(source)
        return
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            f"source_storage={source!r} must be a path, a database URL or an Optuna storage."
        )
    storage = _open(os.fspath(source))
    try:
        yield storage
    finally:
        close_storage(storage)


def _open(source: str) -> BaseStorage:
    if match := _SQLITE_URL.match(source):
        return _open_sqlite(Path(match["path"]), source)
    return _open_url(source) if "://" in source else _open_file(source)


def _open_file(source: str) -> BaseStorage:
    path = _check_exists(Path(source))
    with path.open("rb") as file:
        start = file.read(len(_SQLITE_MAGIC))
    if start == _SQLITE_MAGIC:
        return _open_sqlite(path, f"sqlite:///{path}")
    try:
        if start and not start.startswith(b"{"):
            raise ValueError("it does not start with a JSON object")
        with status_line(f"Reading {path.name}"):  # opening a journal reads all of it
            return JournalStorage(JournalFileBackend(str(path)))
    except Exception as error:  # Optuna raises almost anything for a damaged journal.
        raise HistoryError(
            f"source_storage={source!r} is neither an SQLite file nor a readable Optuna journal "
            f"({error}). Pass the file or URL that your past studies are stored in."
        ) from error


def _open_sqlite(path: Path, url: str) -> BaseStorage:
    read_only = f"{_check_exists(path).absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(read_only, uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    except sqlite3.Error as error:
        raise HistoryError(
            f"source_storage: {path} cannot be read as SQLite ({error}). Repair or replace it."
        ) from error
    if "studies" not in tables:
        raise HistoryError(f"source_storage: {path} {_NO_STUDIES}")
    return _open_url(url)


def _open_url(url: str) -> BaseStorage:
    from sqlalchemy.exc import SQLAlchemyError

    shown = repr(_PASSWORD.sub(r"\1***@", url))  # errors are logged and stored on trials
    try:
        if url.startswith("redis"):
            return get_storage(url)
        return get_storage(RDBStorage(url, skip_table_creation=True))
    except StorageInternalError as error:  # the tables of Optuna are missing
        reason = error.__cause__ or error
        raise HistoryError(f"source_storage={shown} {_NO_STUDIES} ({reason})") from error
    except (SQLAlchemyError, ImportError, RuntimeError, ValueError) as error:
        raise HistoryError(
            f"source_storage={shown} cannot be opened ({error}). Check the URL, the driver and "
            "the database's Optuna version (`optuna storage upgrade`)."
        ) from error


def _check_exists(path: Path) -> Path:
    if not path.is_file():
        raise HistoryError(
            f"source_storage: there is no file {path}. Pass a journal file, an SQLite file, a "
            "database URL or a storage object that contains your past studies."
        )
    return path

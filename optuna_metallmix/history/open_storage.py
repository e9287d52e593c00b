"""Open a storage of past studies from a path, a URL or a storage object, without changing it.

Optuna creates what is missing: an SQLite file, its tables, a journal. So this module checks the
file first.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import closing
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.optuna_access import close_storage
from optuna_metallmix.optuna_access import file_of_uri
from optuna_metallmix.optuna_access import sqlite_file
from optuna_metallmix.progress import status_line


Source: TypeAlias = str | os.PathLike[str] | BaseStorage

_SQLITE_MAGIC = b"SQLite format 3\x00"
_PASSWORD = re.compile(r"(://[^:/@]*:)[^/]*@")
_NO_STUDIES = "contains no Optuna studies. Pass the database that your studies are stored in."


@contextmanager
def open_source(source: Source, argument: str = "source_storage") -> Iterator[BaseStorage]:
    """Open a storage of past studies; its connections are closed when the context ends.

    Args:
        source: A journal file (``"past.jsonl"``) or an SQLite file, also as a ``file:`` URI, a
            database URL (``"sqlite:///past.db"``, ``"postgresql://..."``) or a storage object,
            which is used as it is and not closed.
        argument: What messages call the source: an argument or option that the user has passed.

    Raises:
        HistoryError: The source does not exist or is not an Optuna storage.
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
    finally:
        close_storage(storage)


def _open(source: str) -> BaseStorage:
    if source.startswith("file:"):
        return _open_uri(source)
    if "://" in source:
        return _open_url(source)
    path = Path(source).expanduser()
    return _open_file(path, str(path), {})


def _open_uri(uri: str) -> BaseStorage:
    name, _, query = uri.partition("?")
    try:
        path = Path(file_of_uri(uri))
    except ValueError as error:
        raise HistoryError(f"{uri!r} is not the URI of a file: {error}.") from error
    return _open_file(path, name, {**dict(parse_qsl(query)), "uri": "true"})


def _open_file(path: Path, name: str, options: Mapping[str, str]) -> BaseStorage:
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
            return JournalStorage(JournalFileBackend(str(path)))
    except Exception as error:  # Optuna raises almost anything for a damaged journal.
        raise HistoryError(
            f"{str(path)!r} is neither an SQLite file nor a readable Optuna "
            f"journal ({error}). Pass the file or URL that your studies are stored in."
        ) from error


def _open_url(url: str) -> BaseStorage:
    from sqlalchemy import make_url
    from sqlalchemy.exc import SQLAlchemyError

    shown = repr(_PASSWORD.sub(r"\1***@", url))  # errors are logged and stored on trials
    try:
        if url.startswith("redis"):
            return get_storage(url)
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and (path := sqlite_file(parsed)) is not None:
            _check_sqlite(path)
        return get_storage(RDBStorage(url, skip_table_creation=True))
    except StorageInternalError as error:  # the tables of Optuna are missing
        reason = error.__cause__ or error
        raise HistoryError(f"{shown} {_NO_STUDIES} ({reason})") from error
    except (SQLAlchemyError, ImportError, RuntimeError, ValueError, LookupError) as error:
        raise HistoryError(
            f"{shown} cannot be opened ({error}). Check the URL, the driver and "
            "the database's Optuna version (`optuna storage upgrade`)."
        ) from error


def _check_sqlite(path: Path) -> None:
    read_only = f"{_check_exists(path).absolute().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(read_only, uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    except sqlite3.Error as error:
        raise HistoryError(
            f"{path} cannot be read as SQLite ({error}). Repair or replace it."
        ) from error
    if "studies" not in tables:
        raise HistoryError(f"{path} {_NO_STUDIES}")


def _check_exists(path: Path) -> Path:
    if not path.is_file():
        raise HistoryError(
            f"there is no file {path}. Pass a journal file, an SQLite file or a database URL with "
            "Optuna studies."
        )
    return path

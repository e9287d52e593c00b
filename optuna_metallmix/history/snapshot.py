"""Remember in a study which trials of past studies were finished when it began to use them."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from hashlib import sha256
from typing import Any
from typing import TypeGuard

import optuna
from optuna import Study
from optuna.storages import BaseStorage

from optuna_metallmix.history.rdb_reader import NOW
from optuna_metallmix.history.rdb_reader import Snapshot
from optuna_metallmix.history.rdb_reader import StudyRow
from optuna_metallmix.history.rdb_reader import describe_error
from optuna_metallmix.history.study_reader import count_finished
from optuna_metallmix.optuna_access import storage_of
from optuna_metallmix.optuna_access import study_id_of


_logger = optuna.logging.get_logger("optuna.metallmix")

SNAPSHOT_ATTR = "metallmix:past-until"
"""System attribute of a study: the past that it learns from."""

_MAX_UNFINISHED = 1_000
"""Maximum number of trials in the attribute: MySQL holds 65,535 bytes. Older ones were
abandoned."""


def find_snapshot(study: Study, storage: BaseStorage, rows: Sequence[StudyRow]) -> Snapshot | None:
    """Return the snapshot stored in a study.

    Args:
        study: The study being optimized.
        storage: The storage of the past studies.
        rows: The past studies.

    Returns:
        The snapshot; ``None`` if there is none, or if some of its trials do not exist any more,
        or are not those of this storage.

    Raises:
        HistoryError: The database of the past studies cannot be reached.
    """
    try:
        attributes = storage_of(study).get_study_system_attrs(study_id_of(study))
    except Exception:  # any: it depends on the storage; what cannot be read is not used
        return None
    stored = attributes.get(SNAPSHOT_ATTR)
    if not _is_valid(stored):
        return None
    snapshot = Snapshot(stored["newest"], frozenset(stored["unfinished"]), is_earlier=True)
    digest = _digest(storage, rows, snapshot)
    return snapshot if digest in (None, stored["digest"]) else None


def _is_valid(stored: object) -> TypeGuard[Mapping[str, Any]]:
    if not (isinstance(stored, Mapping) and stored.keys() >= {"newest", "unfinished", "digest"}):
        return False
    unfinished = stored["unfinished"]
    numbers = [stored["newest"], *unfinished] if isinstance(unfinished, list) else [None]
    return all(type(number) is int and -1 <= number < NOW.newest for number in numbers)


def store_snapshot(
    study: Study, snapshot: Snapshot, storage: BaseStorage, rows: Sequence[StudyRow]
) -> None:
    """Store a snapshot of past studies in a study, if its attributes can be written.

    Raises:
        HistoryError: The database of the past studies cannot be reached.
    """
    if (digest := _digest(storage, rows, snapshot)) is None:
        return
    unfinished = sorted(snapshot.unfinished)[-_MAX_UNFINISHED:]
    stored: Any = {"newest": snapshot.newest, "unfinished": unfinished, "digest": digest}
    try:
        storage_of(study).set_study_system_attr(study_id_of(study), SNAPSHOT_ATTR, stored)
    except Exception as error:  # any: it depends on the storage
        name, reason = study.study_name, describe_error(error)
        _logger.debug(f"The past of study {name!r} is not stored: {reason}")


def _digest(storage: BaseStorage, rows: Sequence[StudyRow], snapshot: Snapshot) -> str | None:
    """Return what changes if a past study is deleted, even if SQLite uses its ids again.

    ``None`` if a study cannot be read, which may be so for a moment only.
    """
    counts = count_finished(storage, rows, snapshot)
    if counts is None:
        return None
    return sha256(ascii(sorted(counts.items())).encode()).hexdigest()[:16]

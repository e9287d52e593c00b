"""Store a record in the system attributes of its trial, in pieces that every storage holds.

A record is read only if it is whole. Its pieces are written first, and then an attribute that says
where they are, so that a process that is killed in between leaves what was there before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.text import describe_error


RECORD_ATTR = "metallmix:record"
"""System attribute: which of the two places has the record, 0 or 1, and its number of pieces."""

_PLACES = (f"{RECORD_ATTR}:a", f"{RECORD_ATTR}:b")
"""Prefixes of the pieces. A record that replaces another is written to the other place."""
_CHUNK = 2045
"""Maximum length of system attributes in Optuna (``optuna/samplers/_tpe/sampler.py``)."""


class DamagedRecordError(HistoryError):
    """A trial's record cannot be read."""

    def __init__(self, trial: FrozenTrial, reason: str) -> None:
        super().__init__(
            f"The record of trial {trial.number}, which says how its suggestion was made, is "
            f"damaged: {reason}. Restore it from a copy of the storage, or do without: the trial "
            "itself and its study are not affected."
        )


def store_text(storage: BaseStorage, trial_id: int, text: str) -> None:
    """Store the text of a trial's record; one stored before is replaced."""
    before = storage.get_trial(trial_id).system_attrs
    old = before.get(RECORD_ATTR)
    place = 1 if isinstance(old, list) and old[:1] == [0] else 0
    chunks = [text[i : i + _CHUNK] for i in range(0, len(text), _CHUNK)]
    for i, chunk in enumerate(chunks):
        storage.set_trial_system_attr(trial_id, f"{_PLACES[place]}{i}", chunk)
    storage.set_trial_system_attr(trial_id, RECORD_ATTR, [place, len(chunks)])
    for key in before:
        if key.startswith(_PLACES[1 - place]):  # attributes cannot be deleted
            storage.set_trial_system_attr(trial_id, key, "")


def withdraw_text(storage: BaseStorage, trial_id: int) -> None:
    """Let a trial have no record, whose suggestion was not used after all."""
    if RECORD_ATTR in storage.get_trial(trial_id).system_attrs:  # attributes cannot be deleted
        storage.set_trial_system_attr(trial_id, RECORD_ATTR, None)


def load_object(trial: FrozenTrial) -> dict[str, Any] | None:
    """Return the JSON object that is stored as a trial's record; ``None`` without one.

    Raises:
        DamagedRecordError: It is damaged.
    """
    try:
        text = _text(trial.system_attrs)
        if text is None:
            return None
        record = json.loads(text)
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise DamagedRecordError(trial, describe_error(error)) from error
    if not isinstance(record, dict):
        raise DamagedRecordError(trial, f"it is {type(record).__name__}")
    return record


def _text(attributes: Mapping[str, Any]) -> str | None:
    if RECORD_ATTR in attributes:
        if attributes[RECORD_ATTR] is None:
            return None
        place, n_chunks = attributes[RECORD_ATTR]
        return "".join(attributes[f"{_PLACES[place]}{i}"] for i in range(n_chunks))
    # Until 2026-11 the pieces ended where the next was missing, and one was written at a time.
    chunks: list[str] = []
    while (chunk := attributes.get(f"{RECORD_ATTR}:{len(chunks)}")) is not None:
        chunks.append(chunk)
    return "".join(chunks) if chunks else None

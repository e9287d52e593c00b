"""Read from a table how each run ended, its objective value and its times."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from datetime import datetime
from datetime import timedelta
from typing import TYPE_CHECKING
from typing import Any

from optuna.trial import TrialState

from optuna_metallmix.importer.table import MISSING
from optuna_metallmix.importer.table import Table
from optuna_metallmix.importer.table import column_error
from optuna_metallmix.importer.table import list_names
from optuna_metallmix.importer.values import parse_number


if TYPE_CHECKING:
    from pandas import Timestamp


_STATE_COLUMNS = ("status", "state", "trial_status", "run_status")
_STATES = {
    TrialState.COMPLETE: "complete completed done finished ok passed success succeeded successful "
    "terminated true",
    TrialState.PRUNED: "canceled cancelled early_stopped killed preempted pruned stopped",
    TrialState.FAIL: "aborted crash crashed diverged error errored fail failed failure false "
    "invalid oom timeout",
    TrialState.RUNNING: "created idle paused pending preempting queued running scheduled waiting",
}
_STATE_BY_WORD = {word: state for state, words in _STATES.items() for word in words.split()}
"""The states of MLflow, W&B, Ray Tune, Keras Tuner, Optuna, and words that people write."""

_VALUE_COLUMNS = ("mean_test_score", "value")
"""Columns of scikit-learn's ``cv_results_`` and Optuna's ``trials_dataframe``."""

_PAIRS = (
    ("start_time", "end_time"),
    ("datetime_start", "datetime_complete"),
    ("started_at", "finished_at"),
    ("started_at", "ended_at"),
    ("start", "end"),
)
_STARTS = (*(start for start, _ in _PAIRS), "created", "created_at")
_ENDS = (*(end for _, end in _PAIRS), "timestamp", "_timestamp")
_DURATIONS = (
    *("duration", "runtime", "_runtime", "time_total", "mean_fit_time", "fit_time"),
    *("training_time", "train_time", "train_runtime", "total_time", "elapsed_time", "elapsed"),
    *("wall_time", "walltime", "time", "seconds", "minutes", "hours"),
)
"""The last part of the columns of MLflow, W&B, Optuna, Ray Tune and scikit-learn, without unit."""

_UNIT = re.compile(
    r"(?:^|[\W_])(?:(?P<ns>ns)|(?P<us>us)|(?P<ms>ms|millis(?:econds)?)|(?P<s>s|secs?|seconds?)"
    r"|(?P<min>mins?|minutes?)|(?P<h>h|hrs?|hours?)|(?P<d>days?))[\W_]*$"
)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_EPOCH_UNITS = ((1e11, 1.0), (1e14, 1e-3), (1e17, 1e-6), (math.inf, 1e-9))
"""The unit of a Unix time in seconds, by its size: 1e11 seconds are the year 5138."""
_MINUTES = re.compile(r"\d+:\d{2}(\.\d+)?")
_FIRST_YEAR = 1990
"""Earlier starts are not dates, but seconds since the beginning of an experiment."""


@dataclass(frozen=True)
class States:
    """How each run ended.

    Attributes:
        column: The column, ``None`` if the table has none.
        of_rows: The state of each row; ``None`` if the row does not tell.
        by_word: What the words in the column were taken for.
    """

    column: str | None
    of_rows: list[TrialState | None]
    by_word: dict[str, TrialState | None]


@dataclass(frozen=True)
class Times:
    """When each run took place.

    Attributes:
        source: The columns that tell, for people.
        starts: The start of each run in local time, ``None`` if unknown.
        seconds: Its duration, ``None`` if unknown.
    """

    source: str
    starts: list[datetime | None]
    seconds: list[float | None]


def find_value_column(table: Table, value: str | None, is_parameter: Callable[[str], bool]) -> str:
    """Return the column of the objective value.

    Raises:
        ValueError: There is no such column, or ``value`` is None and several may be it.
    """
    if value is not None:
        if not isinstance(value, str) or value not in table:
            raise column_error("value", value, table)
        return value
    if known := [name for name in _VALUE_COLUMNS if name in table]:
        return known[0]
    numeric = [
        name
        for name, cells in table.items()
        if not is_parameter(name) and any(parse_number(cell) is not None for cell in cells)
    ]
    metrics = [name for name in numeric if name.startswith("metrics.")]
    if len(metrics) == 1:
        return metrics[0]
    raise ValueError(
        "Name the column of the objective value with `value`. Columns with numbers: "
        f"{list_names(metrics or numeric) or 'none'}."
    )


def read_values(table: Table, column: str) -> list[float | None]:
    """Return each row's objective value, ``None`` if it is not a finite number.

    Raises:
        ValueError: No row has a number.
    """
    values = [parse_number(_without_percent(cell)) for cell in table[column]]
    if all(value is None for value in values):
        example = next((cell for cell in table[column] if cell is not MISSING), None)
        such = "it is empty" if example is None else f"for example {example!r}"
        raise ValueError(
            f"value={column!r} has no finite number in any row ({such}). Name another column, or "
            "convert its cells to numbers."
        )
    return values


def _without_percent(cell: Any) -> Any:
    return cell.removesuffix("%").rstrip() if isinstance(cell, str) else cell


def read_states(table: Table, column: str | None, n_rows: int) -> States:
    """Read how the runs ended from a column, or from one that is called as usual.

    Raises:
        ValueError: There is no such column, or it has no known word.
    """
    if column is not None and column not in table:
        raise column_error("state", column, table)
    names = [n for n in table if n.casefold() in _STATE_COLUMNS] if column is None else [column]
    for name in names:
        words = [None if cell is MISSING else _word(cell) for cell in table[name]]
        by_word = {word: _STATE_BY_WORD.get(word) for word in words if word is not None}
        if any(by_word.values()):
            return States(name, [by_word.get(word or "") for word in words], by_word)
    if column is not None:
        raise ValueError(
            f"state={column!r} has no known state, such as 'finished', 'failed' or 'running'. "
            "Name another column, or replace its values."
        )
    return States(None, [None] * n_rows, {})


def _word(cell: Any) -> str:
    return str(cell).casefold().replace(" ", "_")


def read_times(
    table: Table, duration: str | None, is_parameter: Callable[[str], bool], n_rows: int
) -> Times:
    """Read when the runs took place, from ``duration`` or columns that are called as usual.

    Raises:
        ValueError: There is no such column, or it has no duration.
    """
    if duration is not None and duration not in table:
        raise column_error("duration", duration, table)
    names = {name.casefold(): name for name in table if not is_parameter(name)}
    starts, ends = (
        _timestamps(table, next((names[n] for n in known if n in names), None), n_rows)
        for known in (_STARTS, _ENDS)
    )
    source, seconds = _find_seconds(table, duration, names)
    seconds = seconds or [None] * n_rows
    return Times(source, list(map(_local_start, starts, ends, seconds)), seconds)


def _find_seconds(
    table: Table, duration: str | None, names: Mapping[str, str]
) -> tuple[str, list[float | None]]:
    """Return the durations, and the columns that they are from."""
    if duration is not None:
        seconds = _durations(table, duration)
        if any(seconds):
            return duration, seconds
        raise ValueError(
            f"duration={duration!r} has no duration in any row. Name a column with numbers, time "
            "differences, or texts such as '00:12:30'."
        )
    for start, end in _PAIRS:
        if start in names and end in names:
            pair = (table[names[end]], table[names[start]])
            seconds = list(map(_between, *pair))
            if any(seconds):
                return f"{names[end]} - {names[start]}", seconds
    by_stem = {_stem(name): name for name in reversed(list(names.values()))}
    for stem in _DURATIONS:
        if stem in by_stem and any(seconds := _durations(table, by_stem[stem])):
            return by_stem[stem], seconds
    return "", []


def _timestamps(table: Table, name: str | None, n_rows: int) -> list[Timestamp | None]:
    return [None] * n_rows if name is None else [_timestamp(cell) for cell in table[name]]


def _timestamp(cell: Any) -> Timestamp | None:
    """Read a date, or a Unix time in seconds to nanoseconds; ``None`` if the cell is neither."""
    import pandas as pd

    number = None if cell is MISSING else parse_number(cell)
    try:
        if number is not None:
            unit = next(unit for size, unit in _EPOCH_UNITS if abs(number) < size)
            return pd.Timestamp(number * unit, unit="s", tz="UTC")
        stamp = pd.Timestamp(cell) if isinstance(cell, str | date) else pd.NaT
    except (ValueError, TypeError, OverflowError):
        return None
    return stamp if isinstance(stamp, pd.Timestamp) else None


def _between(end: Any, start: Any) -> float | None:
    last, first = _timestamp(end), _timestamp(start)
    if last is None or first is None or (last.tzinfo is None) != (first.tzinfo is None):
        return None
    return _positive((last - first).total_seconds())


def _local_start(
    start: Timestamp | None, end: Timestamp | None, seconds: float | None
) -> datetime | None:
    """Return the start as Optuna stores it, in local time without a time zone."""
    if start is None and end is not None:
        start = end - timedelta(seconds=seconds or 0.0)
    if start is None or start.year < _FIRST_YEAR:
        return None
    moment = start.to_pydatetime(warn=False)
    return moment if moment.tzinfo is None else moment.astimezone().replace(tzinfo=None)


def _durations(table: Table, name: str) -> list[float | None]:
    unit = _UNIT.search(name.casefold())
    factor = _SECONDS[unit.lastgroup or "s"] if unit else 1.0
    return [_duration(cell, factor) for cell in table[name]]


def _duration(cell: Any, factor: float) -> float | None:
    """Return seconds, ``None`` if the cell is no duration."""
    import pandas as pd

    if cell is MISSING:
        return None
    if (number := parse_number(cell)) is not None:
        return _positive(number * factor)
    if isinstance(cell, str) and not cell.startswith("P"):  # P1DT2H is ISO 8601
        cell = f"00:{cell}" if _MINUTES.fullmatch(cell) else cell.lower()
    try:
        return _positive(pd.Timedelta(cell).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _positive(seconds: float) -> float | None:
    return seconds if 0 < seconds < math.inf else None


def _stem(name: str) -> str:
    """Return the last part of a column's name without its unit."""
    last = re.split(r"[./]", name.casefold())[-1]
    unit = _UNIT.search(last)
    return last[: unit.start()].rstrip() if unit and unit.start() else last

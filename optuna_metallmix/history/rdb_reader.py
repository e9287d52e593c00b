"""Read the finished trials of a study quickly, directly from Optuna's database tables.

``RDBStorage.get_all_trials`` builds an object for every row, also for attributes that are not
needed here, and parses the JSON of each distribution twice per trial
(``optuna/storages/_rdb/storage.py``, 5.0.0): 0.4 ms per trial. A few plain selects that parse each
distinct JSON once take a tenth of that. Anything unexpected (another storage, another table
layout) is read by Optuna itself. Only portable SELECT statements are used.
"""

from __future__ import annotations

import json
import math
import warnings
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from functools import lru_cache
from textwrap import shorten
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeVar

from optuna.distributions import BaseDistribution
from optuna.distributions import json_to_distribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.history.scores import UnreadableStudyError
from optuna_metallmix.optuna_access import plain_rdb_engine
from optuna_metallmix.optuna_access import trial_id_of
from optuna_metallmix.text import one_line


if TYPE_CHECKING:
    from sqlalchemy import Connection

_T = TypeVar("_T")

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

_LAYOUT = "v3.2.0.a"
"""Alembic's name for the table layout of Optuna 3.2 to 5.0
(``optuna/storages/_rdb/alembic/versions``)."""

_SPECIAL_VALUES = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}
"""The value types that have no number (``optuna/storages/_rdb/models.py``)."""

_OF_STUDY = "JOIN trials ON trials.trial_id = x.trial_id WHERE trials.study_id = :study_id"
_FINISHED_OF_STUDY = "WHERE study_id = :study_id AND state IN ('COMPLETE', 'PRUNED', 'FAIL')"
QUERIES = {
    "layout": "SELECT version_num FROM alembic_version",
    "studies": "SELECT study_name, study_id FROM studies ORDER BY study_id",
    "summary": "SELECT state, COUNT(*), MAX(trial_id), MAX(datetime_complete) "
    f"FROM trials {_FINISHED_OF_STUDY} GROUP BY state",
    "trials": "SELECT trial_id, number, state, datetime_start, datetime_complete "
    f"FROM trials {_FINISHED_OF_STUDY} ORDER BY number",
    "params": "SELECT x.trial_id, x.param_name, x.param_value, x.distribution_json "
    f"FROM trial_params x {_OF_STUDY} ORDER BY x.param_id",
    "values": "SELECT x.trial_id, x.objective, x.value, x.value_type "
    f"FROM trial_values x {_OF_STUDY} ORDER BY x.objective",
    "reports": "SELECT x.trial_id, x.step, x.intermediate_value, x.intermediate_value_type "
    f"FROM trial_intermediate_values x {_OF_STUDY} ORDER BY x.trial_intermediate_value_id",
    "constraints": "SELECT x.trial_id, x.key, x.value_json "
    f"FROM trial_system_attributes x {_OF_STUDY} AND x.key LIKE 'constraints%'",
}


def read_study_ids(storage: BaseStorage) -> dict[str, int] | None:
    """Return the id of each study by name, ``None`` if the storage has other tables."""
    rows = read_tables(storage, _rows, "studies")
    return None if rows is None else dict(map(tuple, rows))


def read_trials(storage: BaseStorage, study_id: int) -> Sequence[FrozenTrial]:
    """Return the finished trials of a study by number, without copying them.

    Trials from tables have no attributes except constraints. Their times are as stored (UTC from
    Optuna 5, local time before): only their differences are used. Reports are read only if a
    pruned trial has no value.
    """
    trials = read_tables(storage, _select_trials, study_id)
    if trials is None:
        return _read_finished(storage, study_id)
    return trials


def fingerprint(storage: BaseStorage, study_id: int) -> Hashable:
    """Return a value that changes whenever :func:`read_trials` would return something else.

    Finished trials are never changed or deleted, so counts and maxima are enough.
    """
    summary = read_tables(storage, _rows, "summary", study_id)
    if summary is not None:
        return frozenset(map(tuple, summary))
    trials = _read_finished(storage, study_id)
    ends = [t.datetime_complete for t in trials if t.datetime_complete is not None]
    return len(trials), max(map(trial_id_of, trials), default=None), max(ends, default=None)


def _read_finished(storage: BaseStorage, study_id: int) -> list[FrozenTrial]:
    return read_foreign(storage.get_all_trials, study_id, deepcopy=False, states=FINISHED)


def read_foreign(call: Callable[..., _T], *args: Any, **options: Any) -> _T:
    """Call a method that reads a single study.

    Raises:
        UnreadableStudyError: The call failed. Storages may be third-party code, and what they
            contain may be damaged in any way, so that this catches every exception.
    """
    try:
        return call(*args, **options)
    except Exception as error:
        raise UnreadableStudyError(f"it cannot be read ({describe_error(error)})") from error


def describe_error(error: Exception) -> str:
    """Return the type and message of a foreign error in a line; some messages have many lines."""
    return shorten(one_line(f"{type(error).__name__}: {error}"), 200, placeholder=" ...")


def read_tables(storage: BaseStorage, select: Callable[..., _T], *arguments: Any) -> _T | None:
    """Return the result of a select, ``None`` if the storage has other tables or it fails.

    In both cases Optuna reads instead, and raises any real database error.
    """
    if (engine := plain_rdb_engine(storage)) is None:
        return None
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with engine.connect() as connection:
            is_known = _rows(connection, "layout") == [(_LAYOUT,)]
            return select(connection, *arguments) if is_known else None
    except (SQLAlchemyError, LookupError, ValueError, TypeError, RecursionError):
        return None


def _rows(connection: Connection, query: str, study_id: int | None = None) -> Sequence[Any]:
    from sqlalchemy import DateTime
    from sqlalchemy import text

    statement: Any = text(QUERIES[query])
    if query == "trials":  # SQLite stores times as text
        statement = statement.columns(datetime_start=DateTime, datetime_complete=DateTime)
    parameters = {} if study_id is None else {"study_id": study_id}
    return connection.execute(statement, parameters).all()


def _select_trials(connection: Connection, study_id: int) -> list[FrozenTrial]:
    # Trials first: everything that belongs to a finished trial is written before it finishes.
    trials = _rows(connection, "trials", study_id)
    params, distributions = _params(_rows(connection, "params", study_id))
    values = _values(_rows(connection, "values", study_id))
    constraints: dict[int, dict[str, Any]] = defaultdict(dict)
    for trial_id, key, text in _rows(connection, "constraints", study_id):
        constraints[trial_id][key] = json.loads(text)
    reports: Mapping[int, dict[int, float]] = {}
    if any(row[2] == "PRUNED" and row[0] not in values for row in trials):
        reports = _values(_rows(connection, "reports", study_id))
    return [
        FrozenTrial(
            number=number,
            state=TrialState[state],
            value=None,
            values=list(values[trial_id].values()) if trial_id in values else None,
            datetime_start=start,
            datetime_complete=end,
            params=params.get(trial_id, {}),
            distributions=distributions.get(trial_id, {}),
            user_attrs={},
            system_attrs=constraints.get(trial_id, {}),
            intermediate_values=reports.get(trial_id, {}),
            trial_id=trial_id,
        )
        for trial_id, number, state, start, end in trials
    ]


def _params(
    rows: Iterable[Any],
) -> tuple[dict[int, dict[str, Any]], dict[int, dict[str, BaseDistribution]]]:
    params: dict[int, dict[str, Any]] = defaultdict(dict)
    distributions: dict[int, dict[str, BaseDistribution]] = defaultdict(dict)
    for trial_id, name, value, text in rows:
        distribution = _parse(text)
        params[trial_id][name] = distribution.to_external_repr(value)
        distributions[trial_id][name] = distribution
    return params, distributions


@lru_cache(maxsize=1024)
def _parse(text: str) -> BaseDistribution:
    with warnings.catch_warnings():  # who reads a past study cannot change its distributions
        warnings.simplefilter("ignore")
        return json_to_distribution(text)


def _values(rows: Iterable[Any]) -> dict[int, dict[int, float]]:
    """Return the values of each trial by objective, or its reports by step."""
    values: dict[int, dict[int, float]] = {}
    for trial_id, index, value, kind in rows:
        number = value if kind == "FINITE" else _SPECIAL_VALUES[kind]
        values.setdefault(trial_id, {})[index] = number
    return values

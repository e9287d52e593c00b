"""Read studies and their finished trials quickly, directly from Optuna's database tables.

``RDBStorage.get_all_trials`` builds an object for every row, also for attributes that are not
needed here, and parses the JSON of each distribution twice per trial
(``optuna/storages/_rdb/storage.py``, 5.0.0): 0.4 ms per trial. A few plain selects for many
studies at once, which parse each distinct JSON once, take a tenth of that. Anything unexpected
(another storage, another table layout) is read by Optuna itself. Only portable SELECT statements
are used.
"""

from __future__ import annotations

import json
import math
import warnings
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from functools import lru_cache
from textwrap import shorten
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple
from typing import TypeVar

from optuna.distributions import BaseDistribution
from optuna.distributions import json_to_distribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history.scores import UnreadableStudyError
from optuna_metallmix.history.scores import sample_trials
from optuna_metallmix.optuna_access import PREFERENTIAL_ATTR
from optuna_metallmix.optuna_access import describe_storage
from optuna_metallmix.optuna_access import plain_rdb_engine
from optuna_metallmix.optuna_access import trial_id_of
from optuna_metallmix.text import hide_passwords
from optuna_metallmix.text import one_line
from optuna_metallmix.text import visible_error


if TYPE_CHECKING:
    from sqlalchemy import Connection

_T = TypeVar("_T")

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

_LAYOUT = "v3.2.0.a"
"""Alembic's name for the table layout of Optuna 3.2 to 5.0
(``optuna/storages/_rdb/alembic/versions``)."""

_SPECIAL_VALUES = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}
"""The value types that have no number (``optuna/storages/_rdb/models.py``)."""

_MAX_IDS = 5_000
"""Maximum number of trials named in a statement."""

_MAX_TEXT = 1_000
"""Maximum length of a user attribute as JSON that can be a meta-feature."""

_IS_FINISHED = "state IN ('COMPLETE', 'PRUNED', 'FAIL')"
_OF_STUDIES = "JOIN trials ON trials.trial_id = x.trial_id WHERE trials.study_id IN :study_ids"
QUERIES = {
    "layout": "SELECT version_num FROM alembic_version",
    "studies": "SELECT study_id, study_name FROM studies ORDER BY study_id",
    "directions": "SELECT study_id, direction FROM study_directions ORDER BY study_id, objective",
    "attributes": "SELECT x.study_id, x.key, x.value_json FROM study_user_attributes x "
    f"WHERE LENGTH(x.value_json) <= {_MAX_TEXT} ORDER BY x.study_user_attribute_id",
    "preferential": "SELECT x.study_id, x.value_json FROM study_system_attributes x "
    f"WHERE x.key = '{PREFERENTIAL_ATTR}'",
    "newest": "SELECT MAX(trial_id) FROM trials",
    "unfinished": "SELECT trial_id FROM trials WHERE state IN ('RUNNING', 'WAITING')",
    "summaries": "SELECT study_id, state, COUNT(*), MAX(trial_id), MAX(datetime_complete) "
    f"FROM trials WHERE {_IS_FINISHED} AND trial_id <= :newest AND trial_id NOT IN :unfinished "
    "GROUP BY study_id, state",
    "sizes": "SELECT x.trial_id, COUNT(*), MIN(x.param_value), MAX(x.param_value) "
    "FROM trial_params x WHERE x.trial_id IN :trial_ids GROUP BY x.trial_id",
    "results": "SELECT x.trial_id, x.value FROM trial_values x WHERE x.trial_id IN :trial_ids",
    "trials": "SELECT study_id, trial_id, number, state, datetime_start, datetime_complete "
    f"FROM trials WHERE study_id IN :study_ids AND {_IS_FINISHED} ORDER BY study_id, number",
    "params": "SELECT x.trial_id, x.param_name, x.param_value, x.distribution_json "
    "FROM trial_params x WHERE x.trial_id IN :trial_ids ORDER BY x.param_id",
    "values": "SELECT x.trial_id, x.objective, x.value, x.value_type "
    f"FROM trial_values x {_OF_STUDIES} ORDER BY x.objective",
    "reports": "SELECT x.trial_id, x.step, x.intermediate_value, x.intermediate_value_type "
    f"FROM trial_intermediate_values x {_OF_STUDIES} ORDER BY x.trial_intermediate_value_id",
    "constraints": "SELECT x.trial_id, x.key, x.value_json "
    f"FROM trial_system_attributes x {_OF_STUDIES} AND x.key LIKE 'constraints%'",
}


class Snapshot(NamedTuple):
    """The finished trials of a storage at some moment, by their ids, which only grow.

    Times would be those of several machines' clocks, and imported trials have times of their own.

    Attributes:
        newest: The largest trial id.
        unfinished: The smaller ids of trials that were waiting or running.
        is_earlier: Whether trials may have finished since.
    """

    newest: int
    unfinished: frozenset[int] = frozenset()
    is_earlier: bool = False

    def __contains__(self, trial_id: object) -> bool:
        """Return whether a trial that is finished now was finished then."""
        assert isinstance(trial_id, int)
        return trial_id <= self.newest and trial_id not in self.unfinished


NOW = Snapshot(2**62)
"""All trials."""


@dataclass(frozen=True)
class StudyRow:
    """What a storage says of a study itself.

    Attributes:
        name: Its name.
        study_id: Its id in the storage.
        directions: Its directions.
        user_attrs: Its user attributes.
        is_preferential: Whether its trials are compared by people.
        problem: Why these cannot be read; empty if they can.
    """

    name: str
    study_id: int
    directions: Sequence[StudyDirection] = ()
    user_attrs: Mapping[str, Any] = field(default_factory=dict)
    is_preferential: bool = False
    problem: str = ""


class Summary(NamedTuple):
    """The size of a study.

    Attributes:
        n_finished: Number of finished trials.
        n_complete: Number of complete trials.
        n_params: Number of parameters of the latest complete trial.
        key: What changes whenever the finished trials do. They are never changed or deleted one
            by one, but a study may be deleted and its ids used again.
    """

    n_finished: int
    n_complete: int
    n_params: int
    key: Hashable


class Request(NamedTuple):
    """The trials of a study to read.

    Attributes:
        study_id: The id of the study.
        sign: -1 if the study minimizes, else 1.
        limit: Maximum number of trials, at least 2; see :func:`sample_trials`.
    """

    study_id: int
    sign: float
    limit: int


def read_tables(storage: BaseStorage, select: Callable[..., _T], *arguments: Any) -> _T | None:
    """Return the result of a select, ``None`` if the storage has other tables or it fails.

    In both cases Optuna reads instead, and raises any real error.

    Raises:
        HistoryError: The database cannot be reached. Optuna would try that for each study.
    """
    if (engine := plain_rdb_engine(storage)) is None:
        return None
    from sqlalchemy.exc import SQLAlchemyError

    try:
        connection = engine.connect()
    except SQLAlchemyError as error:
        raise HistoryError(cannot_read(storage, error)) from error
    with connection:
        try:
            is_known = list(_rows(connection, "layout")) == [(_LAYOUT,)]
            return select(connection, *arguments) if is_known else None
        except (SQLAlchemyError, LookupError, ValueError, TypeError, RecursionError):
            return None


def has_known_layout(storage: BaseStorage) -> bool:
    """Return whether :func:`read_tables` knows the tables of a storage.

    Raises:
        HistoryError: The database cannot be reached.
    """
    return read_tables(storage, lambda _: True) is not None


def cannot_read(storage: BaseStorage, error: Exception) -> str:
    """Return a sentence on a storage that cannot be read."""
    return (
        f"The past studies in {describe_storage(storage)} cannot be read "
        f"({describe_error(error)}). Check that the storage exists and is intact."
    )


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
    shown = visible_error(error)
    text = hide_passwords(f"{type(shown).__name__}: {shown}")
    return shorten(one_line(text), 200, placeholder=" ...")


def _rows(connection: Connection, query: str, **parameters: Any) -> Iterable[Any]:
    """Iterate over the result of a query; a parameter may be a collection of numbers."""
    from sqlalchemy import DateTime
    from sqlalchemy import Integer
    from sqlalchemy import bindparam
    from sqlalchemy import text

    many = [name for name, value in parameters.items() if not isinstance(value, int)]
    statement: Any = text(QUERIES[query]).bindparams(
        # As literals: databases limit the number of parameters.
        *(bindparam(name, type_=Integer, expanding=True, literal_execute=True) for name in many)
    )
    if query == "trials":  # SQLite stores times as text
        statement = statement.columns(datetime_start=DateTime, datetime_complete=DateTime)
    return connection.execute(statement, parameters)


def _rows_of_trials(connection: Connection, query: str, trial_ids: Sequence[int]) -> Iterator[Any]:
    for start in range(0, len(trial_ids), _MAX_IDS):
        yield from _rows(connection, query, trial_ids=trial_ids[start : start + _MAX_IDS])


def select_studies(connection: Connection) -> list[StudyRow]:
    """Return all studies by id. Long attributes are no meta-features, and are not read."""
    names = list(_rows(connection, "studies"))
    directions, attributes = defaultdict(list), defaultdict(list)
    for study_id, direction in _rows(connection, "directions"):
        directions[study_id].append(direction)
    for study_id, key, text in _rows(connection, "attributes"):
        attributes[study_id].append((key, text))
    preferential = {i for i, text in _rows(connection, "preferential") if text != "false"}
    return [
        _study_row(name, i, directions[i], attributes[i], i in preferential) for i, name in names
    ]


def _study_row(
    name: str,
    study_id: int,
    directions: Sequence[str],
    attributes: Sequence[tuple[str, str]],
    is_preferential: bool,
) -> StudyRow:
    try:
        return StudyRow(
            name,
            study_id,
            [StudyDirection[direction] for direction in directions],
            {key: json.loads(text) for key, text in attributes},
            is_preferential,
        )
    except (LookupError, ValueError, TypeError, RecursionError) as error:
        return StudyRow(name, study_id, problem=f"it cannot be read ({describe_error(error)})")


def select_snapshot(connection: Connection) -> Snapshot:
    """Return which trials are finished now."""
    ((newest,),) = _rows(connection, "newest")  # first: trials that start after it are left out
    unfinished = [trial_id for (trial_id,) in _rows(connection, "unfinished")]
    return Snapshot(newest or 0, frozenset(i for i in unfinished if i <= newest))


def select_summaries(connection: Connection, snapshot: Snapshot) -> dict[int, Summary]:
    """Return the summary of each study that has finished trials, by its id."""
    counts: dict[int, dict[str, tuple[Any, ...]]] = defaultdict(dict)
    limits = {"newest": snapshot.newest, "unfinished": snapshot.unfinished}
    for study_id, state, *numbers in _rows(connection, "summaries", **limits):
        counts[study_id][state] = tuple(numbers)
    latest = [states["COMPLETE"][1] for states in counts.values() if "COMPLETE" in states]
    sizes = {i: tuple(size) for i, *size in _rows_of_trials(connection, "sizes", latest)}
    results = dict(map(tuple, _rows_of_trials(connection, "results", latest)))
    return {
        study_id: _summary(study_id, states, sizes, results) for study_id, states in counts.items()
    }


def _summary(
    study_id: int,
    states: Mapping[str, tuple[Any, ...]],
    sizes: Mapping[int, tuple[Any, ...]],
    results: Mapping[int, Any],
) -> Summary:
    n_complete, latest, _ = states.get("COMPLETE", (0, None, None))
    size = sizes.get(latest, (0,)) if latest is not None else (0,)
    key = (study_id, frozenset(states.items()), size, results.get(latest))
    return Summary(sum(n for n, *_ in states.values()), n_complete, size[0], key)


def select_trials(
    connection: Connection, requests: Sequence[Request], snapshot: Snapshot
) -> dict[int, Sequence[FrozenTrial]]:
    """Return the finished trials of studies, by the study's id, each by number.

    They have no attributes except constraints. Their times are as stored (UTC from Optuna 5, local
    time before): only their differences are used. Reports are read only if a pruned trial has no
    value, and parameters only for the trials that are kept.
    """
    # Trials first: everything that belongs to a finished trial is written before it finishes.
    trials = _bare_trials(connection, [request.study_id for request in requests], snapshot)
    kept = {
        study_id: sample_trials(trials[study_id], sign, limit)
        for study_id, sign, limit in requests
    }
    by_id = {trial_id_of(trial): trial for some in kept.values() for trial in some}
    params, distributions = _params(_rows_of_trials(connection, "params", list(by_id)))
    for trial_id, trial in by_id.items():
        trial.params = params.get(trial_id, {})
        trial.distributions = distributions.get(trial_id, {})
    return kept


def _bare_trials(
    connection: Connection, study_ids: Sequence[int], snapshot: Snapshot
) -> dict[int, list[FrozenTrial]]:
    """Return trials without parameters, by the id of their study."""
    rows = list(_rows(connection, "trials", study_ids=study_ids))
    values = _values(_rows(connection, "values", study_ids=study_ids))
    constraints: dict[int, dict[str, Any]] = defaultdict(dict)
    for trial_id, key, text in _rows(connection, "constraints", study_ids=study_ids):
        constraints[trial_id][key] = json.loads(text)
    reports: Mapping[int, dict[int, float]] = {}
    if any(row.state == "PRUNED" and row.trial_id not in values for row in rows):
        reports = _values(_rows(connection, "reports", study_ids=study_ids))
    trials: dict[int, list[FrozenTrial]] = defaultdict(list)
    for study_id, trial_id, number, state, start, end in rows:
        if trial_id in snapshot:
            trial = FrozenTrial(
                number=number,
                state=TrialState[state],
                value=None,
                values=list(values[trial_id].values()) if trial_id in values else None,
                datetime_start=start,
                datetime_complete=end,
                params={},
                distributions={},
                user_attrs={},
                system_attrs=constraints.get(trial_id, {}),
                intermediate_values=reports.get(trial_id, {}),
                trial_id=trial_id,
            )
            trials[study_id].append(trial)
    return trials


def _params(
    rows: Iterable[Any],
) -> tuple[dict[int, dict[str, Any]], dict[int, dict[str, BaseDistribution]]]:
    """Return the parameters and distributions by trial; trials share equal distributions."""
    params: dict[int, dict[str, Any]] = defaultdict(dict)
    distributions: dict[int, dict[str, BaseDistribution]] = defaultdict(dict)
    for trial_id, name, value, text in rows:
        distribution = _parse(text)
        params[trial_id][name] = distribution.to_external_repr(value)
        distributions[trial_id][name] = distribution
    shared: dict[Hashable, dict[str, BaseDistribution]] = {}
    for trial_id, space in distributions.items():
        key = (*space, *map(id, space.values()))
        distributions[trial_id] = shared.setdefault(key, space)
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

"""storage -> finished trials of a study: the one room that knows Optuna's tables.

``RDBStorage.get_all_trials`` makes an object of every row, reads attributes that nobody asks for
here, and parses the JSON of each distribution twice for every trial
(``optuna/storages/_rdb/storage.py``, 5.0.0): 0.4 ms a trial. A few plain selects and one parse of
each different text take a tenth of that. It is speed and nothing else: whatever is not as known
(another storage, another layout of the tables) is read by Optuna itself.

The statements are SQLAlchemy's core, without a word of one database's dialect, and only select.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeVar

from optuna.distributions import BaseDistribution
from optuna.distributions import json_to_distribution
from optuna.storages import BaseStorage
from optuna.storages import RDBStorage
from optuna.storages import _CachedStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.optuna_access import trial_id_of


if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy import Engine
    from sqlalchemy import Select
    from sqlalchemy import TableClause

_T = TypeVar("_T")

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

_LAYOUT = "v3.2.0.a"
"""What alembic calls the tables as Optuna 3.2 to 5.0 makes them
(``optuna/storages/_rdb/alembic/versions``)."""

_UNREAL = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}
"""What a value type says where there is no number (``optuna/storages/_rdb/models.py``)."""


class TrialReader:
    """Reads finished trials as the storage itself does.

    Args:
        storage: Where to read; nothing is written to it.
    """

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage

    def read(self, study_id: int) -> Sequence[FrozenTrial]:
        """Return the finished trials of a study by their number, not copied."""
        return self._storage.get_all_trials(study_id, deepcopy=False, states=FINISHED)

    def stamp(self, study_id: int) -> Hashable:
        """Return what changes when :meth:`read` would return something else.

        A finished trial can be neither changed nor deleted, so that a few numbers will do.
        """
        trials = self.read(study_id)
        ended = [one.datetime_complete for one in trials if one.datetime_complete is not None]
        return len(trials), max(map(trial_id_of, trials), default=None), max(ended, default=None)


class _TableReader(TrialReader):
    """Reads the same from the tables, without attributes.

    Times are as stored (in UTC from Optuna 5, in local time before): only their differences are
    used. Reports are read where they are used, of pruned trials without a value.
    """

    def __init__(self, storage: BaseStorage, engine: Engine) -> None:
        super().__init__(storage)
        self._engine = engine
        self._parse = cache(json_to_distribution)

    def read(self, study_id: int) -> Sequence[FrozenTrial]:
        return self._or_slowly(
            lambda connection: _select_trials(connection, study_id, self._parse),
            lambda: super(_TableReader, self).read(study_id),
        )

    def stamp(self, study_id: int) -> Hashable:
        return self._or_slowly(
            lambda connection: _counted(connection, study_id),
            lambda: super(_TableReader, self).stamp(study_id),
        )

    def is_known(self) -> bool:
        """Tell whether the tables are laid out as this file expects."""
        return self._or_slowly(lambda connection: _layout(connection) == _LAYOUT, lambda: False)

    def _or_slowly(self, fast: Callable[[Connection], _T], slow: Callable[[], _T]) -> _T:
        """What is wrong with the database the slow way finds too, and raises."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._engine.connect() as connection:
                return fast(connection)
        except (SQLAlchemyError, LookupError, ValueError, TypeError):
            return slow()


def trial_reader(storage: BaseStorage) -> TrialReader:
    """Return the fastest reader there is for a storage."""
    engine = _engine_of(storage)
    if engine is not None and (reader := _TableReader(storage, engine)).is_known():
        return reader
    return TrialReader(storage)


def _engine_of(storage: BaseStorage) -> Engine | None:
    """Return the engine of an RDB storage, where nobody has changed how one reads trials."""
    backend = storage._backend if type(storage) is _CachedStorage else storage
    return backend.engine if type(backend) is RDBStorage else None


def _layout(connection: Connection) -> str | None:
    from sqlalchemy import select

    version: str | None = connection.scalar(
        select(_table("alembic_version", "version_num").c.version_num)
    )
    return version


def _select_trials(
    connection: Connection, study_id: int, parse: Callable[[str], BaseDistribution]
) -> list[FrozenTrial]:
    # Trials first: what one of these has finished with is all there when the rest is read.
    rows = [row for row in _rows(connection, _trials(study_id)) if row[2] in FINISHED]
    params, distributions = _params(_rows(connection, _of_trials("params", study_id)), parse)
    values = _values(_rows(connection, _of_trials("values", study_id)))
    reports: Mapping[int, dict[int, float]] = {}
    if any(state is TrialState.PRUNED and key not in values for key, _, state, *_ in rows):
        reports = _values(_rows(connection, _of_trials("intermediate_values", study_id)))
    return [
        FrozenTrial(
            number=number,
            state=state,
            value=None,
            values=[one for _, one in sorted(values[key].items())] if key in values else None,
            datetime_start=start,
            datetime_complete=end,
            params=params.get(key, {}),
            distributions=distributions.get(key, {}),
            user_attrs={},
            system_attrs={},
            intermediate_values=reports.get(key, {}),
            trial_id=key,
        )
        for key, number, state, start, end in sorted(rows, key=lambda row: row[1])
    ]


def _rows(connection: Connection, query: Select[Any]) -> Sequence[Any]:
    return connection.execute(query).all()  # one by one takes half as long again


def _params(
    rows: Iterable[Any], parse: Callable[[str], BaseDistribution]
) -> tuple[dict[int, dict[str, Any]], dict[int, dict[str, BaseDistribution]]]:
    params: dict[int, dict[str, Any]] = defaultdict(dict)
    distributions: dict[int, dict[str, BaseDistribution]] = defaultdict(dict)
    for key, name, value, text in rows:
        distribution = parse(text)
        params[key][name] = distribution.to_external_repr(value)
        distributions[key][name] = distribution
    return params, distributions


def _values(rows: Iterable[Any]) -> dict[int, dict[int, float]]:
    """Return the values of each trial by objective, or its reports by step."""
    values: dict[int, dict[int, float]] = {}
    for key, place, value, kind in rows:
        values.setdefault(key, {})[place] = value if kind == "FINITE" else _UNREAL[kind]
    return values


_COLUMNS = {
    "params": ("trial_id", "param_name", "param_value", "distribution_json", "param_id"),
    "values": ("trial_id", "objective", "value", "value_type", "trial_value_id"),
    "intermediate_values": (
        *("trial_id", "step", "intermediate_value", "intermediate_value_type"),
        "trial_intermediate_value_id",
    ),
}
"""By what it holds, the columns of a table ``trial_...``; the last gives the order of its rows."""


def _of_trials(what: str, study_id: int) -> Select[Any]:
    from sqlalchemy import select

    trials = _trial_table()
    table = _table(f"trial_{what}", *_COLUMNS[what])
    *wanted, order = (table.c[name] for name in _COLUMNS[what])
    joined = table.join(trials, table.c.trial_id == trials.c.trial_id)
    return select(*wanted).select_from(joined).where(trials.c.study_id == study_id).order_by(order)


def _trials(study_id: int) -> Select[Any]:
    from sqlalchemy import select

    one = _trial_table().c
    wanted = (one.trial_id, one.number, one.state, one.datetime_start, one.datetime_complete)
    return select(*wanted).where(one.study_id == study_id)


def _counted(connection: Connection, study_id: int) -> Hashable:
    """Return how many trials ended in each state, the last of them, and when that was."""
    from sqlalchemy import func
    from sqlalchemy import select

    one = _trial_table().c
    counted = (func.count(), func.max(one.trial_id), func.max(one.datetime_complete))
    query = select(one.state, *counted).where(one.study_id == study_id).group_by(one.state)
    return frozenset(tuple(row) for row in connection.execute(query) if row[0] in FINISHED)


def _trial_table() -> TableClause:
    from sqlalchemy import DateTime
    from sqlalchemy import Enum
    from sqlalchemy import column
    from sqlalchemy import table

    return table(
        "trials",
        *(column(name) for name in ("trial_id", "number", "study_id")),
        column("state", Enum(TrialState)),
        *(column(name, DateTime) for name in ("datetime_start", "datetime_complete")),
    )


def _table(name: str, *columns: str) -> TableClause:
    from sqlalchemy import column
    from sqlalchemy import table

    return table(name, *(column(one) for one in columns))

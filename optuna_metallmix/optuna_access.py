"""Access what Optuna keeps private; no other module uses its private names.

A sampler is passed a study whose storage and ids are private attributes. With ``HyperbandPruner``
that study is a substitute with few other attributes (``optuna/pruners/_hyperband.py``,
``_BracketStudy``, Optuna 4.8 to 5.0). The methods called on the storage are public
(:class:`optuna.storages.BaseStorage`).
"""

from __future__ import annotations

from datetime import datetime
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from optuna import Study
from optuna.samplers import BaseSampler
from optuna.samplers import PartialFixedSampler
from optuna.storages import BaseStorage
from optuna.storages import GrpcStorageProxy
from optuna.storages import InMemoryStorage
from optuna.storages import RDBStorage
from optuna.storages import _CachedStorage
from optuna.storages.journal import JournalRedisBackend
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy as FrozenStudy
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.text import hide_passwords


if TYPE_CHECKING:
    from optuna.artifacts._protocol import ArtifactStore as ArtifactStore
    from sqlalchemy import URL
    from sqlalchemy import Engine


PREFERENTIAL_ATTR = "preference:is_preferential"
"""System attribute of a preferential study (optuna-dashboard 0.21)."""


def storage_of(study: Study) -> BaseStorage:
    """Return the storage of a study."""
    return study._storage


def study_id_of(study: Study | FrozenStudy) -> int:
    """Return the id of a study in its storage."""
    return study._study_id


def study_key(study: Study) -> tuple[str, str, int]:
    """Return a key that is unique among the studies that share a sampler object.

    Names and ids are unique in a storage only. An in-memory storage is identified by its object.
    """
    location = location_of(storage_of(study)) or f"in memory {id(storage_of(study))}"
    return location, study.study_name, study._study_id


def trial_id_of(trial: FrozenTrial) -> int:
    """Return the id of a trial in its storage."""
    return trial._trial_id


def trial_key(study: Study, trial: FrozenTrial) -> tuple[str, str, int, int]:
    """Return a key that is unique among the trials that share a sampler object."""
    return (*study_key(study), trial._trial_id)


def database_url(storage: BaseStorage) -> str | None:
    """Return the URL that a database was opened by, ``None`` for other storages."""
    backend = getattr(storage, "_backend", storage)
    return backend.url if isinstance(backend, RDBStorage) else None


def close_idle_connections(storage: BaseStorage) -> None:
    """Close the connections to a database server that its pool keeps open without using them.

    Optuna checks the tables of a storage with two connections, and its pool keeps both.
    """
    backend = getattr(storage, "_backend", storage)
    if isinstance(backend, RDBStorage):
        from sqlalchemy.pool import QueuePool

        is_server = backend.engine.url.get_backend_name() != "sqlite"
        if is_server and isinstance(backend.engine.pool, QueuePool):
            backend.engine.dispose()


def real_study(study: Study) -> Study:
    """Return an ordinary study, also for Hyperband's substitute."""
    return Study(study_name=study.study_name, storage=study._storage)


def is_single_objective(study: Study | FrozenStudy) -> bool:
    """Return whether a study has exactly one direction, maximize or minimize."""
    directions = study.directions
    return len(directions) == 1 and directions[0] is not StudyDirection.NOT_SET


def all_trials(study: Study) -> list[FrozenTrial]:
    """Return all trials of a study without copying them; do not modify them."""
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


def find_trial(study: Study, number: int) -> FrozenTrial | None:
    """Return the trial of a study with a number, ``None`` if there is none."""
    try:
        trial_id = study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)
    except KeyError:
        return None
    return study._storage.get_trial(trial_id)


def is_enqueued(trial: FrozenTrial) -> bool:
    """Return whether the parameters of a trial were fixed with ``enqueue_trial``."""
    return trial.state is TrialState.WAITING or "fixed_params" in trial.system_attrs


def local_time(moment: datetime) -> datetime:
    """Return a time without a time zone, in local time, as Optuna itself stores times.

    Trials that are added by hand or imported may have a time zone; the two cannot be compared.
    """
    if moment.tzinfo is None:
        return moment
    try:
        return moment.astimezone().replace(tzinfo=None)
    except (OverflowError, OSError, ValueError):  # at the ends of the calendar
        return moment.replace(tzinfo=None)


def duration_of(trial: FrozenTrial) -> timedelta | None:
    """Return the duration of a trial; ``None`` if only one of its ends has a time zone."""
    try:
        return trial.duration
    except TypeError:
        return None


def enqueued_params(trial: FrozenTrial) -> dict[str, Any]:
    """Return the values that were fixed with ``enqueue_trial``; empty if there are none."""
    params = trial.system_attrs.get("fixed_params")
    return params if isinstance(params, dict) else {}


def is_feasible(trial: FrozenTrial) -> bool:
    """Return whether all constraint values are at most 0.

    Those of ``constraints_func`` are a list (Optuna 4 and 5), those of ``trial.set_constraint``
    have a key each (Optuna 5).
    """
    if not (attributes := trial.system_attrs):  # the usual case of trials read from tables
        return True
    constraints = attributes.get("constraints") or ()
    named = [v for k, v in attributes.items() if k.startswith("constraints:")]
    return all(value <= 0 for value in [*constraints, *named])


def is_feasible_own(trial: FrozenTrial) -> bool:
    """Return whether a trial of the current study is feasible; a damaged constraint is violated.

    A past study with one is left out instead.
    """
    try:
        return is_feasible(trial)
    except (TypeError, ValueError):
        return False


def may_skip_before_trial(sampler: BaseSampler) -> bool:
    """Return whether ``after_trial`` of a sampler works without its ``before_trial``.

    It does if the sampler has no ``before_trial``, and in Optuna's samplers that evaluate
    constraints in ``after_trial`` (4.8 to 5.0).
    """
    if isinstance(sampler, PartialFixedSampler):
        return may_skip_before_trial(sampler._base_sampler)
    has_constraints = getattr(sampler, "_constraints_func", None) is not None
    return has_constraints or type(sampler).before_trial is BaseSampler.before_trial


def release_grid_point(study: Study, trial: FrozenTrial) -> None:
    """Let ``GridSampler`` use the point of a trial again, because the trial has other values.

    The point is in two system attributes (``optuna/samplers/_grid.py``, Optuna 4.8 to 5.0).
    """
    storage = study._storage
    if "grid_id" in storage.get_trial_system_attrs(trial._trial_id):
        storage.set_trial_system_attr(trial._trial_id, "grid_id", -1)
        storage.set_trial_system_attr(trial._trial_id, "search_space", {})


def find_study(study: Study, storage: BaseStorage) -> int | None:
    """Return the id of a study in a storage that may be its own, opened in another way.

    Addresses do not tell: a server may have several names and users, or be behind a proxy, and a
    file several links. But a study of the same name with the same first trials is the same study,
    or a copy of it. So is one whose trials cannot be compared: a study must not be its own past.
    """
    if storage is study._storage:
        return study._study_id
    try:
        study_id = storage.get_study_id_from_name(study.study_name)
    except KeyError:
        return None
    try:
        own = _first_trials(study._storage, study._study_id)
        others = _first_trials(storage, study_id)  # read later, and so no fewer
    except Exception:  # any: it depends on the storage
        return study_id
    has_as_many = len(own) <= len(others) and bool(own) == bool(others)
    return study_id if has_as_many and all(map(_are_same, own, others)) else None


def _first_trials(storage: BaseStorage, study_id: int) -> list[FrozenTrial]:
    """Return up to three trials."""
    trials: list[FrozenTrial] = []
    for number in range(3):
        try:
            trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, number)
        except KeyError:
            break
        trials.append(storage.get_trial(trial_id))
    return trials


def _are_same(first: FrozenTrial, second: FrozenTrial) -> bool:
    """Return whether two trials of the same number are the same, as far as they can be compared.

    Imported trials of different studies may start at the same time, midnight.
    """
    starts = [trial.datetime_start for trial in (first, second)]
    if None in starts:
        fixed = [trial.system_attrs.get("fixed_params") for trial in (first, second)]
        is_same = starts[0] is starts[1] and fixed[0] == fixed[1]
    else:  # a proxy server in another time zone returns its own local time
        times = [start.replace(tzinfo=None) for start in starts if start is not None]
        is_same = (times[0] - times[1]) % timedelta(minutes=15) == timedelta(0)
    if first.state.is_finished() and second.state.is_finished():
        is_same = is_same and (first.values, first.params) == (second.values, second.params)
    return is_same


def same_storage(first: BaseStorage, second: BaseStorage) -> bool:
    """Return whether two storage objects have the same address, and so the same studies."""
    location = location_of(first)
    return first is second or (location is not None and location == location_of(second))


def location_of(storage: BaseStorage) -> str | None:
    """Return the address or file of a storage; ``None`` if it is unknown or in memory."""
    backend = getattr(storage, "_backend", storage)
    try:
        if isinstance(backend, RDBStorage):
            return _database_location(backend.engine.url)
        if isinstance(backend, GrpcStorageProxy):
            return f"grpc://{backend._host}:{backend._port}"
        if isinstance(backend, JournalRedisBackend):
            url = urlsplit(backend._url)
            return f"redis://{url.hostname}:{url.port or 6379}{url.path or '/0'} {backend._prefix}"
        file = getattr(backend, "_file_path", None)
        return None if file is None else str(Path(file).resolve())
    except (OSError, RuntimeError, ValueError, TypeError):  # it is needed for no more than names
        return None


def _database_location(url: URL) -> str | None:
    if url.get_backend_name() != "sqlite":
        return f"{url.get_backend_name()}://{url.host}:{url.port}/{url.database}?{url.query}"
    file = sqlite_file(url)
    return None if file is None else str(file.resolve())


def sqlite_file(url: URL) -> Path | None:
    """Return the file of an SQLite database; ``None`` if it is in memory.

    Raises:
        ValueError: See :func:`file_of_uri`.
    """
    name, options = url.database or ":memory:", url.query
    if str(options.get("uri")).lower() in ("true", "1", "yes") and name.startswith("file:"):
        name = ":memory:" if options.get("mode") == "memory" else file_of_uri(name)
    return None if name == ":memory:" else Path(name)


def file_of_uri(uri: str) -> str:
    """Return the path of a ``file:`` URI.

    Raises:
        ValueError: The URI has a host, usually because it has two slashes.
    """
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise ValueError("write file:///absolute/path or file:relative/path")
    return url2pathname(parts.path)


def is_in_memory(storage: BaseStorage) -> bool:
    """Return whether the studies of a storage end with this process."""
    backend = getattr(storage, "_backend", storage)
    return isinstance(backend, InMemoryStorage | RDBStorage) and location_of(storage) is None


def describe_storage(storage: BaseStorage) -> str:
    """Return the URL (without its passwords), file or type of a storage, for messages."""
    backend = getattr(storage, "_backend", storage)
    if isinstance(backend, RDBStorage):
        return hide_passwords(repr(backend.engine.url))
    return location_of(storage) or type(backend).__name__


def plain_rdb_engine(storage: BaseStorage) -> Engine | None:
    """Return the engine of an Optuna RDB storage; ``None`` for subclasses, which may read it
    differently, and for other storages."""
    backend = storage._backend if type(storage) is _CachedStorage else storage
    return backend.engine if type(backend) is RDBStorage else None


def close_storage(storage: BaseStorage) -> None:
    """Close the database connections of a storage, which Optuna leaves open."""
    backend = getattr(storage, "_backend", storage)
    if isinstance(backend, RDBStorage):
        backend.remove_session()
        backend.engine.dispose()

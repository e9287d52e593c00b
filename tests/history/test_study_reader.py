"""Large pasts, storages that are read by several readers, and studies that vanish."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.distributions import FloatDistribution
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history import study_reader
from optuna_metallmix.history.history import History
from optuna_metallmix.history.history import read_history
from optuna_metallmix.history.history import read_past
from optuna_metallmix.history.scores import sample_trials
from optuna_metallmix.history.study_reader import BEYOND_BOUNDS


OpenStorage = Callable[[Path], BaseStorage]


def _sqlite(path: Path) -> BaseStorage:
    return get_storage(f"sqlite:///{path}")


def _journal(path: Path) -> BaseStorage:
    return JournalStorage(JournalFileBackend(str(path)))


def _memory(path: Path) -> BaseStorage:
    return InMemoryStorage()


every_storage = pytest.mark.parametrize("open_storage", [_sqlite, _journal, _memory])


def trial_of(value: float, n_params: int = 1, state: Any = TrialState.COMPLETE) -> FrozenTrial:
    space: dict[str, BaseDistribution] = {
        f"x{i}": FloatDistribution(0, 1) for i in range(n_params)
    }
    values = [value] if state is TrialState.COMPLETE else None
    params = dict.fromkeys(space, min(value, 1.0))
    return create_trial(state=state, params=params, distributions=space, values=values)


def add(storage: BaseStorage, name: str, n_trials: int, n_params: int = 1) -> optuna.Study:
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
    study.add_trials([trial_of(i / max(n_trials, 2), n_params) for i in range(n_trials)])
    return study


def sizes(history: History) -> dict[str, int]:
    return {study.name: len(study.trials) for study in history.studies}


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("STUDIES", 3), ("TRIALS", 40), ("CELLS", 200)):
        monkeypatch.setattr(study_reader, f"MAX_{name}", value)


@every_storage
@pytest.mark.usefixtures("small_bounds")
def test_the_latest_studies_of_ten_trials_come_first(
    tmp_path: Path, open_storage: OpenStorage
) -> None:
    storage = open_storage(tmp_path / "past")
    for name, n in (("a", 12), ("b", 12), ("c", 3), ("d", 12), ("e", 4), ("f", 12), ("g", 5)):
        add(storage, name, n)
    history = read_history(storage)
    assert list(sizes(history)) == ["b", "d", "f"]
    ((what, why),) = history.left_out.items()
    assert what == BEYOND_BOUNDS
    assert why.startswith("4 studies are not used, as at most 3 past studies with 40 trials each")
    assert read_history(storage) == history
    named = read_history(storage, names=["a", "c"])
    assert list(sizes(named)) == ["a", "c"]
    assert named.left_out == {}


@every_storage
@pytest.mark.usefixtures("small_bounds")
def test_a_study_of_many_trials_keeps_the_best_and_some_of_all(
    tmp_path: Path, open_storage: OpenStorage
) -> None:
    storage = open_storage(tmp_path / "past")
    add(storage, "a", 100)
    history = read_history(storage)
    assert sizes(history) == {"a": 40}
    assert history.left_out[BEYOND_BOUNDS].startswith("60 trials are not used")
    values = [trial.value for trial in history.studies[0].trials]
    assert values[:10] == [i / 100 for i in range(99, 89, -1)]
    assert values[-1] == 0
    assert np.ptp(np.diff(np.array(values[10:], float))) == pytest.approx(0.01)


@every_storage
@pytest.mark.usefixtures("small_bounds")
def test_many_parameters_leave_fewer_trials(tmp_path: Path, open_storage: OpenStorage) -> None:
    storage = open_storage(tmp_path / "past")
    for name in "ab":
        add(storage, name, 40, n_params=5)
    assert sizes(read_history(storage)) == {"a": 20, "b": 20}


@every_storage
@pytest.mark.usefixtures("small_bounds")
def test_a_latest_trial_with_few_parameters_does_not_lift_the_bounds(
    tmp_path: Path, open_storage: OpenStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_reader, "_MAX_BATCH_TRIALS", 20)
    storage = open_storage(tmp_path / "past")
    for name in "abc":
        add(storage, name, 30, n_params=20).add_trial(trial_of(0.5))
    history = read_history(storage)
    assert sizes(history) == {"c": 31}
    assert history.left_out[BEYOND_BOUNDS].startswith("2 studies are not used")


def test_few_studies_are_read_whole(tmp_path: Path) -> None:
    storage = InMemoryStorage()
    for name in "ab":
        add(storage, name, 300, n_params=4)
    history = read_history(storage)
    assert sizes(history) == {"a": 300, "b": 300}
    assert history.left_out == {}


def test_trials_without_a_value_are_sampled_as_the_worst() -> None:
    failed = [trial_of(0.5, state=TrialState.FAIL) for _ in range(30)]
    complete = [trial_of(i / 30) for i in range(30)]
    kept = sample_trials([*failed, *complete], 1.0, 20)
    assert len(kept) == 20
    assert complete[-1] in kept
    assert sum(trial.state is TrialState.FAIL for trial in kept) in range(7, 10)
    assert sample_trials(complete, -1.0, 30) == complete
    endless = [trial_of(math.inf) for _ in range(30)]  # too good to be ranked
    assert sample_trials([*endless, *complete], 1.0, 20) == sample_trials(complete, 1.0, 20)
    assert sample_trials([*endless, *complete[:9]], 1.0, 20) == complete[:9]
    assert sample_trials(endless, 1.0, 20) == []
    worst_first = sample_trials(complete, -1.0, 2)
    assert [trial.value for trial in worst_first] == [0.0, pytest.approx(29 / 30)]


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """The statements that are executed in any database."""
    executed: list[str] = []

    def listen(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        executed.append(statement)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", listen)
    yield executed
    sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", listen)


def test_the_number_of_statements_does_not_grow_with_the_studies(
    tmp_path: Path, statements: list[str]
) -> None:
    counts = []
    for n_studies in (2, 12):
        storage = _sqlite(tmp_path / f"{n_studies}.db")
        for i in range(n_studies):
            add(storage, f"{i}", 3)
        statements.clear()
        assert len(read_history(storage).studies) == n_studies
        counts.append(len(statements))
    assert counts[0] == counts[1]


def test_parameters_are_read_of_the_kept_trials_only(
    tmp_path: Path, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = _sqlite(tmp_path / "past.db")
    add(storage, "a", 30)
    monkeypatch.setattr(study_reader, "MAX_TRIALS", 5)
    statements.clear()
    read_history(storage)
    (of_params,) = [s for s in statements if "distribution_json" in s]
    assert of_params.count(",") == 3 + 4  # four columns, five trials


@pytest.mark.parametrize(("max_rows", "n_kept"), [(120, 30), (100, 24), (90, 20), (10, 20)])
def test_number_of_trials_of_all_studies_is_bounded(
    max_rows: int, n_kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = InMemoryStorage()
    for name in "abcd":
        add(storage, name, 30)
    monkeypatch.setattr(study_reader, "MAX_ROWS", max_rows)
    history = read_history(storage)
    assert [len(study.trials) for study in history.studies] == [n_kept] * 4
    assert (f"{max_rows} trials" in " ".join(history.left_out.values())) == (n_kept < 30)


def test_more_studies_than_can_be_read_are_remembered(
    tmp_path: Path, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_reader, "MAX_STUDIES", 20)
    for i in range(30):
        add(_sqlite(tmp_path / "past.db"), f"{i}", 3)
    first = read_history(_sqlite(tmp_path / "past.db"))
    statements.clear()
    again = read_history(_sqlite(tmp_path / "past.db"))
    assert len(first.studies) == 20
    assert [s.trials for s in again.studies] == [s.trials for s in first.studies]
    assert all(a.trials is b.trials for a, b in zip(first.studies, again.studies, strict=True))
    assert not [s for s in statements if "distribution_json" in s]


def test_an_imported_study_that_is_corrected_is_read_again(tmp_path: Path) -> None:
    storage = _sqlite(tmp_path / "past.db")
    trials = [trial_of(value) for value in (0.25, 0.5)]
    add(storage, "a", 0).add_trials(trials)
    assert [t.value for t in read_history(storage).studies[0].trials] == [0.5, 0.25]
    optuna.delete_study(study_name="a", storage=storage)  # SQLite uses its ids again
    for trial in trials:
        trial.values = [-float(trial.value or 0)]
    add(storage, "a", 0).add_trials(trials)
    assert [t.value for t in read_history(storage).studies[0].trials] == [-0.25, -0.5]


class Deleting(InMemoryStorage):
    """Deletes the study "b" before the n-th call for trials."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.n = n

    def get_all_trials(self, *args: Any, **options: Any) -> list[FrozenTrial]:
        self.n -= 1
        if self.n == 0:
            self.delete_study(self.get_study_id_from_name("b"))
        return super().get_all_trials(*args, **options)


@pytest.mark.parametrize("n", range(1, 9))
def test_a_study_that_is_deleted_while_it_is_read_is_left_out(n: int) -> None:
    storage = Deleting(-1)
    for name in "abc":
        add(storage, name, 4)
    storage.n = n
    assert sizes(read_history(storage)) == {"a": 4, "c": 4}
    storage.n = 0
    assert sizes(read_history(storage)) == {"a": 4, "c": 4}


@pytest.mark.parametrize("n", range(1, 14))
def test_a_study_that_is_deleted_from_a_database_is_left_out(tmp_path: Path, n: int) -> None:
    storage = _sqlite(tmp_path / "past.db")
    for name in "abc":
        add(storage, name, 4)
    count = 0

    def delete(*_: Any) -> None:
        nonlocal count
        count += 1
        if count == n:
            optuna.delete_study(study_name="b", storage=_sqlite(tmp_path / "past.db"))

    engine: Any = storage._backend.engine  # type: ignore[attr-defined]
    sqlalchemy.event.listen(engine, "before_cursor_execute", delete)
    history = read_history(storage)
    assert {"a": 4, "c": 4}.items() <= sizes(history).items()
    sqlalchemy.event.remove(engine, "before_cursor_execute", delete)
    if count >= n:
        assert sizes(read_history(storage)) == {"a": 4, "c": 4}


class Failing(InMemoryStorage):
    error: BaseException = OSError(5, "Input/output error")

    def get_all_trials(self, study_id: int, *args: Any, **options: Any) -> list[FrozenTrial]:
        if self.get_study_name_from_id(study_id) == "b":
            raise self.error
        return super().get_all_trials(study_id, *args, **options)


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "Input/output error"),
        PermissionError("no"),
        KeyError("b"),
        RuntimeError("postgresql://me:s3cr/et@host/db is gone"),
        MemoryError(),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
    ],
)
def test_whatever_a_study_raises_leaves_only_it_out(error: Exception) -> None:
    storage = Failing()
    storage.error = error
    for name in "abc":
        add(storage, name, 4)
    history = read_past(optuna.create_study(), storage, None)
    assert sizes(history) == {"a": 4, "c": 4}
    assert history.left_out["b"].startswith(f"it cannot be read ({type(error).__name__}")
    assert "s3cr" not in history.left_out["b"]


def test_threads_read_a_past_once(tmp_path: Path, statements: list[str]) -> None:
    for name in "abc":
        add(_sqlite(tmp_path / "past.db"), name, 4)
    statements.clear()
    start = threading.Barrier(8)

    def read(_: int) -> History:
        storage = _sqlite(tmp_path / "past.db")
        start.wait()
        return read_history(storage)

    with ThreadPoolExecutor(8) as pool:
        histories = list(pool.map(read, range(8)))
    assert all(history == histories[0] for history in histories)
    assert len([s for s in statements if "distribution_json" in s]) == 1


def test_an_unreachable_database_is_asked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = _sqlite(tmp_path / "past.db")
    for name in "abc":
        add(storage, name, 4)
    calls: list[int] = []

    def connect(*_: Any) -> Any:
        calls.append(1)
        raise sqlalchemy.exc.OperationalError("connect", {}, Exception("too many clients"))

    monkeypatch.setattr(sqlalchemy.Engine, "connect", connect)
    with pytest.raises(HistoryError, match=r"cannot be read .*too many clients.*Check"):
        read_history(storage)
    assert len(calls) == 1

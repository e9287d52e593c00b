"""A study that is continued, or has several workers, learns from a single past."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import create_trial

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix.history.history import History
from optuna_metallmix.history.history import read_past
from optuna_metallmix.history.snapshot import SNAPSHOT_ATTR


AddStudy = Callable[..., optuna.Study]
OpenStorage = Callable[[Path], BaseStorage]


def _sqlite(path: Path) -> BaseStorage:
    return get_storage(f"sqlite:///{path}")


def _journal(path: Path) -> BaseStorage:
    return JournalStorage(JournalFileBackend(str(path)))


def _memory(path: Path) -> BaseStorage:
    return InMemoryStorage()


every_storage = pytest.mark.parametrize("open_storage", [_sqlite, _journal, _memory])


def sample(study: optuna.Study, source: Any = None) -> History:
    """Read the past as a sampler of a new process does."""
    return read_past(study, source, None, is_sampling=True)


def n_trials(history: History) -> dict[str, int]:
    return {study.name: len(study.trials) for study in history.studies}


def grow(storage: BaseStorage, add_study: AddStudy) -> None:
    """Add trials to the study "skin", with times of last year, and a study "bone"."""
    skin = optuna.load_study(study_name="skin", storage=storage)
    for trial in skin.trials[:3]:
        trial.datetime_start = trial.datetime_complete = datetime(2025, 1, 1)
        skin.add_trial(
            create_trial(
                params={**trial.params, "lr": 0.01},
                distributions=trial.distributions,
                value=trial.value,
            )
        )
    add_study(storage, "bone", n_trials=5)


@every_storage
@pytest.mark.parametrize("is_own", [True, False])
def test_what_is_finished_later_is_left_out(
    tmp_path: Path, add_study: AddStudy, open_storage: OpenStorage, is_own: bool
) -> None:
    storage = open_storage(tmp_path / "past")
    add_study(storage, "skin", n_trials=6)
    study = optuna.create_study(storage=storage if is_own else None, study_name="mine")
    source = None if is_own else storage
    first = sample(study, source)
    grow(storage, add_study)
    later = sample(study, source)
    assert later.studies == first.studies
    assert n_trials(later) == {"skin": 6}
    assert later.left_out == {"bone": "it had no complete trial when this study began"}
    assert read_past(study, source, None).studies == first.studies
    other = optuna.create_study(storage=storage if is_own else None, study_name="other")
    assert n_trials(sample(other, source)) == {"skin": 9, "bone": 5}


@every_storage
def test_a_trial_that_was_running_is_left_out(
    tmp_path: Path, add_study: AddStudy, open_storage: OpenStorage
) -> None:
    storage = open_storage(tmp_path / "past")
    skin = add_study(storage, "skin", n_trials=6)
    running = skin.ask(skin.trials[0].distributions)
    study = optuna.create_study(storage=storage, study_name="mine")
    assert n_trials(sample(study)) == {"skin": 6}
    skin.tell(running, 0.5)
    assert n_trials(sample(study)) == {"skin": 6}


@every_storage
def test_a_deleted_past_study_gives_the_study_a_new_past(
    tmp_path: Path, add_study: AddStudy, open_storage: OpenStorage
) -> None:
    storage = open_storage(tmp_path / "past")
    for name in ("skin", "chest"):
        add_study(storage, name, n_trials=6)
    study = optuna.create_study(storage=storage, study_name="mine")
    sample(study)
    optuna.delete_study(study_name="chest", storage=storage)
    grow(storage, add_study)
    for _ in range(2):
        assert n_trials(sample(study)) == {"skin": 9, "bone": 5}
    add_study(storage, "lung", n_trials=5)
    assert n_trials(sample(study)) == {"skin": 9, "bone": 5}


def test_another_storage_gives_the_study_a_new_past(tmp_path: Path, add_study: AddStudy) -> None:
    first, second = _sqlite(tmp_path / "a.db"), _sqlite(tmp_path / "b.db")
    add_study(first, "skin", n_trials=6)
    add_study(second, "skin", n_trials=4)
    study = optuna.create_study()
    assert n_trials(sample(study, first)) == {"skin": 6}
    assert n_trials(sample(study, second)) == {"skin": 4}


def test_only_a_sampler_stores_the_past(add_study: AddStudy) -> None:
    study = optuna.create_study()
    storage = study._storage
    add_study(storage, "skin", n_trials=6)
    read_past(study, None, None)
    assert storage.get_study_system_attrs(study._study_id) == {}
    sample(study)
    assert list(storage.get_study_system_attrs(study._study_id)) == [SNAPSHOT_ATTR]


def test_a_study_without_a_past_may_have_one_later(add_study: AddStudy) -> None:
    study = optuna.create_study()
    assert sample(study).studies == ()
    add_study(study._storage, "skin", n_trials=6)
    assert n_trials(sample(study)) == {"skin": 6}


@pytest.mark.parametrize(
    "damaged",
    [
        "skin",
        [1],
        {},
        {"newest": 3, "unfinished": None, "digest": ""},
        {"newest": "3", "unfinished": [], "digest": ""},
        {"newest": True, "unfinished": [], "digest": ""},
        {"newest": 10**30, "unfinished": [], "digest": ""},
        {"newest": 3, "unfinished": ["x"], "digest": ""},
        {"newest": 3, "unfinished": [], "digest": [1]},
    ],
)
def test_a_damaged_attribute_is_replaced(
    tmp_path: Path, add_study: AddStudy, damaged: Any
) -> None:
    storage = _sqlite(tmp_path / "past.db")
    add_study(storage, "skin", n_trials=6)
    study = optuna.create_study(storage=storage, study_name="mine")
    storage.set_study_system_attr(study._study_id, SNAPSHOT_ATTR, damaged)
    assert n_trials(sample(study)) == {"skin": 6}
    stored = storage.get_study_system_attrs(study._study_id)[SNAPSHOT_ATTR]
    assert stored["newest"] == 6
    assert n_trials(sample(study)) == {"skin": 6}


class Unwritable(InMemoryStorage):
    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        raise OSError("No space left on device")


def test_a_past_that_cannot_be_stored_is_read(add_study: AddStudy) -> None:
    storage = Unwritable()
    add_study(storage, "skin", n_trials=6)
    study = optuna.create_study(storage=storage)
    assert n_trials(sample(study)) == n_trials(sample(study)) == {"skin": 6}


class Failing(InMemoryStorage):
    fails = False

    def get_all_trials(self, study_id: int, *args: Any, **options: Any) -> Any:
        if self.fails and self.get_study_name_from_id(study_id) == "chest":
            raise ConnectionResetError("for a moment")
        return super().get_all_trials(study_id, *args, **options)


def test_a_study_that_cannot_be_read_for_a_moment_does_not_change_the_past(
    add_study: AddStudy,
) -> None:
    storage = Failing()
    for name in ("skin", "chest"):
        add_study(storage, name, n_trials=6)
    study = optuna.create_study(storage=storage)
    sample(study)
    grow(storage, add_study)
    storage.fails = True
    assert n_trials(sample(study)) == {"skin": 6}
    storage.fails = False
    assert n_trials(sample(study)) == {"skin": 6, "chest": 6}


def test_the_attribute_is_bounded(tmp_path: Path, add_study: AddStudy) -> None:
    storage = InMemoryStorage()
    add_study(storage, "skin", n_trials=6)
    other = optuna.create_study(storage=storage)
    for _ in range(3_000):
        other.enqueue_trial({"x": 1})
    study = optuna.create_study(storage=storage)
    sample(study)
    stored = storage.get_study_system_attrs(study._study_id)[SNAPSHOT_ATTR]
    assert stored["unfinished"] == list(range(2_006, 3_006))


def _search(path: Path, n_more: int) -> optuna.Study:
    storage = _sqlite(path)
    sampler = MetaLLMiXSampler(llm=False, seed=0)
    study = optuna.create_study(
        storage=storage, study_name="mine", sampler=sampler, load_if_exists=True
    )
    study.optimize(_objective, n_trials=n_more)
    return study


def _objective(trial: optuna.Trial) -> float:
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    return lr + trial.suggest_int("depth", 1, 6)


def test_a_continued_study_has_the_same_trials_although_its_past_grew(
    tmp_path: Path, add_study: AddStudy
) -> None:
    for name in ("same", "grown"):
        add_study(_sqlite(tmp_path / name), "skin", n_trials=12, seed=1)
        _search(tmp_path / name, 2)
    grow(_sqlite(tmp_path / "grown"), add_study)
    same, grown = (_search(tmp_path / name, 3) for name in ("same", "grown"))
    assert len(same.trials) == 5
    assert [t.params for t in same.trials] == [t.params for t in grown.trials]

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend

from optuna_metallmix.optuna_access import describe_storage
from optuna_metallmix.optuna_access import is_enqueued
from optuna_metallmix.optuna_access import is_single_objective
from optuna_metallmix.optuna_access import same_storage


def _journal(path: Path | str) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path)))


def test_storages_of_one_place_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    absolute = get_storage(f"sqlite:///{tmp_path / 'a.db'}")
    assert same_storage(absolute, get_storage("sqlite:///a.db"))
    assert not same_storage(absolute, get_storage("sqlite:///b.db"))
    assert same_storage(_journal("a.jsonl"), _journal(tmp_path / "a.jsonl"))
    assert not same_storage(_journal("a.jsonl"), absolute)


def test_storages_without_a_place_are_the_same_only_as_one_object() -> None:
    memory = InMemoryStorage()
    assert same_storage(memory, memory)
    assert not same_storage(memory, InMemoryStorage())
    first, second = get_storage("sqlite://"), get_storage("sqlite://")
    assert same_storage(first, first)
    assert not same_storage(first, second)


def test_storages_are_described_by_their_place(tmp_path: Path) -> None:
    assert "a.db" in describe_storage(get_storage(f"sqlite:///{tmp_path / 'a.db'}"))
    assert describe_storage(_journal(tmp_path / "a.jsonl")) == str(tmp_path / "a.jsonl")
    assert describe_storage(InMemoryStorage()) == "InMemoryStorage"


def test_enqueued_trials_are_known_before_and_after_they_start() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"x": 1})
    assert is_enqueued(study.trials[0])
    study.ask()
    assert is_enqueued(study.trials[0])
    study.ask()
    assert not is_enqueued(study.trials[1])


def test_one_direction_is_a_single_objective() -> None:
    assert is_single_objective(optuna.create_study())
    assert not is_single_objective(optuna.create_study(directions=["minimize", "maximize"]))

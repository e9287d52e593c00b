from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend

import optuna_metallmix
from optuna_metallmix.optuna_access import close_storage
from optuna_metallmix.optuna_access import describe_storage
from optuna_metallmix.optuna_access import is_enqueued
from optuna_metallmix.optuna_access import is_single_objective
from optuna_metallmix.optuna_access import plain_rdb_engine
from optuna_metallmix.optuna_access import same_storage


PACKAGE = Path(optuna_metallmix.__file__).parent
PRIVATE_ATTRIBUTES = {"_storage", "_study_id", "_trial_id", "_backend", "_file_path"}


def _private_uses(path: Path) -> Iterator[str]:
    """Return the private names of Optuna that a file imports or reads from another object."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "optuna":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in names if "._" in name)
        elif isinstance(node, ast.Attribute) and node.attr in PRIVATE_ATTRIBUTES:
            owner = node.value.id if isinstance(node.value, ast.Name) else None
            yield from [node.attr] * (owner != "self")


def test_only_one_module_uses_private_names_of_optuna() -> None:
    used = {path.name: sorted(_private_uses(path)) for path in PACKAGE.rglob("*.py")}
    assert used.pop("optuna_access.py")
    assert {name: names for name, names in used.items() if names} == {}


def _journal(path: Path | str) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path)))


def test_storages_in_the_same_place_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    absolute = get_storage(f"sqlite:///{tmp_path / 'a.db'}")
    assert same_storage(absolute, get_storage("sqlite:///a.db"))
    assert not same_storage(absolute, get_storage("sqlite:///b.db"))
    assert same_storage(_journal("a.jsonl"), _journal(tmp_path / "a.jsonl"))
    assert not same_storage(_journal("a.jsonl"), absolute)


def test_storages_in_memory_are_the_same_only_if_identical() -> None:
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


def test_a_closed_database_can_be_used_again(tmp_path: Path) -> None:
    storage = get_storage(f"sqlite:///{tmp_path / 'a.db'}")
    optuna.create_study(storage=storage, study_name="a")
    close_storage(storage)
    assert plain_rdb_engine(storage).pool.checkedin() == 0  # type: ignore[union-attr,attr-defined]
    assert [study.study_name for study in storage.get_all_studies()] == ["a"]
    close_storage(InMemoryStorage())


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

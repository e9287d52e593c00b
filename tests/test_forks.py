"""A child forked at any time, as data loaders and pools of processes do, never waits for ever.

A thread that another process had is not there to release what it held.
"""

from __future__ import annotations

import ast
import os
import signal
import sys
import threading
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import ExitStack
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import optuna
import pytest
from end_to_end import memory_past
from end_to_end import objective

import optuna_metallmix
from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import TransferSampler
from optuna_metallmix.fork_lock import _LOCKS
from optuna_metallmix.fork_lock import import_modules


PACKAGE = Path(optuna_metallmix.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
LIMIT = 120
"""Seconds until a child that hangs is ended."""

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def succeeds_in_child(work: Callable[[], object]) -> bool:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(LIMIT)
            work()
            status = 7
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


@contextmanager
def in_thread(work: Callable[[threading.Event, threading.Event], None]) -> Iterator[None]:
    """Run ``work(started, done)`` in a thread until the body ends."""
    started, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=work, args=(started, done))
    thread.start()
    started.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


def locks_in(path: Path) -> list[str]:
    """Return what a file uses that has a lock which a child would inherit."""
    names = {"Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Barrier", "Queue"}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return sorted(used & names) + sorted(imported & {"functools.cached_property"})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_lock_is_inherited(path: Path) -> None:
    assert locks_in(path) == (["Lock", "RLock"] if path.name == "fork_lock.py" else [])


@pytest.fixture(scope="module")
def past() -> optuna.storages.InMemoryStorage:
    return memory_past()


def search(past, sampler_class=MetaLLMiXSampler, seed: int = 0, **options) -> optuna.Study:
    llm = {"llm": False} if sampler_class is MetaLLMiXSampler else {}
    study = optuna.create_study(sampler=sampler_class(source_storage=past, seed=seed, **llm))
    study.optimize(objective, n_trials=4, **options)
    return study


@forks
@pytest.mark.parametrize("sampler_class", [MetaLLMiXSampler, TransferSampler])
def test_a_child_goes_on_while_a_thread_of_the_parent_holds_every_lock(past, sampler_class):
    study = search(past, sampler_class)

    def hold(started: threading.Event, done: threading.Event) -> None:
        with ExitStack() as stack:
            for lock in list(_LOCKS):
                stack.enter_context(lock)
            started.set()
            done.wait()

    def work() -> None:
        study.optimize(objective, n_trials=3, n_jobs=2)
        search(past, sampler_class, seed=1)

    with in_thread(hold):
        assert succeeds_in_child(work)


@forks
@pytest.mark.parametrize("n_jobs", [1, 3])
def test_a_child_searches_while_a_thread_of_the_parent_fits(past, n_jobs) -> None:
    other_past = memory_past()  # Optuna's own storages have locks, too

    def fit(started: threading.Event, done: threading.Event) -> None:
        seed = 100
        while not done.is_set():
            started.set()
            search(other_past, seed=seed)
            seed += 1

    with in_thread(fit):
        for seed in range(3):
            assert succeeds_in_child(lambda seed=seed: search(past, seed=seed, n_jobs=n_jobs))


@forks
def test_a_fork_waits_for_imports(tmp_path, monkeypatch) -> None:
    """A module that was half imported at the fork could not be imported in the child."""
    (tmp_path / "half_imported.py").write_text("import gate; gate.started.set(); gate.go.wait()")
    gate = ModuleType("gate")
    gate.started, gate.go = threading.Event(), threading.Event()
    monkeypatch.setitem(sys.modules, "gate", gate)
    monkeypatch.syspath_prepend(tmp_path)
    thread = threading.Thread(target=import_modules, args=("half_imported",))
    thread.start()
    gate.started.wait()
    timer = threading.Timer(0.2, gate.go.set)
    timer.start()
    assert succeeds_in_child(lambda: import_modules("half_imported"))
    thread.join()
    timer.join()

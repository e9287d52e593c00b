"""Processes that work on one study: forked from a server that has imported what they need."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from end_to_end import objective
from optuna.storages import BaseStorage
from optuna.storages import GrpcStorageProxy
from optuna.storages import JournalStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal import JournalRedisBackend
from worker import CountedLLM

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import trial_claim
from optuna_metallmix.llm import Message


FORKSERVER = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
FORKSERVER.set_forkserver_preload(
    ["optuna_metallmix", "catboost", "optuna_dashboard", "pydantic", "scipy.stats"]
)


def open_place(place: str) -> BaseStorage:
    """Open a storage by a text that processes can be passed."""
    kind, _, rest = place.partition("://")
    if kind == "grpc":
        host, _, port = rest.rpartition(":")
        return GrpcStorageProxy(host=host, port=int(port))
    if kind == "redis":
        return JournalStorage(JournalRedisBackend(place))
    if kind == "journal":
        return JournalStorage(JournalFileBackend(rest.removeprefix("/")))
    return get_storage(place)


def start_process(target: Callable[..., None], *args: Any) -> Any:
    process = FORKSERVER.Process(target=target, args=args)
    process.start()
    return process


def exit_codes(processes: Sequence[Any]) -> list[int]:
    """Wait for processes and return their exit codes."""
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def work(
    place: str, past: str | None, calls: Path, barrier: Any, n_trials: int = 2, zone: str = "UTC"
) -> None:
    """Run some trials of the study ``new`` in a time zone, once all others have started."""
    os.environ["TZ"] = zone
    time.tzset()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = MetaLLMiXSampler(source_storage=past, llm=CountedLLM(calls), judge=False, seed=0)
    barrier.wait()
    study = optuna.load_study(study_name="new", storage=open_place(place), sampler=sampler)
    study.optimize(objective, n_trials=n_trials)


SHARED_WITH_TPE = {"get_all_trials", "get_trial"}
"""The methods that ``TPESampler`` calls, too: it passes on their errors."""
STORAGE_METHODS = [name for name in vars(BaseStorage) if not name.startswith("_")]


class Countdown:
    """Acts at a moment of a run: the n-th call of a storage or a model, 1 for the first."""

    def __init__(self, moment: int, act: Callable[[], None]) -> None:
        self.n_calls = 0
        self.stopped_in = ""
        self._moment, self._act = moment, act

    def watch(self, storage: BaseStorage) -> BaseStorage:
        """Count the calls of a storage; a call is not executed before the action."""
        for name in STORAGE_METHODS:
            setattr(storage, name, self._counted(name, getattr(storage, name)))
        return storage

    def tick(self, name: str) -> None:
        self.n_calls += 1
        if self.n_calls == self._moment:
            self.stopped_in = name
            self._act()

    def _counted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            self.tick(name)
            return method(*args, **options)

        return counted


class WatchedLLM(CountedLLM):
    """Counts for a countdown, too."""

    def __init__(self, calls: Path, countdown: Countdown) -> None:
        super().__init__(calls)
        self._countdown = countdown

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        self._countdown.tick("generate")
        return super().generate(messages, schema=schema)


class PausingLLM(CountedLLM):
    """Says on standard output that it was asked, and answers after a line on standard input."""

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        print("asked", flush=True)
        sys.stdin.readline()
        return super().generate(messages, schema=schema)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt() -> None:
    """Do what Ctrl-C does."""
    os.kill(os.getpid(), signal.SIGINT)


def fail() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def run_watched(place: str, calls: Path, countdown: Countdown) -> None:
    """Run two trials of the study ``new``; a log line on a trial would read the storage, too."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = countdown.watch(open_place(place))
    sampler = MetaLLMiXSampler(llm=WatchedLLM(calls, countdown), judge=False, seed=0)
    study = optuna.load_study(study_name="new", storage=storage, sampler=sampler)
    study.optimize(objective, n_trials=2)


def count_calls(place: str, calls: Path, counted: Path) -> None:
    """Run two trials, and write to a file how many calls that took."""
    countdown = Countdown(0, kill)
    run_watched(place, calls, countdown)
    counted.write_text(str(countdown.n_calls))


def run_stopped(place: str, calls: Path, moment: int, act: Callable[[], None]) -> None:
    """Run two trials, and stop at a moment; the package itself may not pass on an error."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    countdown = Countdown(moment, act)
    try:
        run_watched(place, calls, countdown)
    except KeyboardInterrupt:
        pass
    except Exception as error:  # Optuna raises others after an error of its storage
        is_ours = f"optuna_metallmix{os.sep}" in "".join(traceback.format_tb(error.__traceback__))
        if is_ours and countdown.stopped_in not in SHARED_WITH_TPE:
            raise


def run_again(place: str, calls: Path) -> None:
    """Run two trials after a restart, and two more after the claims of dead processes expired."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = MetaLLMiXSampler(llm=CountedLLM(calls), judge=False, seed=0)
    study = optuna.load_study(study_name="new", storage=open_place(place), sampler=sampler)
    study.optimize(objective, n_trials=2)
    trial_claim.LEASE = 0.0
    study.optimize(objective, n_trials=2)


def work_slowly(place: str, calls: str) -> None:
    """Run two trials; the model answers once it is told to, see :class:`PausingLLM`."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = MetaLLMiXSampler(llm=PausingLLM(Path(calls)), judge=False, seed=0)
    study = optuna.load_study(study_name="new", storage=open_place(place), sampler=sampler)
    study.optimize(objective, n_trials=2)

"""What each of several processes runs; importable by its name in a new process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from end_to_end import choose
from end_to_end import objective
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix.llm import Message


class CountedLLM:
    """Answers, and leaves one line in a file for each question."""

    name = "counted"

    def __init__(self, calls: Path) -> None:
        self._calls = calls

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        with self._calls.open("a") as file:  # one short write in append mode is atomic
            file.write(f"{os.getpid()}\n")
        return choose()(messages, schema)


class KilledLLM(CountedLLM):
    """Takes its process with it, as the out-of-memory killer would."""

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        super().generate(messages, schema=schema)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("not reached")


def open_storage(place: str) -> BaseStorage | str:
    """Open what both the test and its processes use."""
    if place.endswith(".jsonl"):
        return JournalStorage(JournalFileBackend(place))
    return f"sqlite:///{place}"


def work(place: str, calls: str, barrier: Any, n_trials: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = MetaLLMiXSampler(llm=CountedLLM(Path(calls)), judge=False, seed=0)
    storage = open_storage(place)
    barrier.wait()
    study = optuna.load_study(study_name="new", storage=storage, sampler=sampler)
    study.optimize(objective, n_trials=n_trials)


def die_while_asking(place: str, calls: str) -> None:
    sampler = MetaLLMiXSampler(llm=KilledLLM(Path(calls)), judge=False, seed=0)
    study = optuna.load_study(study_name="new", storage=open_storage(place), sampler=sampler)
    study.optimize(objective, n_trials=1)
    sys.exit("not reached")


def die_while_training(place: str, calls: str) -> None:
    def training(trial: optuna.Trial) -> float:
        objective(trial)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("not reached")

    sampler = MetaLLMiXSampler(llm=CountedLLM(Path(calls)), judge=False, seed=0)
    study = optuna.load_study(study_name="new", storage=open_storage(place), sampler=sampler)
    study.optimize(training, n_trials=1)
    sys.exit("not reached")

"""A process that is interrupted while it optimizes, as by Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import optuna
from end_to_end import objective
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler
from worker import CountedLLM

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix.llm import Message


N_TRIALS = 100
"""More than are started before the interruption."""


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


class InterruptingLLM(CountedLLM):
    """Interrupts the process while it is asked, and then answers, or never does."""

    def __init__(self, calls: Path, *, answers: bool) -> None:
        super().__init__(calls)
        self._answers = answers

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        interrupt()
        if not self._answers:
            threading.Event().wait()
        return super().generate(messages, schema=schema)


def make_sampler(kind: str, calls: Path) -> BaseSampler:
    if kind == "tpe":
        return TPESampler(seed=0)
    llm = {
        "meta-learner": False,
        "answering": CountedLLM(calls),
        "interrupted while asked": InterruptingLLM(calls, answers=True),
        "never answering": InterruptingLLM(calls, answers=False),
    }[kind]
    return MetaLLMiXSampler(llm=llm, judge=False, seed=0)


def main(url: str, kind: str, n_jobs: str, calls: str) -> None:
    """Optimize until an interruption, and print the names of the threads that are left."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    numbers = count()

    def interrupting(trial: optuna.Trial) -> float:
        if next(numbers) == 6 and "asked" not in kind:
            interrupt()
        return objective(trial)

    sampler = make_sampler(kind, Path(calls))
    study = optuna.load_study(study_name="new", storage=url, sampler=sampler)
    try:
        study.optimize(interrupting, n_trials=N_TRIALS, n_jobs=int(n_jobs))
    finally:
        others = set(threading.enumerate()) - {threading.main_thread()}
        print(json.dumps(sorted(thread.name for thread in others)))

"""chunks of searches -> their steps: worker processes, one processor core each."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import as_completed
from dataclasses import dataclass
from dataclasses import replace
from functools import cache
from typing import TypeAlias

import optuna

from benchmarks.families.family import Family
from benchmarks.families.family import Options
from benchmarks.families.family import SkippedError
from benchmarks.families.family import Step


ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""What torch and NumPy read when they are loaded: as many workers as cores, so a thread each."""

MakeFamily: TypeAlias = Callable[[Options], Family]


@dataclass(frozen=True)
class Chunk:
    """The searches of one task and seed, which share a past and what is learned from it.

    Attributes:
        task: The task left out.
        seed: Which repetition.
        searches: Method and number of trials of each.
    """

    task: str
    seed: int
    searches: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Done:
    """One search that is over.

    Attributes:
        task: The task left out.
        seed: Which repetition.
        method: Who searched.
        steps: One a trial; none where it could not be run.
        skipped: Why not.
    """

    task: str
    seed: int
    method: str
    steps: Sequence[Step] = ()
    skipped: str | None = None


def run_chunks(
    make: MakeFamily,
    options: Options,
    chunks: Sequence[Chunk],
    n_jobs: int,
    take: Callable[[Done], None],
) -> None:
    """Run the chunks in ``n_jobs`` processes, the first ones first; ``take`` gets each search.

    Nothing is left running where this process is interrupted.
    """
    os.environ.update(ONE_THREAD)
    spawn = multiprocessing.get_context("spawn")  # a fork would copy threads that are not there
    with ProcessPoolExecutor(n_jobs, spawn, _start) as pool:
        try:
            for future in as_completed([pool.submit(_run, make, options, one) for one in chunks]):
                for done in future.result():
                    take(done)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _start() -> None:
    """Leave interrupts to the parent, which stops its children itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # one line a trial, one a study


def _run(make: MakeFamily, options: Options, chunk: Chunk) -> list[Done]:
    return [_search(_family(make, options), chunk, *search) for search in chunk.searches]


@cache
def _family(make: MakeFamily, options: Options) -> Family:
    """Return this worker's family; much of one cannot be sent from process to process."""
    return make(options)


def _search(family: Family, chunk: Chunk, method: str, n_trials: int) -> Done:
    done = Done(chunk.task, chunk.seed, method)
    try:
        steps = family.run(chunk.task, chunk.seed, method, n_trials)
    except SkippedError as reason:
        return replace(done, skipped=str(reason))
    return replace(done, steps=steps)

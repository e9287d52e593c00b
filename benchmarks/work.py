"""Run chunks of searches in worker processes, each on one thread."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace
from functools import cache
from typing import Any
from typing import TypeAlias
from typing import TypeVar

import optuna

from benchmarks.tasks.family import Family
from benchmarks.tasks.family import Options
from benchmarks.tasks.family import SkippedError
from benchmarks.tasks.family import Step


_T = TypeVar("_T")

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Read by torch and NumPy when they are imported; there is a worker for each core."""

MakeFamily: TypeAlias = Callable[[Options], Family]


@dataclass(frozen=True)
class Chunk:
    """Searches on the same task with the same seed; they share a past and the model fitted on it.

    Attributes:
        task: The held-out task.
        seed: The repetition.
        searches: Method and number of trials of each search.
    """

    task: str
    seed: int
    searches: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Finished:
    """A finished or skipped search.

    Attributes:
        task: The held-out task.
        seed: The repetition.
        method: Name of the method.
        steps: One step per trial; empty if the search was skipped.
        skipped: Why the search was skipped, ``None`` if it ran.
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
    record: Callable[[Finished], None],
) -> None:
    """Run the chunks in order in ``n_jobs`` processes and pass each search to ``record``."""
    with worker_pool(n_jobs, start_worker) as pool:
        futures = [pool.submit(_run, make, options, chunk) for chunk in chunks]
        for future in as_completed(futures):
            for search in future.result():
                record(search)


@contextmanager
def worker_pool(
    n_jobs: int, initializer: Callable[..., None], *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """Start single-threaded worker processes; if the block fails, terminate them at once."""
    os.environ.update(ONE_THREAD)
    spawn = multiprocessing.get_context("spawn")  # threads do not survive a fork
    with ProcessPoolExecutor(n_jobs, spawn, initializer, arguments) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def in_new_process(function: Callable[..., _T], *arguments: Any) -> _T:
    """Call a function in a process of its own, which has not imported or cached anything yet."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, optuna.logging.set_verbosity, (optuna.logging.ERROR,)) as p:
        return p.submit(function, *arguments).result()


def start_worker() -> None:
    """Prepare a worker: the parent handles interrupts and stops its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _run(make: MakeFamily, options: Options, chunk: Chunk) -> list[Finished]:
    return [_search(_family(make, options), chunk, *search) for search in chunk.searches]


@cache
def _family(make: MakeFamily, options: Options) -> Family:
    """Build the family once per worker: its tasks cannot be pickled."""
    return make(options)


def _search(family: Family, chunk: Chunk, method: str, n_trials: int) -> Finished:
    search = Finished(chunk.task, chunk.seed, method)
    try:
        steps = family.run(chunk.task, chunk.seed, method, n_trials)
    except SkippedError as reason:
        return replace(search, skipped=str(reason))
    return replace(search, steps=steps)

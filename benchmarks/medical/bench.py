"""jobs -> trainings, in processes, kept in a CSV that a later run takes up; then the page."""

from __future__ import annotations

import csv
import multiprocessing
import os
import signal
import tempfile
from argparse import Namespace
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import as_completed
from dataclasses import asdict
from dataclasses import fields
from pathlib import Path
from typing import Any

import optuna
from tqdm import tqdm

from benchmarks.families.family import SkippedError
from benchmarks.medical import picks
from benchmarks.medical import runs
from benchmarks.medical.page import write_page
from benchmarks.medical.quick import quick_bench
from benchmarks.medical.world import Bench
from benchmarks.medical.world import Job
from benchmarks.medical.world import Trained
from benchmarks.report.table import typed
from benchmarks.work import ONE_THREAD
from recipes import IMAGE_SETS
from recipes import MEDICAL
from recipes import images_folder


N_TRIALS = 50
N_OURS = 10
"""Trials of the library's own search: its first is the meta-learner's pick."""
PICKS = ("default", "nearest", "best-mean-rank")


def run_bench(args: Namespace) -> None:
    """Train what is missing, and write the table, the plot and the page."""
    if args.quick:
        with tempfile.TemporaryDirectory() as folder:
            bench = quick_bench(Path(folder), args.llm)
            measure(bench, args, "medical-quick", n_seeds=1, n_trials=5, n_ours=2)
        return
    bench = Bench(IMAGE_SETS, images_folder(), MEDICAL, MEDICAL.shipped, llm=args.llm)
    if absent := [one.file for one in IMAGE_SETS if not (bench.images / one.file).exists()]:
        raise SystemExit(f"There is no {absent[0]} in {bench.images}. Set METALLMIX_DATA.")
    measure(bench, args, "medical", n_seeds=args.seeds, n_trials=N_TRIALS, n_ours=N_OURS)


def measure(
    bench: Bench,
    args: Namespace,
    name: str,
    *,
    n_seeds: int,
    n_trials: int,
    n_ours: int,
) -> None:
    """Run the stages one after the other: a later one needs what an earlier one trained."""
    path = args.out / f"{name}.csv"
    rows, skipped = read(path), dict[str, str]()
    for stage in stages(bench, n_seeds, n_trials, n_ours):
        there = {(row.task, row.seed, row.method, row.trial) for row in rows}
        jobs = [
            job
            for job in stage
            if not (args.no_llm and job.method.startswith("ours"))
            and (job.task, job.seed, job.method, job.n_trials) not in there
        ]
        known = picks.crossed(rows, bench)
        # A model has threads of its own: two at once would wait for each other.
        n_jobs = 1 if any(job.method.startswith("ours") for job in jobs) else args.jobs
        for done in trained(bench, jobs, n_jobs, known, skipped):
            rows += done
            write(path, rows)
    for method, reason in skipped.items():
        print(f"{name}: {method} is left out: {reason}")
    print(write_page(rows, bench, path.with_suffix(".md"), typed(), skipped))


def stages(bench: Bench, n_seeds: int, n_trials: int, n_ours: int) -> Iterator[list[Job]]:
    """Yield what can be run at once, seed by seed: a run that is stopped leaves whole seeds."""
    tasks = [one.study for one in bench.image_sets]
    places = [(task, seed) for seed in range(n_seeds) for task in tasks]
    yield [
        Job(task, 0, name)
        for task in tasks
        for name in picks.candidates(bench)
        if not name.startswith(f"{task}#")
    ]
    budgets = {"meta-learner": n_ours, "tpe": n_trials, "random": n_trials}
    yield [
        Job(*place, method, n)
        for place in places
        for method, n in (dict.fromkeys(PICKS, 1) | budgets).items()
    ]
    model = "ours" if bench.llm is None else f"ours:{bench.llm}"
    yield [Job(*place, model) for place in places]


def trained(
    bench: Bench,
    jobs: Sequence[Job],
    n_jobs: int,
    known: dict[tuple[str, str], float],
    skipped: dict[str, str],
) -> Iterator[list[Trained]]:
    """Run jobs in processes of one thread each; ``skipped`` takes the reasons of some."""
    os.environ.update(ONE_THREAD)
    spawn = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with (
        ProcessPoolExecutor(n_jobs, spawn, _start, (known,)) as pool,
        tqdm(total=sum(job.n_trials for job in jobs), unit="training") as bar,
    ):
        started = {pool.submit(runs.run, bench, job): job for job in jobs}
        try:
            for future in as_completed(started):
                job = started[future]
                bar.update(job.n_trials)
                try:
                    yield future.result()
                except SkippedError as reason:
                    skipped[job.method] = str(reason)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


def _start(known: dict[tuple[str, str], float]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its children itself
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    picks.CROSSED.update(known)


def read(path: Path) -> list[Trained]:
    """Read what an earlier run trained."""
    if not path.exists():
        return []
    kinds: dict[str, Any] = {"int": int, "float": float, "str": str}
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Trained(**{one.name: kinds[str(one.type)](row[one.name]) for one in fields(Trained)})
            for row in csv.DictReader(file)
        ]


def write(path: Path, rows: Iterable[Trained]) -> None:
    """Write beside the file first: a run may be stopped at any moment."""
    new = path.with_suffix(".csv.new")
    with new.open("w", newline="", encoding="utf-8") as file:
        names = [one.name for one in fields(Trained)]
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        ordered = sorted(rows, key=lambda row: (row.method, row.task, row.seed, row.trial))
        writer.writerows(asdict(row) for row in ordered)
    new.replace(path)

"""Run the missing trainings in worker processes, keep them in a CSV file, and write the page."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent.futures import as_completed
from pathlib import Path

from tqdm import tqdm

from benchmarks.medical import picks
from benchmarks.medical import training
from benchmarks.medical.jobs import Bench
from benchmarks.medical.jobs import Job
from benchmarks.medical.jobs import Training
from benchmarks.medical.page import write_page
from benchmarks.medical.quick import quick_bench
from benchmarks.report.rows import read_csv
from benchmarks.report.rows import write_csv
from benchmarks.report.table import typed_command
from benchmarks.tasks.family import SkippedError
from benchmarks.work import start_worker
from benchmarks.work import worker_pool
from recipes import IMAGE_SETS
from recipes import MEDICAL
from recipes import images_folder


N_TRIALS = 50
N_OURS = 10
"""Trials of the library's own search; the first is the meta-learner's pick."""
PICKS = ("default", "nearest", "best-mean-rank")


def run_bench(args: Namespace) -> None:
    """Run the missing trainings and write the table, the plot and the page."""
    if args.quick:
        with tempfile.TemporaryDirectory() as folder:
            bench = quick_bench(Path(folder), args.llm)
            measure(bench, args, "medical-quick", n_seeds=1, n_trials=5, n_ours=2)
        return
    bench = Bench(IMAGE_SETS, images_folder(), MEDICAL, MEDICAL.shipped, llm=args.llm)
    if absent := [s.file for s in IMAGE_SETS if not (bench.images / s.file).exists()]:
        raise SystemExit(f"No {absent[0]} in {bench.images}. Set METALLMIX_DATA.")
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
    """Run the stages in turn: later stages need the trainings of earlier ones."""
    path = args.out / f"{name}.csv"
    rows, skipped = read_csv(path, Training), dict[str, str]()
    for stage in stages(bench, n_seeds, n_trials, n_ours):
        finished = {(row.task, row.seed, row.method, row.trial) for row in rows}
        jobs = [
            job
            for job in stage
            if not (args.no_llm and job.method.startswith("ours"))
            and (job.task, job.seed, job.method, job.n_trials) not in finished
        ]
        known = picks.crossed(rows, bench)
        # A language model uses several threads, so it gets the machine to itself.
        n_jobs = 1 if any(job.method.startswith("ours") for job in jobs) else args.jobs
        for new in train(bench, jobs, n_jobs, known, skipped):
            rows = sorted(
                [*rows, *new], key=lambda row: (row.method, row.task, row.seed, row.trial)
            )
            write_csv(path, Training, rows)
    for method, reason in skipped.items():
        print(f"{name}: skipping {method}: {reason}")
    print(write_page(rows, bench, path.with_suffix(".md"), typed_command(), skipped))


def stages(bench: Bench, n_seeds: int, n_trials: int, n_ours: int) -> Iterator[list[Job]]:
    """Yield lists of independent jobs, by seed, so that a stopped run leaves complete seeds."""
    tasks = [image_set.study for image_set in bench.image_sets]
    splits = [(task, seed) for seed in range(n_seeds) for task in tasks]
    yield [
        Job(task, 0, name)
        for task in tasks
        for name in picks.candidates(bench)
        if not name.startswith(f"{task}#")
    ]
    budgets = {"meta-learner": n_ours, "tpe": n_trials, "random": n_trials}
    yield [
        Job(*split, method, n)
        for split in splits
        for method, n in (dict.fromkeys(PICKS, 1) | budgets).items()
    ]
    model = "ours" if bench.llm is None else f"ours:{bench.llm}"
    yield [Job(*split, model) for split in splits]


def train(
    bench: Bench,
    jobs: Sequence[Job],
    n_jobs: int,
    known: dict[tuple[str, str], float],
    skipped: dict[str, str],
) -> Iterator[list[Training]]:
    """Run jobs in worker processes; reasons of jobs that cannot be run go into ``skipped``."""
    with (
        worker_pool(n_jobs, _start, known) as pool,
        tqdm(total=sum(job.n_trials for job in jobs), unit="training") as bar,
    ):
        started = {pool.submit(training.run, bench, job): job for job in jobs}
        for future in as_completed(started):
            job = started[future]
            bar.update(job.n_trials)
            try:
                yield future.result()
            except SkippedError as reason:
                skipped[job.method] = str(reason)


def _start(known: dict[tuple[str, str], float]) -> None:
    start_worker()
    picks.CROSSED.update(known)

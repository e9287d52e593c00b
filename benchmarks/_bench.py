"""family + options -> results: runs what is not there yet, then writes table and plot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from benchmarks._family import Family
from benchmarks._family import Options
from benchmarks._family import SkippedError
from benchmarks._family import chosen
from benchmarks._family import code_of_library
from benchmarks._plot import plot
from benchmarks._rows import Rows
from benchmarks._table import write_table


QUICK_TASKS = 3


@dataclass(frozen=True)
class Job:
    """One search that may be there already."""

    task: str
    seed: int
    method: str


def run(family: Family, options: Options, folder: Path, command: str) -> Path:
    """Run a family and return its table; a quick one stands apart from a real one."""
    if unknown := sorted(set(options.methods or ()) - set(family.methods)):
        print(f"{family.name} has no method {', '.join(unknown)}")
    methods = chosen(family, options.methods)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{family.name}-quick" if options.quick else family.name
    rows = Rows(folder / f"{name}.csv")
    if options.redo:
        rows.drop(methods)
    skipped: dict[str, str] = {}
    try:
        _run_missing(family, options, rows, skipped)
    except KeyboardInterrupt:
        print(f"{family.name} is stopped; the same command takes it up again")
    if not rows.rows:
        raise SkippedError(f"nothing was run. {skipped or ''}")
    figure = None
    if max(row.trial for row in rows.rows) > 5:
        figure = plot(family, rows.rows, folder / f"{name}.png")
    return write_table(family, rows.rows, skipped, figure, folder / f"{name}.md", command)


def jobs(family: Family, options: Options) -> Iterator[Job]:
    """Yield what has to be there, all methods of a task together: a run that is stopped early
    leaves methods that can be compared."""
    n_tasks = options.tasks or (QUICK_TASKS if options.quick else None)
    for seed in range(options.seeds or family.n_seeds):
        for task in family.tasks[:n_tasks]:
            for method in chosen(family, options.methods):
                yield Job(task, seed, method)


def _run_missing(family: Family, options: Options, rows: Rows, skipped: dict[str, str]) -> None:
    """Run what is not there; ``skipped`` takes the reasons of methods that cannot be run."""
    n_trials = options.trials or family.n_trials
    code = code_of_library()
    with tqdm(list(jobs(family, options)), desc=family.name, unit="search") as bar:
        for job in bar:
            if job.method in skipped or rows.has(job.task, job.seed, job.method, n_trials):
                continue
            bar.set_postfix_str(f"{job.method} on {job.task}")
            try:
                steps = family.run(job.task, job.seed, job.method, n_trials)
            except SkippedError as reason:
                skipped[job.method] = str(reason)
                bar.write(f"{family.name}: {job.method} is left out: {reason}")
                continue
            rows.add(job.task, job.seed, job.method, steps, code)

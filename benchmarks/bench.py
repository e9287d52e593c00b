"""family + options -> results: runs what is not there yet, then writes table and plot."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from benchmarks.families.family import Family
from benchmarks.families.family import Options
from benchmarks.families.family import SkippedError
from benchmarks.families.family import chosen
from benchmarks.families.family import code_of_library
from benchmarks.report.plot import plot
from benchmarks.report.rows import Rows
from benchmarks.report.table import write_table
from benchmarks.work import Chunk
from benchmarks.work import Done
from benchmarks.work import MakeFamily
from benchmarks.work import run_chunks


QUICK_TASKS = 3


def run(make: MakeFamily, options: Options, n_jobs: int, folder: Path, command: str) -> Path:
    """Run a family and return its table; a quick one stands apart from a real one."""
    family = make(options)
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
        _run_missing(make, family, options, n_jobs, rows, skipped)
    finally:  # stopped or broken, what is there is kept
        rows.write()
        page = _written(family, rows, skipped, folder / f"{name}.md", command)
    return page


def _written(
    family: Family, rows: Rows, skipped: Mapping[str, str], path: Path, command: str
) -> Path:
    if not rows.rows:
        raise SkippedError(f"nothing was run. {skipped or ''}")
    figure = None
    if max(row.trial for row in rows.rows) > 5:
        figure = plot(family, rows.rows, path.with_suffix(".png"))
    return write_table(family, rows.rows, skipped, figure, path, command)


def missing(family: Family, options: Options, rows: Rows) -> Iterator[Chunk]:
    """Yield what has to be run, seed by seed and all methods of a task together: a run that is
    stopped early leaves methods that can be compared."""
    n_tasks = options.tasks or (QUICK_TASKS if options.quick else None)
    for seed in range(options.seeds or family.n_seeds):
        for task in family.tasks[:n_tasks]:
            searches = [
                (method, n_trials)
                for method in chosen(family, options.methods)
                if seed < (options.seeds or family.seeds.get(method, family.n_seeds))
                for n_trials in [options.trials or family.trials.get(method, family.n_trials)]
                if not rows.has(task, seed, method, n_trials)
            ]
            if searches:
                yield Chunk(task, seed, tuple(searches))


def _run_missing(
    make: MakeFamily,
    family: Family,
    options: Options,
    n_jobs: int,
    rows: Rows,
    skipped: dict[str, str],
) -> None:
    """Run what is not there; ``skipped`` takes the reasons of methods that cannot be run."""
    chunks = list(missing(family, options, rows))
    code = code_of_library()
    total = sum(len(one.searches) for one in chunks)
    with tqdm(total=total, desc=family.name, unit="search") as bar:

        def take(done: Done) -> None:
            bar.update()
            if done.skipped is None:
                rows.add(done.task, done.seed, done.method, done.steps, code)
            elif done.method not in skipped:
                skipped[done.method] = done.skipped
                bar.write(f"{family.name}: {done.method} is left out: {done.skipped}")

        run_chunks(make, options, chunks, n_jobs, take)

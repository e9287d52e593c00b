"""Run the searches of a family that have no result yet, and write its table and plot."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from benchmarks.report.plot import plot
from benchmarks.report.rows import Rows
from benchmarks.report.table import write_table
from benchmarks.tasks.family import Family
from benchmarks.tasks.family import Options
from benchmarks.tasks.family import SkippedError
from benchmarks.tasks.family import code_of_library
from benchmarks.tasks.family import select_methods
from benchmarks.work import Chunk
from benchmarks.work import Finished
from benchmarks.work import MakeFamily
from benchmarks.work import run_chunks


QUICK_TASKS = 3


def run(make: MakeFamily, options: Options, n_jobs: int, folder: Path, command: str) -> Path:
    """Run a family and return the path of its page; quick runs have files of their own."""
    family = make(options)
    if unknown := sorted(set(options.methods or ()) - set(family.methods)):
        print(f"{family.name} has no method {', '.join(unknown)}")
    methods = select_methods(family, options.methods)
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{family.name}-quick" if options.quick else family.name
    rows = Rows(folder / f"{name}.csv")
    rows.drop({row.method for row in rows.rows}.difference(family.methods))  # of earlier versions
    if options.redo:
        rows.drop(methods)
    skipped: dict[str, str] = {}
    try:
        _run_missing(make, family, options, n_jobs, rows, skipped)
    finally:  # keep what was measured before an interrupt or an error
        if rows.rows:
            rows.write()
            _write_page(family, rows, skipped, folder / f"{name}.md", command)
    if not rows.rows:
        raise SkippedError(f"nothing was run. {skipped or ''}")
    return folder / f"{name}.md"


def _write_page(
    family: Family, rows: Rows, skipped: Mapping[str, str], path: Path, command: str
) -> None:
    figure = None
    if max(row.trial for row in rows.rows) > 5:
        figure = plot(family, rows.rows, path.with_suffix(".png"))
    write_table(family, rows.rows, skipped, figure, path, command)


def missing(family: Family, options: Options, rows: Rows) -> Iterator[Chunk]:
    """Yield the searches without a result.

    They are ordered by seed, with all methods of a task together, so that a run that is stopped
    early leaves methods that can be compared.
    """
    n_tasks = options.tasks or (QUICK_TASKS if options.quick else None)
    for seed in range(options.seeds or family.n_seeds):
        for task in family.tasks[:n_tasks]:
            searches = [
                (method, n_trials)
                for method in select_methods(family, options.methods)
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
    """Run the missing searches; reasons of methods that cannot be run go into ``skipped``."""
    chunks = list(missing(family, options, rows))
    code = code_of_library()
    total = sum(len(chunk.searches) for chunk in chunks)
    with tqdm(total=total, desc=family.name, unit="search") as bar:

        def record(search: Finished) -> None:
            bar.update()
            if search.skipped is None:
                rows.add(search.task, search.seed, search.method, search.steps, code)
            elif search.method not in skipped:
                skipped[search.method] = search.skipped
                bar.write(f"{family.name}: skipping {search.method}: {search.skipped}")

        run_chunks(make, options, chunks, n_jobs, record)

"""Plan the searches, run those that are missing, keep them in a CSV file, and write the page."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TypeAlias

from tqdm import tqdm

from benchmarks.report.rows import Rows
from benchmarks.report.table import typed_command
from benchmarks.shipped import methods
from benchmarks.shipped import surrogate
from benchmarks.shipped.methods import DEFAULT
from benchmarks.shipped.methods import ESTIMATORS
from benchmarks.shipped.methods import FLAML
from benchmarks.shipped.methods import METHODS
from benchmarks.shipped.methods import OURS
from benchmarks.shipped.methods import PERMUTED
from benchmarks.shipped.methods import RANDOM
from benchmarks.shipped.methods import TPE
from benchmarks.shipped.numbers import EVERY
from benchmarks.shipped.page import write_page
from benchmarks.shipped.surrogate import SURROGATE
from benchmarks.shipped.tables import library_of
from benchmarks.shipped.tables import recorded
from benchmarks.tasks.family import Family
from benchmarks.tasks.family import Options
from benchmarks.tasks.family import SkippedError
from benchmarks.tasks.family import Step
from benchmarks.tasks.family import code_of_library
from benchmarks.tasks.family import seed_of
from benchmarks.work import Chunk
from benchmarks.work import Finished
from benchmarks.work import run_chunks
from tabular_libraries import LIBRARIES


N_OURS, N_TPE = 25, 50
CONTROLLED = ("lightgbm",)
"""Libraries that have the control."""
N_SURROGATES = 10
"""Those of the page of the family `xgboost`, whose other methods are shown."""
Todo: TypeAlias = tuple[tuple[str, int], ...]
"""Method and number of trials of each search."""
QUICK = ("breast-cancer", "titanic", "hitters")


def measure(args: Namespace) -> None:
    """Run the missing searches; write the CSV file and the page also after an interrupt."""
    path = args.out / f"shipped{'-quick' * args.quick}.csv"
    rows, skipped = Rows(path), dict[str, str]()
    try:
        _run(quick_plan() if args.quick else plan(args), args.jobs, rows, skipped)
    finally:
        if rows.rows:
            rows.write()
            print(write_page(rows.rows, skipped, path.with_suffix(".md"), typed_command()))


def plan(args: Namespace) -> Iterator[Chunk]:
    """Yield the searches in the order of the parts; the last takes most of the time."""
    wanted = args.libraries or [*(library.name for library in LIBRARIES), SURROGATE]
    for part in args.parts:
        for seed in range(args.seeds):
            for library in (name for name in wanted if name != SURROGATE):
                yield from (Chunk(name, seed, todo) for name, todo in PARTS[part](library).items())
    if SURROGATE in wanted:
        yield from surrogates(args.seeds)


def firsts(library: str) -> dict[str, Todo]:
    """Return one configuration of each table, the default, and the recorded random trials."""
    return dict.fromkeys(recorded(library), ((DEFAULT, 1), (OURS, 1), (RANDOM, N_TPE)))


def zero_shots(library: str) -> dict[str, Todo]:
    """Return FLAML's configuration of each table; those of XGBoost have thousands of trees."""
    return dict.fromkeys(recorded(library) if library in ESTIMATORS else (), ((FLAML, 1),))


def controls(library: str) -> dict[str, Todo]:
    """Return first trials with a past from which nothing can be learned."""
    names = sorted(recorded(library), key=seed_of) if library in CONTROLLED else ()
    return dict.fromkeys(names, ((PERMUTED, 1),))


def searches(library: str) -> dict[str, Todo]:
    """Return searches of every fourth table, of classifications and of regressions."""
    studies = recorded(library).values()
    names = [x.name for x in sorted(studies, key=lambda x: (x.attributes["task"], x.name))]
    zero_shot = ((FLAML, 1),) if library in ESTIMATORS else ()
    todo = ((OURS, N_OURS), (TPE, N_TPE), *zero_shot)
    return dict.fromkeys(sorted(names[::EVERY], key=seed_of), todo)  # a stopped run has a mixture


PARTS: Mapping[str, Callable[[str], dict[str, Todo]]] = {
    "first": firsts,
    "control": controls,
    "search": searches,
    "flaml": zero_shots,
}


def surrogates(n_seeds: int) -> Iterator[Chunk]:
    """Yield the searches of the surrogate; none where its data are missing."""
    try:
        names = list(surrogate.searches().tasks)[:N_SURROGATES]
    except SkippedError as reason:
        print(f"Skipping {SURROGATE}: {reason}")
        return
    for seed in range(n_seeds):
        yield from (Chunk(f"{SURROGATE}/{name}", seed, ((OURS, N_OURS),)) for name in names)


def quick_plan() -> Iterator[Chunk]:
    """Yield a few short searches of LightGBM."""
    todo = ((DEFAULT, 1), (OURS, 2), (PERMUTED, 1), (FLAML, 1), (RANDOM, 5), (TPE, 3))
    yield from (Chunk(f"lightgbm/{name}", 0, todo) for name in QUICK)


def _run(chunks: Iterator[Chunk], n_jobs: int, rows: Rows, skipped: dict[str, str]) -> None:
    missing = list(_missing(chunks, rows))
    code = code_of_library()
    with tqdm(total=sum(len(chunk.searches) for chunk in missing), unit="search") as bar:

        def record(search: Finished) -> None:
            bar.update()
            if search.skipped is None:
                rows.add(search.task, search.seed, search.method, search.steps, code)
            else:
                skipped[search.method] = search.skipped

        run_chunks(family, Options(), missing, n_jobs, record)


def _missing(chunks: Iterator[Chunk], rows: Rows) -> Iterator[Chunk]:
    for chunk in chunks:
        searches = tuple(
            search for search in chunk.searches if not rows.has(chunk.task, chunk.seed, *search)
        )
        if searches:
            yield Chunk(chunk.task, chunk.seed, searches)


def family(options: Options) -> Family:
    """Return what the worker processes run."""
    texts = {name: text for name, (_, text) in METHODS.items()}
    return Family("shipped", "", "", (), texts, (), run_search, N_TPE, 1)


def run_search(name: str, seed: int, method: str, n_trials: int) -> Sequence[Step]:
    """Run a method on a table or a task of the surrogate."""
    if library_of(name) == SURROGATE:
        return surrogate.run(name, seed, n_trials)
    return methods.run(name, seed, method, n_trials)

"""Record how seven libraries' parameters do on tables, as pasts to learn from.

    python studies/record_tabular.py cache/tabular                        # what is missing
    python studies/record_tabular.py cache/tabular --library svm --set titanic
    python studies/record_tabular.py cache/tabular --missing              # only list it
    python studies/pack_tabular.py cache/tabular                          # write what is shipped

A study is a library on a data set: random trials, then trials by TPE on those. It is recorded by
one process in a journal of its own, <library>/<set>.jsonl. A trial is one line, written when it
has ended, so a killed recording goes on with the next trial. The samplers are seeded by the study
and the trial's number.
"""

from __future__ import annotations

import argparse
import datetime
import fcntl
import multiprocessing
import os
import platform
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal import JournalFileOpenLock
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix import tabular_meta_features
from tabular_libraries import LIBRARIES
from tabular_libraries import Library
from tabular_libraries import Params
from tabular_libraries import encode
from tabular_libraries import scores
from tabular_sets import MANY_CLASSES
from tabular_sets import MANY_COLUMNS
from tabular_sets import MAX_LEVELS
from tabular_sets import SEED
from tabular_sets import Table
from tabular_sets import TabularSet
from tabular_sets import load_table


N_RANDOM, N_TPE = 60, 40
N_TRIALS = N_RANDOM + N_TPE
N_FOLDS = 3
TIME_LIMIT = 20.0  # CPU seconds of a trial
MAX_REASON = 300  # characters
METRICS = {
    "classification": "area under the ROC curve (mean over classes, each against the rest)",
    "regression": "R2 (coefficient of determination)",
}

Scalar = float | int | str
Fold = tuple[Any, np.ndarray, Any, np.ndarray]


class TrialFailedError(Exception):
    """A configuration cannot be evaluated."""


@dataclass(frozen=True)
class Cell:
    """A study: a library on a data set."""

    library: Library
    data: TabularSet

    @property
    def name(self) -> str:
        """Name of the study."""
        return f"{self.library.name}/{self.data.name}"

    def journal(self, raw: Path) -> Path:
        """Return the path of its journal."""
        return raw / self.library.name / f"{self.data.name}.jsonl"


CELLS = tuple(Cell(library, data) for library in LIBRARIES for data in library.sets)


def record(cell: Cell, raw: Path) -> None:
    """Record the missing trials of a study."""
    journal = cell.journal(raw)
    cut_torn_line(journal)
    kept = open_study(cell, journal)
    table = load_table(cell.data, cell.library.max_rows)
    folds = list(make_folds(table, cell))
    describe(kept, cell, table, folds)
    # A trial is searched in memory and stored when it has ended: one line instead of thirty.
    study = optuna.create_study(direction="maximize")
    study.add_trials(kept.get_trials(deepcopy=False))
    for number in range(len(study.trials), N_TRIALS):
        study.sampler = sampler_of(cell, number)
        kept.add_trial(run_trial(study, cell, folds))


def open_study(cell: Cell, journal: Path) -> optuna.Study:
    """Open the study, which is created where it is new."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    # Only this process writes, so no lock of a killed one is waited for.
    backend = JournalFileBackend(str(journal), lock_obj=_NoLock(str(journal)))
    return optuna.create_study(
        storage=JournalStorage(backend),
        study_name=cell.name,
        direction="maximize",
        load_if_exists=True,
    )


class _NoLock(JournalFileOpenLock):
    """No lock: the process has locked the study already."""

    def acquire(self) -> bool:
        """Return that it is locked."""
        return True

    def release(self) -> None:
        """Do nothing."""


def cut_torn_line(journal: Path) -> None:
    """Remove a last line that a killed process did not finish."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(journal, whole)


def make_folds(table: Table, cell: Cell) -> Iterator[Fold]:
    """Yield the encoded training and test rows of each fold."""
    from sklearn.model_selection import KFold
    from sklearn.model_selection import StratifiedKFold

    kind = StratifiedKFold if cell.data.task == "classification" else KFold
    split = kind(N_FOLDS, shuffle=True, random_state=SEED)
    for train, test in split.split(table.features, table.target):
        rows = table.features.iloc[train], table.features.iloc[test]
        encoded = encode(*rows, cell.library.form)
        yield encoded[0], table.target[train], encoded[1], table.target[test]


def sampler_of(cell: Cell, number: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of a trial; the same after an interruption."""
    seed = (crc32(cell.name.encode()) + number) % 2**32
    if number < N_RANDOM:
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed)


def run_trial(study: optuna.Study, cell: Cell, folds: list[Fold]) -> FrozenTrial:
    """Run one trial; one that fails, or exceeds the time limit, says why."""
    trial = study.ask()
    trial.set_user_attr("sampler", "random" if trial.number < N_RANDOM else "tpe")
    params = cell.library.suggest(trial, cell.data.task)
    start = time.process_time()
    value = None
    try:
        value, attributes = evaluate(cell, params, folds)
    except TrialFailedError as failure:
        attributes = {"reason": str(failure)[:MAX_REASON]}
    attributes["seconds"] = round(time.process_time() - start, 4)
    for name, attribute in attributes.items():
        trial.set_user_attr(name, attribute)
    return study.tell(trial, value, TrialState.FAIL if value is None else None)


def evaluate(
    cell: Cell, params: Params, folds: list[Fold], limit: float | None = None
) -> tuple[float, dict[str, Scalar]]:
    """Return the value and the other metrics, means over the folds.

    Args:
        cell: The study.
        params: Parameters of its library.
        folds: Rows of `make_folds`.
        limit: CPU seconds; default: those of a trial.

    Raises:
        TrialFailedError: The library refuses the configuration, its result is not a number, or
            the time limit is exceeded.
    """
    with time_limit(TIME_LIMIT if limit is None else limit):
        found = [_evaluate_fold(cell, params, fold) for fold in folds]
    value, others = mean_metrics(found)
    if not np.isfinite([value, *others.values()]).all():
        raise TrialFailedError(f"Not finite: {value}, {others}.")
    return value, others


def mean_metrics(found: list[dict[str, float]]) -> tuple[float, dict[str, Scalar]]:
    """Return the mean over folds of the objective's metric, which is the first, and of others."""
    means = {name: float(np.mean([fold[name] for fold in found])) for name in found[0]}
    (_, value), *others = means.items()
    return value, {name: round(mean, 6) for name, mean in others}


def _evaluate_fold(cell: Cell, params: Params, fold: Fold) -> dict[str, float]:
    train, target, test, test_target = fold
    try:
        with warnings.catch_warnings():  # of models that have not converged: the value tells
            warnings.simplefilter("ignore")
            model = cell.library.build(params, cell.data.task)
            model.fit(train, target, **_fit_arguments(cell, train))
            return scores(model, test, test_target, cell.data.task)
    except TrialFailedError:
        raise
    except Exception as error:  # of a library, on a configuration that it cannot fit
        raise TrialFailedError(f"{type(error).__name__}: {error}") from error


def _fit_arguments(cell: Cell, train: Any) -> dict[str, Any]:
    if cell.library.form != "text":
        return {}
    return {"cat_features": [name for name in train if train[name].dtype != float]}


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TrialFailedError` after so many CPU seconds of this process.

    A library that does not return to Python is stopped when it does.
    """
    expired = False
    failure = TrialFailedError(f"Exceeded the time limit of {seconds:g} CPU seconds.")

    def stop(*_: object) -> None:
        nonlocal expired
        expired = True
        raise failure

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    except KeyboardInterrupt:  # CatBoost makes it of any exception of a signal
        if not expired:
            raise
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if expired:
        raise failure


def describe(study: optuna.Study, cell: Cell, table: Table, folds: list[Fold]) -> None:
    """Describe the study by user attributes, and evaluate the library's default; only once."""
    if "default_value" in study.user_attrs:
        return
    attributes: dict[str, Scalar] = {
        **tabular_meta_features(table.features, table.target, cell.data.task),
        **provenance(cell, table),
        **default_result(cell, folds),  # the last, because it tells that all are stored
    }
    for name, value in attributes.items():
        study.set_user_attr(name, value)


def provenance(cell: Cell, table: Table) -> dict[str, Scalar]:
    """Return where the data is from and how the results were produced."""
    packages = (*cell.library.packages, "scikit-learn", "optuna", "numpy", "pandas")
    max_rows = cell.library.max_rows
    split = "stratified " if cell.data.task == "classification" else ""
    return {
        "library": cell.library.name,
        "data_set": cell.data.name,
        "task": cell.data.task,
        "origin": cell.data.origin,
        "source": cell.data.source,
        "licence": cell.data.licence,
        "n_rows_upstream": table.n_rows,
        "metric": METRICS[cell.data.task],
        "recipe": f"{N_FOLDS}-fold cross-validation ({split}shuffled, seed {SEED}) of at most "
        f"{max_rows} rows ({max_rows // 2} with more than {MANY_COLUMNS} columns or "
        f"{MANY_CLASSES} classes); categories beyond the {MAX_LEVELS} most frequent are one; "
        f"{N_RANDOM} random trials, then {N_TPE} by TPE; at most {TIME_LIMIT:g} CPU seconds a "
        "trial",
        "hardware": f"one thread of a {platform.machine()} CPU ({os.cpu_count()} cores)",
        "versions": ", ".join(f"{name} {version(name)}" for name in packages),
        "recorded": datetime.date.today().isoformat(),
    }


def default_result(cell: Cell, folds: list[Fold]) -> dict[str, Scalar]:
    """Return the result of the library's default parameters, without a time limit."""
    start = time.process_time()
    value, others = mean_metrics([_evaluate_fold(cell, {}, fold) for fold in folds])
    others["seconds"] = round(time.process_time() - start, 4)
    return {f"default_{name}": metric for name, metric in {**others, "value": value}.items()}


def n_recorded(cell: Cell, raw: Path) -> int:
    """Return the number of trials in the journal."""
    journal = cell.journal(raw)
    if not journal.exists():
        return 0
    with journal.open("rb") as lines:
        return sum(b'"op_code": 4' in line or b'"op_code":4' in line for line in lines)


def work(cells: list[Cell], raw: Path) -> None:
    """Record the studies that no other process records, in their order.

    A study that cannot be recorded, such as one whose package is not installed, is left out.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    failed = False
    for cell in cells:
        with claimed(cell, raw) as free:
            if free and n_recorded(cell, raw) < N_TRIALS:
                failed |= not _try_to_record(cell, raw)
    sys.exit(failed)


def _try_to_record(cell: Cell, raw: Path) -> bool:
    start = time.process_time()
    try:
        record(cell, raw)
    except Exception:  # the other studies are recorded all the same
        traceback.print_exc()
        print(f"{cell.name} is left out, see above.", flush=True)
        return False
    seconds = time.process_time() - start
    print(f"{datetime.datetime.now():%H:%M} {cell.name}: {seconds:.0f} s", flush=True)
    return True


@contextmanager
def claimed(cell: Cell, raw: Path) -> Iterator[bool]:
    """Lock a study for this process; the lock ends with the process."""
    path = cell.journal(raw).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def record_all(names: list[str], raw: Path, workers: int) -> None:
    """Record with several processes."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_work_by_name, args=(names, raw)) for _ in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit("Not all was recorded, see above. Run the command again to go on.")


def _work_by_name(names: list[str], raw: Path) -> None:
    by_name = {cell.name: cell for cell in CELLS}  # a cell has functions, which are not pickled
    work([by_name[name] for name in names], raw)


def chosen(library: str | None, data: str | None) -> list[Cell]:
    """Return the studies of a library, of a data set, or of all."""
    cells = [
        cell
        for cell in CELLS
        if library in (None, cell.library.name) and data in (None, cell.data.name)
    ]
    if not cells:
        raise SystemExit(f"There is no study of library {library!r} on the set {data!r}.")
    return cells


def write_missing(cells: list[Cell], raw: Path) -> None:
    """Print the studies that are not complete, and how much is."""
    counts = {cell.name: n_recorded(cell, raw) for cell in cells}
    for name, count in counts.items():
        if count < N_TRIALS:
            print(f"{name}: {count} of {N_TRIALS} trials")
    complete = sum(count >= N_TRIALS for count in counts.values())
    print(f"{complete} of {len(counts)} studies are complete; {sum(counts.values())} trials")


def main() -> None:
    args = parse()
    cells = chosen(args.library, args.set)
    if args.missing:
        write_missing(cells, args.raw)
    else:
        record_all([cell.name for cell in cells], args.raw, args.workers)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Record the tabular studies.")
    add = parser.add_argument
    add("raw", type=Path, help="folder of the journals")
    add("--library", choices=[library.name for library in LIBRARIES])
    add("--set", help="name of a data set")
    add("--workers", type=int, default=2, help="processes")
    add("--missing", action="store_true", help="only list what is missing")
    return parser.parse_args()


if __name__ == "__main__":
    # One thread a process, also in libraries that read this when they are imported.
    for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"):
        os.environ.setdefault(f"{name}_NUM_THREADS", "1")
    main()

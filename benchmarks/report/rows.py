"""Keep finished searches in a CSV file, so that a later run can resume."""

from __future__ import annotations

import csv
import time
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import astuple
from dataclasses import dataclass
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING
from typing import TypeVar

from benchmarks.tasks.family import CHECKPOINTS
from benchmarks.tasks.family import Step


if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")
WRITE_EVERY = 5.0
"""Minimum seconds between two writes of the file during a run."""


@dataclass(frozen=True)
class Row:
    """State of a search at a checkpoint.

    Attributes:
        task: The held-out task.
        seed: The repetition.
        method: Name of the method.
        trial: The trial, counted from 1.
        regret: Regret of the best trial so far.
        seconds: Seconds the method itself has taken so far.
        code: Hash of the library's code; see :func:`benchmarks.tasks.family.code_of_library`.
    """

    task: str
    seed: int
    method: str
    trial: int
    regret: float
    seconds: float
    code: str


class Rows:
    """The rows of one CSV file.

    Args:
        path: The file; read if it exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = time.monotonic()
        self._searches: dict[tuple[str, str, int], list[Row]] = {}
        for row in read_csv(path, Row):
            self._searches.setdefault((row.method, row.task, row.seed), []).append(row)

    @property
    def rows(self) -> list[Row]:
        """All rows, by method, task, seed and trial."""
        return [row for key in sorted(self._searches) for row in self._searches[key]]

    def has(self, task: str, seed: int, method: str, n_trials: int) -> bool:
        """Return whether there is a search of at least ``n_trials`` trials."""
        last = max(checkpoints(n_trials))
        return any(row.trial >= last for row in self._searches.get((method, task, seed), ()))

    def add(self, task: str, seed: int, method: str, steps: Sequence[Step], code: str) -> None:
        """Add or replace a search, and write the file from time to time."""
        self._searches[method, task, seed] = [
            Row(task, seed, method, trial, step.regret, round(step.seconds, 4), code)
            for trial in checkpoints(len(steps))
            for step in [steps[trial - 1]]
        ]
        if time.monotonic() - self._written > WRITE_EVERY:
            self.write()

    def drop(self, methods: Collection[str]) -> None:
        """Discard the searches of these methods."""
        kept = {key: rows for key, rows in self._searches.items() if key[0] not in methods}
        self._searches = kept

    def write(self) -> None:
        """Write the file."""
        write_csv(self.path, Row, self.rows)
        self._written = time.monotonic()


def checkpoints(n_trials: int) -> list[int]:
    """Return the trials at which a search is recorded."""
    return [trial for trial in CHECKPOINTS if trial <= n_trials]


def read_csv(path: Path, kind: type[Record]) -> list[Record]:
    """Read dataclass instances whose fields are of type int, float or str; [] without a file."""
    if not path.is_file():
        return []
    types = {"int": int, "float": float, "str": str}
    columns = [(field.name, types[str(field.type)]) for field in fields(kind)]
    with path.open(newline="", encoding="utf-8") as file:
        return [kind(**{k: to(row[k]) for k, to in columns}) for row in csv.DictReader(file)]


def write_csv(path: Path, kind: type[Record], records: Iterable[Record]) -> None:
    """Replace the file atomically: a run may be stopped at any time."""
    new = path.with_suffix(".csv.new")
    with new.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(kind))
        writer.writerows(astuple(record) for record in records)
    new.replace(path)

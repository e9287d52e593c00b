"""Keep finished searches in a CSV file, so that a later run can resume."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from dataclasses import astuple
from dataclasses import dataclass
from dataclasses import fields
from pathlib import Path

from benchmarks.tasks.family import CHECKPOINTS
from benchmarks.tasks.family import Step


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
        for row in _read(path) if path.is_file() else []:
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

    def drop(self, methods: Sequence[str]) -> None:
        """Discard the searches of these methods."""
        kept = {key: rows for key, rows in self._searches.items() if key[0] not in methods}
        self._searches = kept

    def write(self) -> None:
        """Replace the file atomically: a run may be stopped at any time."""
        new = self.path.with_suffix(".csv.new")
        with new.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(field.name for field in fields(Row))
            writer.writerows(astuple(row) for row in self.rows)
        new.replace(self.path)
        self._written = time.monotonic()


def checkpoints(n_trials: int) -> list[int]:
    """Return the trials at which a search is recorded."""
    return [trial for trial in CHECKPOINTS if trial <= n_trials]


def _read(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(
                row["task"],
                int(row["seed"]),
                row["method"],
                int(row["trial"]),
                float(row["regret"]),
                float(row["seconds"]),
                row["code"],
            )
            for row in csv.DictReader(file)
        ]

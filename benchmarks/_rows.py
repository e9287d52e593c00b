"""finished searches -> a CSV that a later run takes up where this one stopped."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import astuple
from dataclasses import dataclass
from dataclasses import fields
from pathlib import Path

from benchmarks._family import CHECKPOINTS
from benchmarks._family import Step


@dataclass(frozen=True)
class Row:
    """A search at one trial.

    Attributes:
        task: The task left out.
        seed: Which repetition.
        method: Who searched.
        trial: The trial, counted from 1.
        regret: Of the best so far.
        seconds: The method's own, so far.
        code: The library's code, as :func:`benchmarks._family.code_of_library` names it.
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
        path: The file; read where it is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = _read(path) if path.is_file() else []

    def has(self, task: str, seed: int, method: str, n_trials: int) -> bool:
        """Tell whether a search of so many trials is there."""
        last = max(checkpoints(n_trials))
        return any(
            (row.task, row.seed, row.method) == (task, seed, method) and row.trial >= last
            for row in self.rows
        )

    def add(self, task: str, seed: int, method: str, steps: Sequence[Step], code: str) -> None:
        """Add a search in place of a shorter one, and write the file."""
        self.rows = [
            row for row in self.rows if (row.task, row.seed, row.method) != (task, seed, method)
        ]
        for trial in checkpoints(len(steps)):
            step = steps[trial - 1]
            self.rows.append(
                Row(task, seed, method, trial, step.regret, round(step.seconds, 4), code)
            )
        self._write()

    def drop(self, methods: Sequence[str]) -> None:
        """Forget what these methods did."""
        self.rows = [row for row in self.rows if row.method not in methods]

    def _write(self) -> None:
        """Write beside the file first: a run may be stopped at any moment."""
        self.rows.sort(key=lambda row: (row.method, row.task, row.seed, row.trial))
        new = self.path.with_suffix(".csv.new")
        with new.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(field.name for field in fields(Row))
            writer.writerows(astuple(row) for row in self.rows)
        new.replace(self.path)


def checkpoints(n_trials: int) -> list[int]:
    """Return the trials that are written down of a search."""
    return [trial for trial in CHECKPOINTS if trial <= n_trials]


def _read(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(
                one["task"],
                int(one["seed"]),
                one["method"],
                int(one["trial"]),
                float(one["regret"]),
                float(one["seconds"]),
                one["code"],
            )
            for one in csv.DictReader(file)
        ]

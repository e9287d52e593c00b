"""finished searches -> a CSV that a later run takes up where this one stopped."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from dataclasses import astuple
from dataclasses import dataclass
from dataclasses import fields
from pathlib import Path

from benchmarks.families.family import CHECKPOINTS
from benchmarks.families.family import Step


WRITE_EVERY = 5.0
"""Seconds between two writings of the file while a run goes on."""


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
        code: The library's code, as :func:`benchmarks.families.family.code_of_library` names it.
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
        self._written = time.monotonic()
        self._searches: dict[tuple[str, str, int], list[Row]] = {}
        for row in _read(path) if path.is_file() else []:
            self._searches.setdefault((row.method, row.task, row.seed), []).append(row)

    @property
    def rows(self) -> list[Row]:
        """All rows, by method, task, seed and trial."""
        return [row for key in sorted(self._searches) for row in self._searches[key]]

    def has(self, task: str, seed: int, method: str, n_trials: int) -> bool:
        """Tell whether a search of so many trials is there."""
        last = max(checkpoints(n_trials))
        return any(row.trial >= last for row in self._searches.get((method, task, seed), ()))

    def add(self, task: str, seed: int, method: str, steps: Sequence[Step], code: str) -> None:
        """Add a search in place of a shorter one, and write the file now and then."""
        self._searches[method, task, seed] = [
            Row(task, seed, method, trial, step.regret, round(step.seconds, 4), code)
            for trial in checkpoints(len(steps))
            for step in [steps[trial - 1]]
        ]
        if time.monotonic() - self._written > WRITE_EVERY:
            self.write()

    def drop(self, methods: Sequence[str]) -> None:
        """Forget what these methods did."""
        self._searches = {key: one for key, one in self._searches.items() if key[0] not in methods}

    def write(self) -> None:
        """Write beside the file first: a run may be stopped at any moment."""
        new = self.path.with_suffix(".csv.new")
        with new.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(field.name for field in fields(Row))
            writer.writerows(astuple(row) for row in self.rows)
        new.replace(self.path)
        self._written = time.monotonic()


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

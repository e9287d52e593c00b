"""runs -> side: the studies that are compared as one, such as one sampler under several seeds.

A side is told by the median of its runs, since a median is there also where some of them reached
nothing or never got as far: "never" is infinitely many trials, and no mean survives that.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from typing import TypeAlias

import numpy as np

from optuna_metallmix._run import Run


Axis: TypeAlias = Literal["trials", "seconds"]

Interval: TypeAlias = tuple[float, float]
"""From, to. A trial count that is never reached is ``inf``, a saving of it ``-inf``."""


@dataclass(frozen=True)
class Side:
    """One or more runs under one name.

    Attributes:
        name: What it is called.
        runs: All of the same length, that of the shortest study.
    """

    name: str
    runs: tuple[Run, ...]

    @property
    def n_trials(self) -> int:
        """How many trials every run of it has."""
        return len(self.runs[0].best)

    @property
    def has_seconds(self) -> bool:
        """Whether all its storages say how long the trials took."""
        return not any(np.isnan(run.seconds).any() for run in self.runs)

    def best_after(self, n_trials: int) -> float:
        """Return the median of the best after so many trials, more is better."""
        return float(np.median([run.best[n_trials - 1] for run in self.runs]))

    @property
    def best(self) -> float:
        """The median of the best at its end, more is better; ``-inf`` where there is none."""
        return self.best_after(self.n_trials)

    def curve(self, axis: Axis) -> tuple[np.ndarray, np.ndarray]:
        """Return where the median of the best may change, and what it is from there on.

        Returns:
            (k,) numbers of trials, or seconds, ascending; (k,) the medians, more is better.
        """
        steps = [_steps(run, axis) for run in self.runs]
        at = np.unique(np.concatenate([x for x, _ in steps]))
        levels = np.full((len(steps), len(at)), -math.inf)
        for row, (x, y) in zip(levels, steps, strict=True):
            place = np.searchsorted(x, at, side="right") - 1
            row[place >= 0] = y[place[place >= 0]]
        return at, np.median(levels, axis=0)

    def reached(self, worth: float, axis: Axis) -> float:
        """Return the trials or seconds until the median was as good; ``inf`` where it never was,
        ``nan`` where seconds are not known."""
        if axis == "seconds" and not self.has_seconds:
            return math.nan
        at, levels = self.curve(axis)
        there = at[levels >= worth]
        return float(there[0]) if len(there) else math.inf

    def drawn(self, rng: np.random.Generator) -> Side:
        """Draw as many runs, with replacement: one sample of a bootstrap."""
        picked = rng.integers(len(self.runs), size=len(self.runs))
        return Side(self.name, tuple(self.runs[i] for i in picked))


def make_side(name: str, runs: Sequence[Run]) -> Side:
    """Make a side of runs, cut to the length of the shortest."""
    n_trials = min(len(run.best) for run in runs)
    return Side(name, tuple(run.first(n_trials) for run in runs))


def middle(values: Sequence[float], confidence: float) -> Interval | None:
    """Return what holds the middle share ``confidence`` of samples; ``None`` where one is unknown.

    Taken from the sorted samples themselves: between two of them, one infinite, there is nothing
    (``numpy.quantile`` and ``scipy.stats.bootstrap`` say ``nan`` there).
    """
    if any(map(math.isnan, values)):
        return None
    ordered, cut = sorted(values), (1 - confidence) / 2 * (len(values) - 1)
    return ordered[math.floor(cut)], ordered[len(ordered) - 1 - math.floor(cut)]


def _steps(run: Run, axis: Axis) -> tuple[np.ndarray, np.ndarray]:
    """Return where the run became better, and how good: a long run has few such places."""
    places = np.flatnonzero(run.best > np.concatenate([[-math.inf], run.best[:-1]]))
    x = run.seconds[places] if axis == "seconds" else places + 1.0
    return x, run.best[places]

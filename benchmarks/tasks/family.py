"""Define the records that describe a family of tasks and the methods that compete on it."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import TypeAlias

import optuna_metallmix


CHECKPOINTS = (1, 2, 3, 5, 10, 25, 50, 100)
"""Trials, counted from 1, at which searches are compared."""


class SkippedError(Exception):
    """A method or a family cannot be run on this machine; the message says why."""


@dataclass(frozen=True)
class Step:
    """State of a search after a trial.

    Attributes:
        regret: Regret of the best trial so far, in the family's unit; lower is better.
        seconds: Seconds the method itself has taken so far, trainings excluded.
    """

    regret: float
    seconds: float


Run: TypeAlias = Callable[[str, int, str, int], Sequence[Step]]
"""Maps (task, seed, method, number of trials) to one step per trial."""


@dataclass(frozen=True)
class Bar:
    """An upper limit on a method's mean regret.

    Attributes:
        text: The requirement in words.
        method: The method that has to meet it.
        trial: The trial at which it is checked.
        limit: The highest regret allowed: a number, or (method, trial) to compare with.
        factor: How far the other method's regret may be exceeded; 1.05 allows 5 %.
    """

    text: str
    method: str
    trial: int
    limit: float | tuple[str, int]
    factor: float = 1.0


@dataclass(frozen=True)
class Comparison:
    """A method and others with the same past; it should be no worse, within 5 % or the interval.

    Attributes:
        text: The past in words.
        method: The method that should be no worse.
        others: The trial from which on this is a bar, by name of the other method; ``None`` where
            the other is only shown.
    """

    text: str
    method: str
    others: Mapping[str, int | None]


@dataclass(frozen=True)
class Family:
    """Tasks of one kind and the methods that compete on them.

    Attributes:
        name: Name on the command line.
        title: One sentence: where the tasks come from, and the size of the past.
        unit: How regret is computed.
        tasks: Names of all tasks; each is held out once.
        methods: Description of each method, by name.
        usual: Methods that run by default.
        run: Runs one method on one task.
        n_trials: Trials per search.
        n_seeds: Repetitions per task.
        bars: Requirements that the results are checked against.
        comparisons: Further requirements, for each kind of past.
        trials: Trials per search of methods that differ from ``n_trials``.
        seeds: Repetitions of methods that are too slow for ``n_seeds``.
        clip: Higher regrets count as this in means, so that a few tasks do not decide.
    """

    name: str
    title: str
    unit: str
    tasks: tuple[str, ...]
    methods: Mapping[str, str]
    usual: Sequence[str]
    run: Run
    n_trials: int
    n_seeds: int
    bars: tuple[Bar, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    trials: Mapping[str, int] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    clip: float = 3.0


@dataclass(frozen=True)
class Options:
    """Command-line options of a run; ``None`` means the family's default.

    Attributes:
        quick: Run a smoke test: few tasks, trials and methods, and a small past.
        methods: Names of the methods to run.
        seeds: Number of repetitions.
        tasks: Number of tasks, in order of name.
        trials: Number of trials per search.
        redo: Discard earlier results of these methods.
    """

    quick: bool = False
    methods: tuple[str, ...] | None = None
    seeds: int | None = None
    tasks: int | None = None
    trials: int | None = None
    redo: bool = False


def seed_of(*parts: object) -> int:
    """Return a seed derived from ``parts``, the same in every process.

    Include the method: methods that share a seed share their start-up points, which biases the
    comparison.
    """
    return zlib.crc32("/".join(map(str, parts)).encode())


def code_of_library() -> str:
    """Return a short hash of the library's source code, uncommitted changes included."""
    folder = Path(optuna_metallmix.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def select_methods(family: Family, requested: Sequence[str] | None) -> list[str]:
    """Return the methods to run, in the family's order.

    Raises:
        SkippedError: The family has none of the requested methods.
    """
    wanted = [name for name in family.methods if name in (requested or family.usual)]
    if not wanted:
        raise SkippedError(f"no such method; choose from {', '.join(family.methods)}")
    return wanted

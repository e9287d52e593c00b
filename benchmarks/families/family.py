"""a family of tasks -> what a bench has to know of it: tasks, methods, how to run one of them."""

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
"""The trials, counted from 1, at which a search is compared with others."""


class SkippedError(Exception):
    """A method or a family cannot be run here; the message says why."""


@dataclass(frozen=True)
class Step:
    """Where a search stands after a trial.

    Attributes:
        regret: That of the best trial so far, in the family's unit; less is better.
        seconds: What the method itself has taken so far, without the trainings.
    """

    regret: float
    seconds: float


Run: TypeAlias = Callable[[str, int, str, int], Sequence[Step]]
"""(task, seed, method, number of trials) -> one step a trial."""


@dataclass(frozen=True)
class Bar:
    """What the issue asks of a method.

    Attributes:
        text: The bar in words.
        method: Which method has to reach it.
        trial: At which trial.
        limit: The most regret it may have: a number, or another method's at a trial.
        factor: By how much the other method's regret may be passed.
    """

    text: str
    method: str
    trial: int
    limit: float | tuple[str, int]
    factor: float = 1.0


@dataclass(frozen=True)
class Family:
    """Tasks of one kind and the methods that compete on them.

    Attributes:
        name: What the command calls it.
        title: One sentence: whose tasks, and how many past trials.
        unit: What a regret is.
        tasks: All tasks; each is left out once.
        methods: By name, what each method is, in words.
        usual: Those that are run unless others are asked for.
        run: Runs one method on one task.
        n_trials: Trials of a search.
        n_seeds: How often each is repeated.
        bars: What is asked of it.
        trials: Of the methods that need more or fewer.
        seeds: Of the methods that are too slow for all.
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
    trials: Mapping[str, int] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """What the command line asks for; ``None`` leaves it to the family.

    Attributes:
        quick: A smoke test: few tasks, trials, methods, a small past.
        methods: Which methods.
        seeds: How many seeds.
        tasks: How many tasks, the first ones by name.
        trials: How many trials a search has.
        redo: Forget what these methods did before.
    """

    quick: bool = False
    methods: tuple[str, ...] | None = None
    seeds: int | None = None
    tasks: int | None = None
    trials: int | None = None
    redo: bool = False


def seed_of(*parts: object) -> int:
    """Return a seed of its own for what ``parts`` name, the same in every process.

    Methods that share a seed share their start-up points, which flatters or damns a baseline.
    """
    return zlib.crc32("/".join(map(str, parts)).encode())


def code_of_library() -> str:
    """Return a short name of the library's code as it stands, committed or not."""
    folder = Path(optuna_metallmix.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def chosen(family: Family, asked: Sequence[str] | None) -> list[str]:
    """Return the methods to run, in the family's order; families differ in what they have."""
    wanted = [name for name in family.methods if name in (asked or family.usual)]
    if not wanted:
        raise SkippedError(f"no method of that name, choose from {', '.join(family.methods)}")
    return wanted

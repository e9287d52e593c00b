"""sides -> what each saves of the others' trials and seconds, at equal quality."""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

from optuna_metallmix._side import Axis
from optuna_metallmix._side import Interval
from optuna_metallmix._side import Side
from optuna_metallmix._side import middle


@dataclass(frozen=True)
class Saving:
    """How soon one side was as good as another at its best.

    Attributes:
        bar: The other side, whose best value is the bar.
        value: That value, in the objective's own unit.
        bar_trials: After how many trials the other had it.
        side: The side that is asked.
        n_trials: How many trials it had.
        trials: After how many of them it was as good; ``inf``: never.
        trials_saved: ``bar_trials`` less ``trials``; ``-inf`` where it never was.
        trials_between: The bootstrap interval of that; ``None`` with one study a side.
        seconds_saved: The same in wall seconds in which a trial was running; ``nan`` where a
            storage does not say.
        seconds_between: The bootstrap interval of that; ``None`` where there is none.
    """

    bar: str
    value: float
    bar_trials: int
    side: str
    n_trials: int
    trials: float
    trials_saved: float
    trials_between: Interval | None
    seconds_saved: float
    seconds_between: Interval | None


def savings(
    sides: Sequence[Side], samples: Sequence[Sequence[Side]], confidence: float, sign: float
) -> Iterator[Saving]:
    """Compare each side with each other.

    Args:
        sides: At least two.
        samples: Bootstrap samples of them all; empty for no intervals.
        confidence: Share of the samples that an interval holds, in (0, 1).
        sign: -1 where less is better, else 1.
    """
    for i, j in permutations(range(len(sides)), 2):
        bar, side = sides[i], sides[j]
        drawn = [(sample[i], sample[j]) for sample in samples]
        yield Saving(
            bar.name,
            sign * bar.best,
            int(bar.reached(bar.best, "trials")),
            side.name,
            side.n_trials,
            side.reached(bar.best, "trials"),
            _saved(bar, side, "trials"),
            _between(drawn, "trials", confidence),
            _saved(bar, side, "seconds"),
            _between(drawn, "seconds", confidence),
        )


def _between(drawn: Sequence[tuple[Side, Side]], axis: Axis, confidence: float) -> Interval | None:
    if not any(len(one.runs) > 1 for pair in drawn[:1] for one in pair):
        return None
    return middle([_saved(bar, side, axis) for bar, side in drawn], confidence)


def _saved(bar: Side, side: Side, axis: Axis) -> float:
    if not math.isfinite(bar.best):  # a sample may hold failed runs alone: as good from the start
        return 0.0
    return bar.reached(bar.best, axis) - side.reached(bar.best, axis)

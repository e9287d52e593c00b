"""List the kinds of past that people have, and the controls.

The name of a scenario follows that of a method: `past-bests@tpe-3` has three studies made by TPE.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.tasks.flaws import Ranked
from benchmarks.tasks.flaws import fewer_choices
from benchmarks.tasks.flaws import narrow
from benchmarks.tasks.flaws import wrong_choice
from benchmarks.tasks.past import Past
from benchmarks.tasks.past import inverted
from benchmarks.tasks.past import permuted
from benchmarks.tasks.space import Space
from benchmarks.tasks.unrelated import unrelated


@dataclass(frozen=True)
class Scenario:
    """A kind of past.

    Attributes:
        text: What it is, in words.
        by_tpe: Whether TPE made the trials; else they are random.
        n_studies: Number of studies; ``None`` for all. Smaller pasts are part of larger ones.
        n_trials: Number of trials per study; ``None`` for the family's usual number.
        searched: Returns the space that was searched; ``None`` for the target's.
        scored: Changes the values, given a seed; ``None`` for the true ones.
    """

    text: str
    by_tpe: bool = False
    n_studies: int | None = None
    n_trials: int | None = None
    searched: Callable[[Ranked], Space] | None = None
    scored: Callable[[Past, Ranked, int], Past] | None = None


SIZES = (10, 3, 1)
COMPARED: Mapping[str, Scenario] = {
    "": Scenario("all studies, random trials"),
    **{f"random-{n}": Scenario(f"random studies: {n}", n_studies=n) for n in SIZES},
    "tpe": Scenario("all studies, made by TPE", by_tpe=True),
    **{
        f"tpe-{n}": Scenario(f"random studies, made by TPE: {n}", by_tpe=True, n_studies=n)
        for n in SIZES
    },
}
FLAWED: Mapping[str, Scenario] = {
    "narrow": Scenario(
        "the past searched only the worse half of the target's most important range",
        searched=narrow,
    ),
    "fewer-choices": Scenario(
        "the past lacks the target's best choice of the most important parameter with choices "
        "(without any: every second level of an integer, the best among them)",
        searched=fewer_choices,
    ),
    "wrong-choice": Scenario(
        "past values of the target's best and worst choice of the most important parameter with "
        "choices are exchanged (without any: of the halves of the most important range)",
        scored=lambda past, target, seed: wrong_choice(past, target),
    ),
}
CONTROLS: Mapping[str, Scenario] = {
    "permuted": Scenario(
        "control: past scores permuted within each study",
        scored=lambda past, target, seed: permuted(past),
    ),
    "inverted": Scenario(
        "control: past scores negated", scored=lambda past, target, seed: inverted(past)
    ),
    "unrelated": Scenario(
        "control: past scores replaced by a random quadratic function, similar in all studies",
        scored=lambda past, target, seed: unrelated(past, seed),
    ),
}
OTHER_SIZES: Mapping[str, Scenario] = {
    f"{n}-trials": Scenario(f"{n} random trials per study", n_trials=n) for n in (10, 30, 100)
}
SCENARIOS: Mapping[str, Scenario] = {**COMPARED, **FLAWED, **CONTROLS, **OTHER_SIZES}


def in_scenario(method: str, scenario: str) -> str:
    """Return the name of a method in a scenario; the usual past has no name."""
    return f"{method}@{scenario}" if scenario else method

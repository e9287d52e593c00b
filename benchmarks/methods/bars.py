"""Define the bars of every family: no worse than others, whatever the past and the model."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.methods.catalog import OURS
from benchmarks.methods.catalog import RIVAL
from benchmarks.tasks.family import Bar
from benchmarks.tasks.family import Comparison
from benchmarks.tasks.scenarios import COMPARED
from benchmarks.tasks.scenarios import FLAWED
from benchmarks.tasks.scenarios import in_scenario


WITHIN = 1.05
_HARMFUL = ("permuted", "inverted", "unrelated")

SAFE = (
    *(
        Bar(
            f"hostile model, trial {trial}, within 5 % of no model",
            f"ours-hostile-{kind}",
            trial,
            ("ours-no-llm", trial),
            WITHIN,
        )
        for kind in ("random", "worst")
        for trial in (1, 10)
    ),
    *(
        Bar(
            f"{kind} past, trial {trial}, within 5 % of {words}",
            f"ours-no-llm@{kind}",
            trial,
            (other, trial),
            WITHIN,
        )
        for kind in _HARMFUL
        for trial, words, other in (
            (10, "TPE", "tpe"),
            (25, "TPE", "tpe"),
            (25, "no past", "no-past"),
        )
    ),
)
"""Bars at trials that a family's searches do not reach are not checked."""


def regrets(limits: Mapping[int, float], scenario: str = "") -> tuple[Bar, ...]:
    """Return a bar for the regret of this library at each trial."""
    method = in_scenario(OURS, scenario)
    past = f"`@{scenario}`" if scenario else "as usual"
    return tuple(
        Bar(f"{past}, trial {trial}, at most {limit:g}", method, trial, limit)
        for trial, limit in limits.items()
    )


def comparison(scenario: str, rival_from: int | None = 1) -> Comparison:
    """Compare this library with enqueued bests of the same past, and from trial 10 with TPE."""
    return Comparison(
        f"`@{scenario}`" if scenario else "as usual",
        in_scenario(OURS, scenario),
        {in_scenario(RIVAL, scenario): rival_from, "tpe": 10},
    )


COMPARISONS = (
    *(comparison(scenario) for scenario in COMPARED),
    *(comparison(scenario, None) for scenario in FLAWED),
)
"""With a flawed past, the enqueued bests are only shown: they may be the right thing by chance."""

"""Define the bars of every family of searches: no model and no past may do much harm."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.methods.catalog import OURS
from benchmarks.tasks.family import Bar
from benchmarks.tasks.scenarios import SCENARIOS
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
    past = SCENARIOS[scenario].text
    return tuple(
        Bar(f"{past}, trial {trial}, at most {limit:g}", method, trial, limit)
        for trial, limit in limits.items()
    )

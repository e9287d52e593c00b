"""What is said as the evidence has it always passes, and its opposite never does."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from optuna_metallmix._candidates import Candidate
from optuna_metallmix._claims import false_claims
from optuna_metallmix._evidence import Evidence
from optuna_metallmix._explanation import Explanation
from optuna_metallmix._question import Question


NAMES = ["lr", "weight_decay", "model.head-size", "C", "n layers", "score", "größe", "a_b_c1"]
WORDS = [
    "adam",
    "sgd",
    "null",
    "true",
    "or",
    "not",
    "resnet18",
    "cosine decay",
    "high",
    "3x3",
    "E1",
]

PROSE = [
    "helped",
    "hurt",
    "not",
    "by",
    "E1",
    "E9",
    "0.12",
    "1e999",
    "-3%",
    "matters",
    "most",
    "=",
    "(",
    ".",
]


@st.composite
def _pasts(draw: st.DrawFn) -> tuple[Question, Evidence]:
    """A past with evidence on a few parameters, no two lines about the same value."""
    space: dict[str, BaseDistribution] = {}
    lines: list[tuple[Any, ...]] = []
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True)):
        if draw(st.booleans()):
            words = draw(st.lists(st.sampled_from(WORDS), min_size=2, max_size=3, unique=True))
            space[name] = CategoricalDistribution(words)
            lines += [(name, f"= {one}", None, None, one) for one in words[:-1]]
        else:
            space[name] = FloatDistribution(0, 1_000)
            ends = sorted(draw(st.sets(st.integers(0, 10_000), min_size=4, max_size=4)))
            for low, high in ((ends[0] / 10, ends[1] / 10), (ends[2] / 10, ends[3] / 10)):
                lines += [(name, f"from {low:g} to {high:g}", low, high, None)]
    hundredths = st.integers(2, 60).map(lambda n: n / 100)
    evidence = tuple(
        Evidence(
            f"E{i}",
            *line,
            draw(hundredths) * draw(st.sampled_from([1, -1])),
            draw(st.integers(1, 500)),
            draw(st.integers(1, 50)),
        )
        for i, line in enumerate(lines, start=1)
    )
    explanation = Explanation(0.5, np.zeros((0, 0)), (), space, {}, evidence, (), None)
    candidate = Candidate(1, {}, "best", 0.5, 0.1)
    return Question(space, {}, (candidate,), explanation), draw(st.sampled_from(evidence))


def _said(one: Evidence, how: str, helped: bool) -> str:
    what = f"{one.parameter} {one.values}"
    sign = "+" if helped else "-"
    return {
        "as shown": f"{what} {'helped' if helped else 'hurt'}: {sign}{abs(one.effect):.2f} "
        f"({one.n_trials} trials, {one.n_studies} studies)",
        "by": f"In the past {what} {'helped' if helped else 'hurt'} by {abs(one.effect):.2f}.",
        "score": f"I see that {what} {'raises' if helped else 'lowers'} the score.",
        "loss": f"{what} {'reduces' if helped else 'increases'} the loss",
        "adjective": f"{what} is {'beneficial' if helped else 'detrimental'}!",
        "denied": f"{what} does not {'hurt' if helped else 'help'}.",
        "avoided": f"Avoiding {what} {'hurts' if helped else 'helps'}.",
        "passive": f"The score is {'improved' if helped else 'degraded'} by {what}.",
        "id": f"{one.id} {'helped' if helped else 'hurt'}.",
    }[how]


HOW = ["as shown", "by", "score", "loss", "adjective", "denied", "avoided", "passive", "id"]


@given(_pasts(), st.sampled_from(HOW))
def test_what_the_evidence_says_always_passes(past: tuple[Question, Evidence], how: str) -> None:
    question, one = past
    assert false_claims([_said(one, how, one.effect > 0)], question, {}) == ()


@given(_pasts(), st.sampled_from(HOW))
def test_the_opposite_of_what_the_evidence_says_is_always_caught(
    past: tuple[Question, Evidence], how: str
) -> None:
    question, one = past
    assert len(false_claims([_said(one, how, one.effect < 0)], question, {})) == 1


@given(_pasts(), st.text(max_size=300))
def test_any_text_can_be_read(past: tuple[Question, Evidence], text: str) -> None:
    for found in false_claims([text], past[0], {}):
        assert found.quote
        assert found.truth


@given(_pasts(), st.lists(st.sampled_from([*NAMES, *WORDS, *PROSE]), max_size=25).map(" ".join))
def test_any_prose_about_known_names_can_be_read(
    past: tuple[Question, Evidence], text: str
) -> None:
    for found in false_claims([text], past[0], {}):
        assert found.quote in text
        assert found.truth

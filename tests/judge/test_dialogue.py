"""The short question is asked once, without a review, and only if there is evidence to cite."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import pytest

from optuna_metallmix.errors import LLMError
from optuna_metallmix.judge.dialogue import hold_dialogue
from optuna_metallmix.llm import ScriptedLLM
from optuna_metallmix.prompt.context import SHORT
from optuna_metallmix.prompt.context import Question


if TYPE_CHECKING:
    from conftest import Handmade


@pytest.fixture
def question(handmade: Handmade) -> Question:
    explained = handmade.explanation
    return Question(handmade.space, {}, handmade.candidates, explained, variant=SHORT)


def _answer(candidate: int, *evidence: str, **other: Any) -> str:
    return json.dumps({"evidence": evidence, "candidate": candidate, **other})


def test_a_choice_that_its_citations_support_is_accepted(question: Question) -> None:
    llm, reviewer = ScriptedLLM([_answer(3, "E2", "E4")]), ScriptedLLM([])
    dialogue = hold_dialogue(question, llm, reviewer, 3)
    assert dialogue.proposal is not None
    assert dialogue.proposal.params == question.candidates[2].params
    assert dialogue.proposal.evidence == ("E2", "E4")
    assert dialogue.verdict is not None
    assert dialogue.verdict.review is None
    assert (len(llm.calls), len(reviewer.calls)) == (1, 0)


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (_answer(3, "E2", "E1"), "E1 (optimizer = adam helped"),
        (_answer(1, "E3"), "which the chosen configuration does not have"),
        (_answer(1), "No evidence is cited"),
        (_answer(4, "E1"), "There is no candidate 4"),
        (_answer(1, "E9"), "There is no evidence 'E9'"),
        (_answer(1, "E1", changes={"depth": 4}), "no value may be changed"),
        ("1.1.1.1.1.1", "not the JSON object asked for"),
        (LLMError("It is gone."), "It is gone."),
    ],
)
def test_any_other_answer_is_refused_and_not_asked_again(
    question: Question, answer: Any, failure: str
) -> None:
    llm = ScriptedLLM([answer, _answer(1, "E1")])
    dialogue = hold_dialogue(question, llm, None, 3)
    (attempt,) = dialogue.attempts
    assert failure in attempt.failures[0]
    assert dialogue.proposal is None


def test_without_evidence_nothing_is_asked(question: Question) -> None:
    assert question.explanation is not None
    bare = replace(question.explanation, evidence=())
    for explanation in (None, bare):
        llm = ScriptedLLM([])
        dialogue = hold_dialogue(replace(question, explanation=explanation), llm, llm, 2)
        assert (dialogue.attempts, dialogue.proposal, llm.calls) == ((), None, [])

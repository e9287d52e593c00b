from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from choosers import Reads
from choosers import TakesPosition

from optuna_metallmix import LLM
from optuna_metallmix import LLMError
from optuna_metallmix import ScriptedLLM
from optuna_metallmix.evaluation.order_bias import Choice
from optuna_metallmix.evaluation.order_bias import ask_in_orders
from optuna_metallmix.evaluation.order_bias import order_bias
from optuna_metallmix.prompt.context import SHORT
from optuna_metallmix.prompt.context import Question
from optuna_metallmix.prompt.messages import prompt_view
from optuna_metallmix.prompt.messages import suggestion_messages


if TYPE_CHECKING:
    from conftest import Handmade
    from conftest import Learned


@pytest.fixture
def question(learned: Learned) -> Question:
    return Question(learned.space, {}, learned.candidates, learned.explanation, learned.learner)


def _choices(question: Question, llm: LLM, n: int = 6) -> list[Choice]:
    return list(ask_in_orders("chest", question, llm, n, np.random.default_rng(0)))


def test_model_that_takes_the_first_position_does_not_read(question: Question) -> None:
    choices = _choices(question, TakesPosition(1))
    bias = order_bias(choices)
    assert bias.reads == "no"
    assert (bias.position, bias.position_share) == (1, 1.0)
    assert bias.sentence.startswith("does not read the prompt: position 1 in 100% of 6 answers")
    assert bias.candidate_share == pytest.approx(1 / 6)  # by the rotations: no luck in it


def test_model_that_takes_the_last_position_does_not_read(question: Question) -> None:
    bias = order_bias(_choices(question, TakesPosition(6)))
    assert (bias.reads, bias.position) == ("no", 6)


def test_model_that_reads_takes_the_same_candidate(question: Question) -> None:
    bias = order_bias(_choices(question, Reads()))
    assert (bias.reads, bias.candidate_share) == ("yes", 1.0)
    assert bias.position_share == pytest.approx(1 / 6)


def test_each_candidate_is_in_each_position_once(question: Question) -> None:
    orders = [choice.order for choice in _choices(question, Reads())]
    for column in zip(*orders, strict=True):
        assert sorted(column) == [1, 2, 3, 4, 5, 6]


def test_fewer_orders_are_far_apart(question: Question) -> None:
    first, second, third = (choice.order for choice in _choices(question, Reads(), 3))
    assert len({first[0], second[0], third[0]}) == 3


def test_same_facts_in_another_order(question: Question) -> None:
    seen: list[str] = []

    def answer(messages: object, schema: object) -> str:
        seen.append(messages[1]["content"])  # type: ignore[index]
        return "no answer"

    _choices(question, ScriptedLLM([answer] * 2), 2)
    asked = suggestion_messages(prompt_view(question))[1]["content"]
    assert "1 is expected to do best" in asked
    for text in seen:
        assert "expected to do best" not in text
        assert _facts(text) == _facts(asked)
    assert seen[0] != seen[1]


@pytest.mark.parametrize("limit", range(225, 400, 25))
def test_same_facts_of_a_short_question(
    question: Question, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Also of those that were left out to make it short."""
    seen: list[str] = []

    def answer(messages: object, schema: object) -> str:
        seen.append(messages[0]["content"])  # type: ignore[index]
        return "no answer"

    monkeypatch.setattr("optuna_metallmix.prompt.short.SHORT_TOKENS", limit)
    short = replace(question, variant=SHORT)
    _choices(short, ScriptedLLM([answer] * 6))
    asked = suggestion_messages(prompt_view(short))[0]["content"]
    for text in seen:
        assert _short_facts(text) == _short_facts(asked)


def _short_facts(text: str) -> list[str]:
    """Return the evidence and the configurations, without their numbers."""
    return sorted(line.partition(" | ")[0].partition(" ")[2] for line in text.splitlines())


def _facts(text: str) -> list[str]:
    """Return the lines without their numbers, the question's own left out."""
    lines = text.split("Which configuration")[0].splitlines()
    return sorted(line.split(" ", 1)[-1] if line[:1] in "E123456" else line for line in lines)


def test_without_a_past_there_is_an_order_too(handmade: Handmade) -> None:
    unknown = tuple(
        replace(candidate, predicted=None, spread=None) for candidate in handmade.candidates
    )
    choices = _choices(Question(handmade.space, {}, unknown), TakesPosition(1), 3)
    assert {choice.candidate for choice in choices} == {1, 2, 3}


def test_no_answers_allow_no_verdict(question: Question) -> None:
    broken = ScriptedLLM([LLMError("gone"), "{}", "nonsense"])
    bias = order_bias(_choices(question, broken, 3))
    assert (bias.n, bias.position, bias.reads) == (0, None, "untested")
    assert bias.sentence == "gave no usable answer"


def test_few_answers_allow_no_verdict(question: Question) -> None:
    assert order_bias(_choices(question, TakesPosition(1), 3)).reads == "untested"


def test_between_both_is_unclear() -> None:
    order = (1, 2, 3, 4, 5, 6)
    drawn = [Choice("a", order, i, i) for i in (1, 2, 3, 4, 5, 6)]
    assert order_bias(drawn).reads == "unclear"
    mostly = [Choice("a", order, i, 1) for i in (1, 2, 3, 4)]
    assert order_bias([*mostly, *drawn[4:]]).reads == "in part"

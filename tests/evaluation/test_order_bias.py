from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from choosers import Reads
from choosers import TakesPlace

from optuna_metallmix import LLM
from optuna_metallmix import LLMError
from optuna_metallmix import ScriptedLLM
from optuna_metallmix.evaluation.order_bias import Choice
from optuna_metallmix.evaluation.order_bias import choose_in_orders
from optuna_metallmix.evaluation.order_bias import habit_of
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
    return list(choose_in_orders("chest", question, llm, n, np.random.default_rng(0)))


def test_model_that_takes_the_first_place_is_named(question: Question) -> None:
    choices = _choices(question, TakesPlace(1))
    habit = habit_of(choices)
    assert habit.reading == "no"
    assert (habit.place, habit.place_share) == (1, 1.0)
    assert habit.sentence.startswith("does not read: place 1 in 100% of 6 answers")
    assert habit.candidate_share == pytest.approx(1 / 6)  # by the rotations: no luck in it


def test_model_that_takes_the_last_place_is_named(question: Question) -> None:
    habit = habit_of(_choices(question, TakesPlace(6)))
    assert (habit.reading, habit.place) == ("no", 6)


def test_model_that_reads_is_told_from_it(question: Question) -> None:
    habit = habit_of(_choices(question, Reads()))
    assert (habit.reading, habit.candidate_share) == ("yes", 1.0)
    assert habit.place_share == pytest.approx(1 / 6)


def test_each_candidate_stands_in_each_place_once(question: Question) -> None:
    orders = [one.order for one in _choices(question, Reads())]
    for column in zip(*orders, strict=True):
        assert sorted(column) == [1, 2, 3, 4, 5, 6]


def test_fewer_orders_are_far_apart(question: Question) -> None:
    first, second, third = (one.order for one in _choices(question, Reads(), 3))
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


def _facts(text: str) -> list[str]:
    """Return the lines without their numbers, the question's own left out."""
    lines = text.split("Which configuration")[0].splitlines()
    return sorted(one.split(" ", 1)[-1] if one[:1] in "E123456" else one for one in lines)


def test_without_a_past_there_is_an_order_too(handmade: Handmade) -> None:
    unknown = tuple(replace(one, predicted=None, spread=None) for one in handmade.candidates)
    choices = _choices(Question(handmade.space, {}, unknown), TakesPlace(1), 3)
    assert {one.candidate for one in choices} == {1, 2, 3}


def test_no_answers_are_no_reading(question: Question) -> None:
    broken = ScriptedLLM([LLMError("gone"), "{}", "nonsense"])
    habit = habit_of(_choices(question, broken, 3))
    assert (habit.n, habit.place, habit.reading) == (0, None, "not told")
    assert habit.sentence == "gave no usable answer"


def test_few_answers_tell_nothing(question: Question) -> None:
    assert habit_of(_choices(question, TakesPlace(1), 3)).reading == "not told"


def test_between_both_is_unclear() -> None:
    order = (1, 2, 3, 4, 5, 6)
    drawn = [Choice("a", order, place, place) for place in (1, 2, 3, 4, 5, 6)]
    assert habit_of(drawn).reading == "unclear"
    mostly = [Choice("a", order, place, 1) for place in (1, 2, 3, 4)]
    assert habit_of([*mostly, *drawn[4:]]).reading == "in part"

"""The short question: what it shows, what it leaves out, and its budget."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import pytest
from asked import ALPHABETS
from asked import Write
from asked import hostile
from asked import make_question
from asked import ordinary
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from optuna_metallmix.explain.explanation import Evidence
from optuna_metallmix.explain.explanation import evidence_sign
from optuna_metallmix.prompt.context import SHORT
from optuna_metallmix.prompt.context import PromptView
from optuna_metallmix.prompt.context import Question
from optuna_metallmix.prompt.context import estimate_tokens
from optuna_metallmix.prompt.messages import prompt_view
from optuna_metallmix.prompt.messages import suggestion_messages
from optuna_metallmix.prompt.messages import suggestion_schema
from optuna_metallmix.prompt.short import SHORT_TOKENS


if TYPE_CHECKING:
    from conftest import Handmade


def _text(view: PromptView) -> str:
    (message,) = suggestion_messages(view)
    assert message["role"] == "user"
    return message["content"]


def _check(view: PromptView) -> None:
    """Check that the question fits, agrees with its schema, and says what is for and against."""
    text, schema = _text(view), suggestion_schema(view)
    assert estimate_tokens(text) <= SHORT_TOKENS
    lines = re.findall(
        r"^(\d+)\. (?:.* \| )?for ([\w ]+) \| against ([\w ]+)$", text, re.MULTILINE
    )
    numbers = [int(number) for number, _, _ in lines]
    assert numbers == schema["properties"]["candidate"]["enum"]
    assert schema["required"] == ["candidate", "evidence"]
    shown = re.findall(r"^(E\d+): ", text, re.MULTILINE)
    assert shown == schema["properties"]["evidence"]["items"]["enum"]
    assert view.explanation is not None
    for (_, supporting, opposing), candidate in zip(lines, view.candidates, strict=True):
        signs = {
            item.id: evidence_sign(item, view.question.space, candidate.params)
            for item in view.explanation.evidence
        }
        assert supporting == (" ".join(i for i in signs if signs[i] == 1) or "none")
        assert opposing == (" ".join(i for i in signs if signs[i] == -1) or "none")


@pytest.fixture
def question(handmade: Handmade) -> Question:
    explained = handmade.explanation
    return Question(handmade.space, {}, handmade.candidates, explained, variant=SHORT)


def test_it_offers_one_of_the_candidates_that_the_evidence_does_not_tell_apart(
    question: Question,
) -> None:
    distinct = prompt_view(question).candidates
    twins = [replace(c, number=c.number + len(distinct)) for c in distinct]
    asked = prompt_view(replace(question, candidates=(*distinct, *twins)))
    assert asked.candidates == distinct
    alike = tuple(replace(distinct[0], number=n) for n in (1, 2))
    assert prompt_view(replace(question, candidates=alike)).candidates == alike


def test_the_schema_asks_for_citations_and_a_choice(question: Question) -> None:
    schema = suggestion_schema(prompt_view(question))
    evidence = {"type": "string", "enum": ["E1", "E2", "E3", "E4"]}
    assert schema["properties"] == {
        "evidence": {"type": "array", "items": evidence, "minItems": 1, "maxItems": 3},
        "candidate": {"type": "integer", "enum": [1, 2, 3]},
    }
    assert schema["required"] == ["candidate", "evidence"]


def test_each_candidate_lists_what_is_for_and_against_it(question: Question) -> None:
    view = prompt_view(question)
    _check(view)
    assert "optimizer=null | for none | against E1 E2 E4" in _text(view)


def test_only_values_that_differ_are_shown(question: Question) -> None:
    assert "batch_size" not in _text(prompt_view(question))  # 32 in each candidate
    assert "momentum=0.95" in _text(prompt_view(question))  # in one of them only


def _line(number: int, parameter: str, choice: str, effect: float) -> Evidence:
    return Evidence(f"E{number}", parameter, f"= {choice}", None, None, choice, effect, 9, 3)


def _with_evidence(question: Question, lines: Sequence[Evidence]) -> Question:
    assert question.explanation is not None
    return replace(question, explanation=replace(question.explanation, evidence=tuple(lines)))


def test_evidence_that_says_the_same_of_every_candidate_is_left_out(question: Question) -> None:
    lines = [_line(1, "frozen", "true", 0.3), _line(2, "optimizer", "sgd", 0.1)]
    text = _text(prompt_view(_with_evidence(question, lines)))
    assert "E1" not in text
    assert "E2: optimizer = sgd helped: +0.10" in text


def test_evidence_for_every_candidate_is_shown_if_there_is_no_other(question: Question) -> None:
    lines = [_line(1, "frozen", "true", 0.3), _line(2, "frozen", "false", 0.2)]
    view = prompt_view(_with_evidence(question, lines))
    _check(view)
    assert [item.id for item in view.explanation.evidence] == ["E1"]


@pytest.mark.parametrize(
    "lines",
    [[], [_line(1, "frozen", "false", 0.3)], [_line(1, "absent", "true", 0.3)]],
    ids=["none", "against all", "about none"],
)
def test_evidence_that_supports_no_candidate_is_none(
    question: Question, lines: list[Evidence]
) -> None:
    view = prompt_view(_with_evidence(question, lines))
    assert view.explanation.evidence == ()
    assert "evidence" not in suggestion_schema(view)["properties"]


def test_values_then_evidence_then_candidates_are_left_out() -> None:
    def size(n_parameters: int, write: Write = ordinary) -> tuple[int, int, int]:
        view = prompt_view(make_question(write, n_parameters=n_parameters, variant=SHORT))
        return len(view.space), len(view.explanation.evidence), len(view.candidates)

    assert size(1) == (1, 1, 2)
    assert size(3) == (3, 3, 2)
    assert size(10) == (1, 4, 4)
    assert size(10, hostile("mixed")) == (0, 4, 4)


@pytest.mark.parametrize("alphabet", ALPHABETS)
@pytest.mark.parametrize("n_parameters", [1, 2, 5, 40])
def test_long_texts_fit(alphabet: str, n_parameters: int) -> None:
    view = prompt_view(make_question(hostile(alphabet), n_parameters=n_parameters, variant=SHORT))
    _check(view)
    assert len(view.candidates) >= 2


@given(
    n_parameters=st.integers(1, 45),
    n_choices=st.integers(1, 30),
    texts=st.lists(st.text(max_size=300), min_size=1, max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_any_question_fits(texts: list[str], **options: Any) -> None:
    def write(kind: str, i: int) -> str:
        return f"{texts[i % len(texts)]}{kind}{i}"

    _check(prompt_view(make_question(write, variant=SHORT, **options)))

"""Every prompt fits its token budget, whatever the past, and agrees with its schema."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
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

from optuna_metallmix.judge.llm_judge import review_messages
from optuna_metallmix.llm import INSTALL_COMMAND
from optuna_metallmix.llm import EmbeddedLLM
from optuna_metallmix.llm import Message
from optuna_metallmix.llm import is_embedded_installed
from optuna_metallmix.prompt.context import ANSWER_TOKENS
from optuna_metallmix.prompt.context import MAX_TOKENS
from optuna_metallmix.prompt.context import MINIMAL_CAPS
from optuna_metallmix.prompt.context import REDUCED_CAPS
from optuna_metallmix.prompt.context import REJECTION_TOKENS
from optuna_metallmix.prompt.context import SECTION_TOKENS
from optuna_metallmix.prompt.context import VARIANTS
from optuna_metallmix.prompt.context import WORDING_TOKENS
from optuna_metallmix.prompt.context import Caps
from optuna_metallmix.prompt.context import PromptView
from optuna_metallmix.prompt.context import Question
from optuna_metallmix.prompt.context import apply_caps
from optuna_metallmix.prompt.context import estimate_tokens
from optuna_metallmix.prompt.messages import prompt_view
from optuna_metallmix.prompt.messages import rejection
from optuna_metallmix.prompt.messages import suggestion_messages
from optuna_metallmix.prompt.messages import suggestion_schema
from optuna_metallmix.prompt.sections import sections
from optuna_metallmix.text import quote


needs_model = pytest.mark.skipif(not is_embedded_installed(), reason=f"run {INSTALL_COMMAND}")

WORST = {"n_choices": 100, "n_features": 100, "n_tried": 20, "cost": True}
CASES: dict[str, tuple[Write, dict[str, Any]]] = {
    "ordinary": (ordinary, {}),
    "ordinary, tried": (ordinary, {"n_tried": 20, "n_features": 100, "cost": True}),
    "ordinary, no past": (ordinary, {"past": False, "n_choices": 100}),
    "emoji, no past": (hostile("emoji"), {**WORST, "past": False}),
    **{name: (hostile(name), WORST) for name in ALPHABETS},
}


@pytest.fixture(params=CASES)
def question(request: pytest.FixtureRequest) -> Question:
    write, options = CASES[request.param]
    return make_question(write, n_parameters=30, n_studies=50, **options)


def _cost(shown: PromptView) -> int:
    return estimate_tokens("\n\n".join(sections(shown)))


def _check_agreement(shown: PromptView) -> None:
    """Check that the schema allows exactly what the messages show."""
    text = suggestion_messages(shown)[-1]["content"]
    asked = suggestion_schema(shown)["properties"]
    listed = text.partition("\nCandidates:\n")[2].partition("\n\n")[0]
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", listed, re.MULTILINE)]
    assert numbers == asked["candidate"]["enum"] == list(range(1, len(numbers) + 1))
    evidence = re.findall(r"^(E\d+): ", text, re.MULTILINE)
    assert evidence == asked.get("evidence", {"items": {"enum": []}})["items"]["enum"]
    for name, schema in asked.get("changes", {"properties": {}})["properties"].items():
        assert name in text
        assert all(label in text for label in schema.get("enum", []))


def test_every_question_fits(question: Question) -> None:
    for variant in VARIANTS:
        shown = prompt_view(replace(question, variant=variant))
        assert _cost(shown) <= SECTION_TOKENS
        assert shown.space
        assert shown.candidates[0].number == 1
        _check_agreement(shown)


def test_the_minimal_view_of_any_question_fits_and_agrees(question: Question) -> None:
    shown = apply_caps(question, MINIMAL_CAPS)
    _check_agreement(shown)
    assert _cost(shown) <= SECTION_TOKENS


@pytest.mark.parametrize("past", [True, False])
@pytest.mark.parametrize("cost", [True, False])
def test_a_wide_space_with_ordinary_names_is_not_cut_to_the_minimum(
    past: bool, cost: bool
) -> None:
    sizes = {"n_parameters": 60, "n_studies": 50, "n_features": 100, "n_tried": 20}
    question = make_question(ordinary, n_choices=20, past=past, cost=cost, **sizes)
    shown = prompt_view(question)
    assert shown.caps == REDUCED_CAPS
    assert len(shown.space) == (
        REDUCED_CAPS.parameters if past else REDUCED_CAPS.parameters_without_past
    )
    assert shown.candidates == question.candidates


@given(
    n_parameters=st.integers(1, 60),
    n_studies=st.integers(0, 60),
    n_choices=st.integers(1, 30),
    n_features=st.integers(0, 60),
    n_tried=st.integers(0, 12),
    past=st.booleans(),
    cost=st.booleans(),
    variant=st.sampled_from(VARIANTS),
    texts=st.lists(st.text(max_size=300), min_size=1, max_size=5),
)
@settings(max_examples=60)
def test_any_question_fits_and_agrees(texts: list[str], **options: Any) -> None:
    shown = prompt_view(
        make_question(lambda kind, i: f"{texts[i % len(texts)]}{kind}{i}", **options)
    )
    assert _cost(shown) <= SECTION_TOKENS
    _check_agreement(shown)


def test_what_matters_most_is_kept_and_the_rest_is_counted() -> None:
    shown = prompt_view(make_question(n_features=30, n_tried=9))
    text = suggestion_messages(shown)[-1]["content"]
    names = list(shown.question.space)
    assert list(shown.space) == names[: len(shown.space)]  # importance falls in this order
    assert f"- and {30 - len(shown.space)} more that had little effect" in text
    assert f"- and {50 - text.count('(200 trials, distance')} more further away" in text
    n_lines = len(re.findall(r"^E\d", text, re.MULTILINE))
    assert f"- and {10 - n_lines} more that matter" in text
    assert "and 22 more\n" in text  # of the 30 features
    assert "more before them" in text
    assert "0.8" in text.partition("Already tried")[2].partition("\n- and")[0]  # the latest


def test_a_small_question_is_shown_whole() -> None:
    question = make_question(n_parameters=6, n_studies=3, n_choices=4, n_features=8)
    shown = prompt_view(question)
    assert shown.caps == Caps()
    assert list(shown.space) == list(question.space)
    assert shown.explanation.evidence == question.explanation.evidence
    assert shown.explanation.nearest == question.explanation.nearest
    assert shown.candidates == question.candidates
    assert " more" not in "\n".join(sections(shown))


WITHOUT = "".join(message["content"] for message in rejection("", []))


def _rejection_cost(answer: str, failures: list[str]) -> int:
    content = "".join(message["content"] for message in rejection(answer, failures))
    return estimate_tokens(content) - estimate_tokens(WITHOUT)


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_a_refusal_fits(alphabet: str) -> None:
    write = hostile(alphabet)
    answer, failures = write("choice", 0) * 9, [write("choice", i) for i in range(50)]
    assert _rejection_cost(answer, failures) <= ANSWER_TOKENS + REJECTION_TOKENS
    content = rejection(answer, failures)[-1]["content"]
    assert re.search(r"^- and \d+ more$", content, re.MULTILINE)


@given(st.text(max_size=2_000), st.lists(st.text(max_size=300), max_size=5))
def test_any_refusal_fits(answer: str, failures: list[str]) -> None:
    assert _rejection_cost(answer, failures) <= ANSWER_TOKENS + REJECTION_TOKENS


def test_an_ordinary_refusal_is_quoted_whole() -> None:
    answer = (
        '{"evidence": ["E1", "E2"], "reasoning": "A small learning rate with adam helped in most '
        'of the past studies, and this task is similar to them.", "candidate": 2, "changes": '
        '{"learning_rate": 0.05}, "why": "It is the best choice for a small data set."}'
    )
    failures = [
        "E1 (optimizer = adam helped: +0.20 (40 trials, 3 studies)) speaks against optimizer=sgd, "
        "which was chosen.",
        "learning_rate was changed, but no evidence is cited for the new value.",
    ]
    quoted, message = rejection(answer, failures)
    assert quoted["content"] == answer
    assert all(failure in message["content"] for failure in failures)


REASONS = ("Why it is right. " * 99, "\u202e<|im_end|>" * 99, "\U0001f600" * 999, '\\"' * 999)


@pytest.mark.parametrize("reasons", REASONS, ids=["prose", "tokens", "emoji", "quotes"])
def test_a_review_fits(question: Question, reasons: str) -> None:
    asked = review_messages(question.candidates[0].params, reasons, question)
    assert estimate_tokens(asked[-1]["content"]) <= SECTION_TOKENS
    assert "<|" not in asked[-1]["content"]


@pytest.fixture(scope="module")
def llm() -> Iterator[EmbeddedLLM]:
    model = EmbeddedLLM()
    yield model
    model.close()


YES: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "string", "enum": ["y"]}},
    "required": ["a"],
    "additionalProperties": False,
}


def _read(llm: EmbeddedLLM, messages: list[Message]) -> int:
    """Return the number of tokens that the model read."""
    llm.generate(messages, schema=YES)
    assert llm.last_usage is not None
    assert llm.last_usage.prompt_tokens is not None
    return llm.last_usage.prompt_tokens


@needs_model
@pytest.mark.model
@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_the_estimate_is_no_less_than_what_is_read(llm: EmbeddedLLM, alphabet: str) -> None:
    write = hostile(alphabet)
    text = ", ".join(quote(write("choice", i), 40) for i in range(8))
    frame = _read(llm, [{"role": "user", "content": ""}])
    assert _read(llm, [{"role": "user", "content": text}]) - frame <= estimate_tokens(text)


@needs_model
@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("case", ["ordinary, tried", "chinese", "syllables"])
def test_a_whole_conversation_is_within_the_budget(llm: EmbeddedLLM, case: str) -> None:
    write, options = CASES[case]
    shown = prompt_view(make_question(write, n_parameters=30, n_studies=50, **options))
    refused = rejection(write("choice", 0), [write("choice", i) for i in range(9)])
    n_read = _read(llm, [*suggestion_messages(shown), *refused])
    assert n_read <= MAX_TOKENS


@needs_model
@pytest.mark.model
def test_our_own_words_cost_what_is_set_aside_for_them(llm: EmbeddedLLM) -> None:
    shown = prompt_view(make_question())
    asked = suggestion_messages(shown)
    question = asked[-1]["content"].rpartition("\n\n")[2]
    wording = [asked[0], {"role": "user", "content": question}, *rejection("{}", ["-"])]
    assert 150 < _read(llm, wording) <= WORDING_TOKENS

"""No question outgrows its budget, whatever the past and its texts; and what is shown agrees."""

from __future__ import annotations

import random
import re
import string
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from asked import Write
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
from optuna_metallmix.prompt.context import REFUSAL_TOKENS
from optuna_metallmix.prompt.context import SECTION_TOKENS
from optuna_metallmix.prompt.context import VARIANTS
from optuna_metallmix.prompt.context import WORDING_TOKENS
from optuna_metallmix.prompt.context import PromptView
from optuna_metallmix.prompt.context import Question
from optuna_metallmix.prompt.context import estimate_tokens
from optuna_metallmix.prompt.context import extents
from optuna_metallmix.prompt.context import narrow
from optuna_metallmix.prompt.context import whole_lines
from optuna_metallmix.prompt.messages import prompt_view
from optuna_metallmix.prompt.messages import refusal
from optuna_metallmix.prompt.messages import suggestion_messages
from optuna_metallmix.prompt.messages import suggestion_schema
from optuna_metallmix.prompt.sections import sections
from optuna_metallmix.text import quote


needs_model = pytest.mark.skipif(not is_embedded_installed(), reason=f"run {INSTALL_COMMAND}")

ALPHABETS = {
    "letters": string.ascii_lowercase,
    "mixed": string.ascii_letters,
    "hexadecimal": "0123456789abcdef",
    "punctuation": string.punctuation,
    "chinese": "".join(map(chr, range(0x4E00, 0x9FA5))),
    "emoji": "".join(map(chr, range(0x1F300, 0x1F600))),
    "syllables": ["ba", "de", "ki", "lo", "mu", "rax", "tev", "zyn"],
}
LENGTHS = {"parameter": 200, "choice": 1_000, "feature": 100, "value": 64, "study": 500}


def hostile(alphabet: str) -> Write:
    """Texts of the greatest length out of one alphabet."""

    def write(kind: str, i: int) -> str:
        letters = ALPHABETS[alphabet]
        drawn = random.Random(f"{kind} {i}").choices(letters, k=LENGTHS[kind])
        return "".join(drawn)[: LENGTHS[kind] - 5] + str(i)

    return write


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
    """Check that what can be answered is what is told, line by line."""
    text = suggestion_messages(shown)[-1]["content"]
    asked = suggestion_schema(shown)["properties"]
    listed = text.partition("\nCandidates:\n")[2].partition("\n\n")[0]
    numbers = [int(one) for one in re.findall(r"^(\d+)\. ", listed, re.MULTILINE)]
    assert numbers == asked["candidate"]["enum"] == list(range(1, len(numbers) + 1))
    told = re.findall(r"^(E\d+): ", text, re.MULTILINE)
    assert told == asked.get("evidence", {"items": {"enum": []}})["items"]["enum"]
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


def test_the_least_extent_is_a_question_still(question: Question) -> None:
    *_, least = extents(question)
    shown = narrow(question, least)
    _check_agreement(shown)
    assert _cost(shown) < 1_000


def test_each_extent_is_smaller_than_the_one_before(question: Question) -> None:
    shown = [narrow(question, one) for one in extents(question)]
    lengths = [len("\n".join(sections(one))) for one in shown]
    # A line that tells what is left out may be a little longer than what it stands for.
    assert all(b <= a + 60 for a, b in pairwise(lengths))


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
    assert list(shown.space) == list(shown.past_space) == list(question.space)
    assert shown.explanation == question.explanation
    assert shown.candidates == question.candidates
    assert " more" not in "\n".join(sections(shown))


WITHOUT = "".join(one["content"] for one in refusal("", []))


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_a_refusal_fits(alphabet: str) -> None:
    write = hostile(alphabet)
    told = refusal(write("choice", 0) * 9, [write("choice", i) for i in range(50)])
    content = "".join(one["content"] for one in told)
    cost = estimate_tokens(content) - estimate_tokens(WITHOUT)
    assert cost <= ANSWER_TOKENS + REFUSAL_TOKENS
    assert re.search(r"^- and \d+ more$", told[-1]["content"], re.MULTILINE)


def test_a_review_fits(question: Question) -> None:
    params = question.candidates[0].params
    reasons = ("Why it is right. " * 99, "\u202e<|im_end|>" * 99)
    for one in reasons:
        asked = review_messages(params, one, question)
        assert estimate_tokens(asked[-1]["content"]) <= SECTION_TOKENS
        assert "<|" not in asked[-1]["content"]


def test_at_least_one_line_is_kept() -> None:
    assert whole_lines(["a b c", "d"], 0) == ["a b c", "- and 1 more"]
    assert whole_lines(["a", "b"], 99) == ["a", "b"]


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
    """Return how many tokens the model read."""
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
    told = refusal(write("choice", 0), [write("choice", i) for i in range(9)])
    n_read = _read(llm, [*suggestion_messages(shown), *told])
    assert n_read <= MAX_TOKENS
    assert n_read > MAX_TOKENS // 2  # and no more is left out than need be


@needs_model
@pytest.mark.model
def test_our_own_words_cost_what_is_set_aside_for_them(llm: EmbeddedLLM) -> None:
    shown = prompt_view(make_question())
    asked = suggestion_messages(shown)
    question = asked[-1]["content"].rpartition("\n\n")[2]
    told = [asked[0], {"role": "user", "content": question}, *refusal("{}", ["-"])]
    assert 150 < _read(llm, told) <= WORDING_TOKENS

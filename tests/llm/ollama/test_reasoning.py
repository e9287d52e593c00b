"""Models that reason: what is read of their answers, and what to do if there is none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from typing import Any

import pytest

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import OllamaLLM


if TYPE_CHECKING:
    from conftest import FakeOllama


QUESTION = [{"role": "user", "content": "Which one?"}]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
DOCUMENT = '{"n": 1}'
TAGGED = "<think>\nFirst {n} or second?"


def answer(content: str, thinking: str | None = None, **facts: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, "thinking": thinking}
    counts = {"prompt_eval_count": 20, "eval_count": 9}
    return {"message": message, "done": True, "done_reason": "stop", **counts, **facts}


def serve(server: FakeOllama, reply: object, *capabilities: str) -> None:
    server.reply("/api/chat", reply)
    server.reply("/api/show", {"model_info": {}, "capabilities": ["completion", *capabilities]})


def ask(**settings: Any) -> str:
    return OllamaLLM("m", **settings).generate(QUESTION, schema=SCHEMA)


@pytest.mark.parametrize(
    ("content", "thinking"),
    [
        ("", "Hm."),
        (" \n", "Hm."),
        (TAGGED, None),
        (f"{TAGGED}</think>\n", None),
        ("Hm</think>", ""),
    ],
)
@pytest.mark.parametrize(
    ("think", "remedy"),
    [
        (True, r"pass `think=False`, or raise `num_predict` \(now 1024\), for example to 4096\."),
        (None, r"pass `think=False`, or raise `num_predict` \(now 1024\), for example to 4096\."),
        ("high", r"pass `think=\"low\"`, or raise `num_predict` \(now 1024\)"),
        ("low", r"choose a model .* without reasoning, or raise `num_predict` \(now 1024\)"),
        (False, r"although `think=False` was sent, so raise `num_predict` \(now 1024\)"),
    ],
)
def test_reasoning_that_took_all_tokens(
    ollama_server: FakeOllama, content: str, thinking: str | None, think: Any, remedy: str
) -> None:
    serve(ollama_server, answer(content, thinking, done_reason="length"))
    with pytest.raises(LLMError, match=f"spent its 9 tokens on reasoning: .*{remedy}"):
        ask(think=think)


@pytest.mark.parametrize(
    ("think", "remedy"),
    [
        (True, "pass `think=False`"),
        (None, "pass `think=False`"),
        ("medium", 'pass `think="low"`'),
        ("low", "choose a model that answers without reasoning"),
        (False, "pass `think=None`, or choose a model that answers without reasoning"),
    ],
)
def test_more_tokens_do_not_help_a_model_that_ended_by_itself(
    ollama_server: FakeOllama, think: Any, remedy: str
) -> None:
    serve(ollama_server, answer("", "Hm."))
    with pytest.raises(LLMError, match=f"on reasoning: {remedy}\\.$"):
        ask(think=think)


def test_context_that_reasoning_has_filled(ollama_server: FakeOllama) -> None:
    serve(ollama_server, answer("", "Hm.", done_reason="length", eval_count=81))
    with pytest.raises(LLMError, match=r"raise `num_ctx` \(now 100\), for example to 4096"):
        ask(think=True, num_ctx=100, num_predict=2_000)


def test_larger_limit_is_named_for_one_that_was_too_small(ollama_server: FakeOllama) -> None:
    serve(ollama_server, answer("", "Hm.", done_reason="length"))
    with pytest.raises(LLMError, match=r"`num_predict` \(now 6000\), for example to 24000"):
        ask(num_predict=6_000)


@pytest.mark.parametrize(
    ("content", "thinking"),
    [
        (DOCUMENT, "Hm."),
        (f"{TAGGED}</think>\n\n{DOCUMENT}", None),
        (f"<thinking>Hm.</thinking>{DOCUMENT}", None),
        (f"Hm.</think>{DOCUMENT}", None),
        (f"<think>\n\n</think>\n{DOCUMENT}\n", None),
    ],
)
def test_reasoning_is_not_part_of_the_answer(
    ollama_server: FakeOllama, content: str, thinking: str | None
) -> None:
    serve(ollama_server, answer(content, thinking), "thinking")
    assert ask(think=True) == DOCUMENT


def test_tag_inside_the_answer_is_left_alone(ollama_server: FakeOllama) -> None:
    text = '{"n": 1, "why": "</think> it is first"}'
    serve(ollama_server, answer(text))
    assert ask() == text


@pytest.mark.parametrize(
    "content", ["I would take the first.", "[1]", '"first"', "n = 1", "{n} or {m}", "{" * 9_000]
)
def test_schema_that_was_ignored(ollama_server: FakeOllama, content: str) -> None:
    serve(ollama_server, answer(content), "thinking")
    with pytest.raises(LLMError, match="pass `think=None` and `num_predict=4096`") as caught:
        ask(think=False)
    assert len(str(caught.value)) < 400


def test_long_prose_is_not_helped_by_more_tokens(ollama_server: FakeOllama) -> None:
    serve(ollama_server, answer("I would " * 99, done_reason="length"), "thinking")
    with pytest.raises(LLMError, match="pass `think=None`"):
        ask(think=False)
    serve(ollama_server, answer('{"n": 1, "why": "I would', done_reason="length"), "thinking")
    with pytest.raises(LLMError, match="cut off after 9 tokens: raise `num_predict`"):
        ask(think=False)


def test_enough_tokens_are_not_asked_for(ollama_server: FakeOllama) -> None:
    serve(ollama_server, answer("The first."), "thinking")
    with pytest.raises(LLMError, match=r"pass `think=None`, or choose another model\.$"):
        ask(think=False, num_predict=8_000)


def test_reasoning_in_the_answer_shows_that_the_model_can(ollama_server: FakeOllama) -> None:
    serve(ollama_server, answer("<think>Hm.</think>The first."))
    with pytest.raises(LLMError, match=r"answered .The first\.. instead of JSON.*`think=None`"):
        ask(think=False)


@pytest.mark.parametrize(
    "content",
    [f"```json\n{DOCUMENT}\n```", f"Sure: {DOCUMENT} Good?", json.dumps(DOCUMENT), DOCUMENT],
)
def test_answer_that_can_be_read_is_left_to_the_caller(
    ollama_server: FakeOllama, content: str
) -> None:
    serve(ollama_server, answer(content), "thinking")
    assert ask(think=False) == content


@pytest.mark.parametrize("think", [None, True, "low"])
def test_prose_after_reasoning_is_left_to_the_caller(
    ollama_server: FakeOllama, think: Any
) -> None:
    serve(ollama_server, answer("The first.", "Hm."), "thinking")
    assert ask(think=think) == "The first."


def test_prose_of_a_model_that_cannot_reason_is_left_to_the_caller(
    ollama_server: FakeOllama,
) -> None:
    serve(ollama_server, answer("The first."))
    assert ask() == "The first."


@pytest.mark.parametrize("think", ["ultra", "", 1.5])
def test_unknown_level(think: Any) -> None:
    with pytest.raises(ValueError, match="`think` must be True, False, None"):
        OllamaLLM("m", think=think)

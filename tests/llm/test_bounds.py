"""Whatever a model or a server returns is bounded when it is received."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import pytest
from fake_ollama import FakeOllama

from optuna_metallmix.errors import MAX_MESSAGE
from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import ForeignLLM
from optuna_metallmix.llm import Message
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import OpenAILLM
from optuna_metallmix.llm import ask
from optuna_metallmix.llm import format_usage
from optuna_metallmix.llm import model_build
from optuna_metallmix.llm import model_name
from optuna_metallmix.llm.protocol import MAX_ANSWER
from optuna_metallmix.llm.protocol import MAX_NAME
from optuna_metallmix.llm.protocol import Usage


QUESTION = [{"role": "user", "content": "Hm?"}]
LONG = "x" * 2_000_000
CHAT = "/v1/chat/completions"


class _Model:
    """A user's own model, of which everything is long."""

    name = "n" * 70_000
    build = "b" * 70_000
    last_usage: Any = None

    def __init__(self, answer: str | Exception) -> None:
        self.answer = answer

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class _UntoldError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class _Nameless(_Model):
    class Name:
        def __str__(self) -> str:
            raise RuntimeError

    name: Any = Name()


@pytest.mark.parametrize("error", [ValueError(LONG), LLMError(LONG), LLMError("a", LONG)])
def test_the_text_of_an_error_is_cut(error: Exception) -> None:
    (failure,) = ask(ForeignLLM(_Model(error)), QUESTION, {}).failures
    assert len(failure) <= MAX_MESSAGE + 20


def test_an_error_without_a_text_is_named() -> None:
    (failure,) = ask(ForeignLLM(_Model(_UntoldError())), QUESTION, {}).failures
    assert "raised _UntoldError: check its `generate`." in failure


def test_an_error_of_a_model_shows_no_password() -> None:
    error = ValueError("cannot reach postgresql://me:s3/cret@db/hpo")
    (failure,) = ask(ForeignLLM(_Model(error)), QUESTION, {}).failures
    assert "postgresql://me:***@db/hpo" in failure


def test_names_versions_and_answers_are_cut() -> None:
    llm = ForeignLLM(_Model(LONG))
    assert len(model_name(llm)) == len(model_build(llm) or "") == MAX_NAME
    assert len(ask(llm, QUESTION, {}).answer) == MAX_ANSWER
    assert model_name(ForeignLLM(_Nameless("{}"))) == "_Nameless"
    for own in (OllamaLLM("m" * 70_000), OpenAILLM("m" * 70_000)):
        assert len(model_name(own)) == MAX_NAME


def test_a_name_is_one_line() -> None:
    llm = _Model("{}")
    llm.name = "a\n[//]: # (b)\r\u2028c"
    assert model_name(llm) == "a [//]: # (b) c"


@pytest.mark.parametrize(
    "count", ["7", [1] * 10**5, {"a": 1}, 1.5, float("nan"), -1, 10**400, "x"]
)
def test_counts_of_tokens_are_numbers_or_none(count: object) -> None:
    llm = _Model("{}")
    llm.last_usage = Usage(count, count, 0.0)  # type: ignore[arg-type]
    attempt = ask(llm, QUESTION, {})
    assert (attempt.prompt_tokens, attempt.answer_tokens) == (None, None)
    assert format_usage([attempt]) == f"{attempt.seconds:.1f} s"


def test_a_server_s_counts_that_are_no_numbers_are_ignored(openai_server: FakeOllama) -> None:
    usage = {"prompt_tokens": "many", "completion_tokens": ["x"] * 1000}
    choice = {"message": {"content": "{}"}, "finish_reason": "stop"}
    openai_server.reply(CHAT, {"choices": [choice], "usage": usage})
    attempt = ask(OpenAILLM("m", f"http://{openai_server.host}"), QUESTION, {})
    assert attempt.answer == "{}"
    assert format_usage([attempt]) == f"{attempt.seconds:.1f} s"


@pytest.mark.parametrize("long", ["error", "refusal", "names"])
def test_a_server_s_texts_are_cut(openai_server: FakeOllama, long: str) -> None:
    if long == "refusal":
        message = {"content": None, "refusal": LONG}
        openai_server.reply(CHAT, {"choices": [{"message": message, "finish_reason": "stop"}]})
    else:
        openai_server.reply(CHAT, {"error": {"message": f"no model m {LONG}"}}, 404)
        openai_server.reply("/v1/models", {"data": [{"id": f"{i}" * 300} for i in range(5_000)]})
    with pytest.raises(LLMError) as caught:
        OpenAILLM("m", f"http://{openai_server.host}").generate(QUESTION, schema={})
    assert len(str(caught.value)) < MAX_MESSAGE
    assert ("4980 more" in str(caught.value)) is (long != "refusal")


def test_a_long_list_of_ollama_s_models_is_counted(ollama_server: FakeOllama) -> None:
    names = [{"model": f"model-{i}", "name": f"model-{i}", "size": 10**9} for i in range(5_000)]
    ollama_server.reply("/api/tags", {"models": names})
    ollama_server.reply("/api/chat", json.dumps({"error": "model 'm' not found"}), 404)
    with pytest.raises(LLMError, match=r"installed: model-0, .*, 4980 more\): run `ollama pull"):
        OllamaLLM("m").generate(QUESTION, schema={})

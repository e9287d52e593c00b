"""Requests to OpenAI-compatible servers, and the answers and refusals of several of them."""

from __future__ import annotations

import importlib.util
import json
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

import pytest

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import OpenAILLM


if TYPE_CHECKING:
    from conftest import FakeOllama

pytest.importorskip("openai")

Play = Callable[[str], dict[str, Any]]

CHAT = "/v1/chat/completions"
MESSAGES = [
    {"role": "system", "content": "You answer in JSON."},
    {"role": "user", "content": "Describe Paris."},
]
SCHEMA = {
    "type": "object",
    "properties": {"z": {"type": "string"}, "a": {"type": "number"}},
    "required": ["z", "a"],
}
DOCUMENT = '{"z": "x", "a": 1}'


def completion(content: object = DOCUMENT, ended: str = "stop", **message: object) -> Any:
    reply = {"role": "assistant", "content": content, **message}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": reply, "finish_reason": ended}],
        "usage": {"prompt_tokens": 14, "completion_tokens": 9, "total_tokens": 23},
    }


@pytest.fixture
def server(openai_server: FakeOllama) -> FakeOllama:
    return openai_server


def ask(server: FakeOllama, model: str = "smollm2:135m", **settings: Any) -> str:
    llm = OpenAILLM(model, f"http://{server.host}/v1", **settings)
    return llm.generate(MESSAGES, schema=SCHEMA)


@pytest.mark.shared
def test_recorded_answer_is_the_text_of_the_message(server: FakeOllama, play: Play) -> None:
    recorded = play("17_openai_schema")["response"]["body"]
    llm = OpenAILLM("smollm2:135m", f"http://{server.host}/v1")
    answer = llm.generate(MESSAGES, schema=SCHEMA)
    assert answer == recorded["choices"][0]["message"]["content"].strip()
    assert json.loads(answer)["city"] == "Paris"
    assert llm.last_usage is not None
    assert llm.last_usage.prompt_tokens == recorded["usage"]["prompt_tokens"]
    assert llm.last_usage.answer_tokens == recorded["usage"]["completion_tokens"]
    assert llm.last_usage.seconds > 0
    assert llm.is_constrained is True


@pytest.mark.shared
def test_recorded_answer_that_was_cut(server: FakeOllama, play: Play) -> None:
    play("17_openai_chat")
    with pytest.raises(LLMError, match=r"was cut off: raise `max_tokens` \(now 6\) or the server"):
        ask(server, max_tokens=6)


@pytest.mark.shared
def test_recorded_missing_model_is_reported_with_the_available_models(
    server: FakeOllama, play: Play
) -> None:
    play("17_openai_models")
    play("17_openai_missing")
    with pytest.raises(
        LLMError, match=r"no model 'nosuch:1b' \(available: smollm2:135m\): choose"
    ):
        ask(server, "nosuch:1b")


def test_request_is_complete(server: FakeOllama) -> None:
    server.reply(CHAT, completion())
    assert ask(server, max_tokens=7, temperature=0.5, seed=3) == DOCUMENT
    sent = server.sent(CHAT)
    asked = {"name": "answer", "schema": SCHEMA, "strict": True}
    assert sent == {
        "model": "smollm2:135m",
        "messages": MESSAGES,
        "max_tokens": 7,
        "temperature": 0.5,
        "seed": 3,
        "response_format": {"type": "json_schema", "json_schema": asked},
    }
    assert list(sent["response_format"]["json_schema"]["schema"]["properties"]) == ["z", "a"]


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        # llama.cpp: a schema that its grammar cannot hold.
        (400, {"error": {"code": 400, "message": "failed to parse grammar"}}),
        # llama.cpp before schemas, vLLM before 0.6, text-generation-inference.
        (
            400,
            {"error": {"message": 'response_format type must be one of "text" or "json_object"'}},
        ),
        (400, {"object": "error", "message": "[{'type': 'literal_error'}]", "code": 400}),
        (422, {"error": "Input validation error", "error_type": "validation"}),
    ],
)
def test_server_that_refuses_schemas_is_sent_the_schema_as_text(
    server: FakeOllama, status: int, refusal: object
) -> None:
    server.reply_in_turn(CHAT, (status, refusal), (200, completion()))
    llm = OpenAILLM("m", f"http://{server.host}/v1")
    assert llm.generate(MESSAGES, schema=SCHEMA) == DOCUMENT
    assert llm.is_constrained is False
    constrained, unconstrained = server.all_sent(CHAT)
    assert "response_format" in constrained
    assert "response_format" not in unconstrained
    assert unconstrained["messages"][0] == MESSAGES[0]
    assert unconstrained["messages"][1]["content"].startswith("Describe Paris.")
    assert unconstrained["messages"][1]["content"].endswith(json.dumps(SCHEMA))


@pytest.mark.parametrize(
    "reason",
    [
        "System role not supported",
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "Error rendering prompt with jinja template: Only user and assistant roles are supported!",
    ],
)
@pytest.mark.parametrize("is_constrained", [True, False])
def test_server_that_refuses_a_system_message(
    server: FakeOllama, reason: str, is_constrained: bool
) -> None:
    refusals = [(400, {"error": {"message": reason}})]
    refusals += [(400, {"error": {"message": "failed to parse grammar"}})] * (not is_constrained)
    server.reply_in_turn(CHAT, *refusals, (200, completion()))
    llm = OpenAILLM("m", f"http://{server.host}/v1")
    assert llm.generate(MESSAGES, schema=SCHEMA) == DOCUMENT
    assert llm.is_constrained is is_constrained
    (message,) = server.all_sent(CHAT)[-1]["messages"]
    assert message["role"] == "user"
    assert message["content"].startswith("You answer in JSON.\n\nDescribe Paris.")


@pytest.mark.parametrize(
    "content",
    [
        f"<think>\nSo {{perhaps}} Paris.\n</think>\n\n{DOCUMENT}",
        f"Well, {{perhaps}}.</think>{DOCUMENT}",
        f"```json\n{DOCUMENT}\n```",
        f"Here you are:\n{DOCUMENT}\nAnything else?",
        f"\n {DOCUMENT} \n",
    ],
)
def test_document_is_taken_out_of_its_wrapping(server: FakeOllama, content: str) -> None:
    server.reply(CHAT, completion(content))
    assert ask(server) == DOCUMENT


def test_answer_without_a_document_is_left_to_the_caller(server: FakeOllama) -> None:
    server.reply(CHAT, completion("I cannot } do { that."))
    assert ask(server) == "I cannot } do { that."


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (completion(None), "gave an empty answer: choose"),
        (completion(" \n"), "gave an empty answer: choose"),
        (completion(None, reasoning_content="Hm."), "returned only reasoning tokens: disable"),
        (completion(None, reasoning="Hm."), "returned only reasoning tokens: disable"),
        (completion("<think>Hm."), "returned only reasoning tokens: disable"),
        (completion("<think>\nHm.\n</think>\n"), "returned only reasoning tokens: disable"),
        (completion("<think>Hm. {", "length"), "was cut off while reasoning: raise"),
        (
            completion(None, "length", reasoning="Hm."),
            r"was cut off while reasoning: raise",
        ),
        (completion("{", "length"), r"was cut off: raise `max_tokens` \(now 1024\)"),
        (completion(None, refusal="I will not."), r"refused \(I will not\.\): choose"),
        (completion("{", "content_filter"), "was stopped by the server's filter"),
    ],
)
def test_answer_that_cannot_be_used(server: FakeOllama, answer: object, sentence: str) -> None:
    server.reply(CHAT, answer)
    with pytest.raises(
        LLMError, match=f"Model 'smollm2:135m' at http://{server.host}/v1 {sentence}"
    ):
        ask(server)


@pytest.mark.parametrize(
    ("status", "refusal", "sentence"),
    [
        # vLLM since 0.10, before, and its check of the key; FastAPI; LM Studio.
        (400, {"error": {"message": "This model's maximum context length is 4096 tokens."}},
         r"does not fit .*4096 tokens.*longer context, or lower `max_tokens`"),
        (500, {"object": "error", "message": "engine\ndied", "code": 500},
         r"rejected the request \(status 500, engine died\): see its log"),
        (401, {"error": "Unauthorized"}, r"rejected the key \(Unauthorized\): set OPENAI_API_KEY"),
        (404, {"detail": "Not Found"}, r"does not have .*/v1 \(status 404, Not Found\)"),
        (400, {"error": {"message": "No models loaded. Please load a model.", "param": "model"}},
         r"rejected the request \(status 400, No models loaded"),
        # llama.cpp: the prompt, the key, the rights.
        (400, {"error": {"code": 400, "message": "request (4390 tokens) exceeds the available "
                         "context size (4096 tokens)", "type": "exceed_context_size_error"}},
         r"does not fit .*4390 tokens"),
        (403, {"error": {"message": "no", "type": "permission_error"}}, r"the key \(no\)"),
        (429, {"error": {"message": "slow down"}}, r"is busy \(slow down\): try again"),
        (302, "", r"rejected the request \(status 302, no reason given\)"),
        (502, "<html>\n<body>Bad Gateway</body>", r"status 502, <html> <body>Bad Gateway</body>"),
    ],
)  # fmt: skip
def test_refusal_is_one_sentence(
    server: FakeOllama, status: int, refusal: object, sentence: str
) -> None:
    server.reply(CHAT, refusal, status)
    with pytest.raises(LLMError, match=sentence) as caught:
        ask(server)
    assert "\n" not in str(caught.value)
    assert '{"' not in str(caught.value)
    assert server.host in str(caught.value)


def test_refusal_that_names_a_model_which_is_there(server: FakeOllama) -> None:
    server.reply("/v1/models", {"object": "list", "data": [{"id": "nomic", "object": "model"}]})
    server.reply(CHAT, {"error": {"message": '"nomic" does not support chat'}}, 400)
    with pytest.raises(LLMError, match=r'rejected .* \(status 400, "nomic" does not support chat'):
        ask(server, "nomic")


def test_server_that_is_starting_or_drops_is_asked_again(server: FakeOllama) -> None:
    loading = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
    server.reply_in_turn(CHAT, (503, loading), None, (200, completion()))
    assert ask(server) == DOCUMENT
    assert len(server.requests) == 3


def test_server_that_goes_on_starting_or_dropping(server: FakeOllama) -> None:
    server.reply(CHAT, {"error": {"message": "Loading model"}}, 503)
    with pytest.raises(LLMError, match=r"is busy \(Loading model\): try again"):
        ask(server)
    assert len(server.requests) == 3
    server.drop(CHAT)
    with pytest.raises(LLMError, match=r"closed the connection \(Server disconnected.*try again"):
        ask(server)
    assert len(server.requests) == 6


def test_silent_server_is_asked_once(server: FakeOllama) -> None:
    server.silent = True
    with pytest.raises(LLMError, match=r"did not answer within 0\.05 seconds: raise `timeout`"):
        ask(server, timeout=0.05)
    assert len(server.requests) <= 1  # on a slow machine the server has not seen it yet


def test_absent_server() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    llm = OpenAILLM("m", f"http://127.0.0.1:{port}")
    with pytest.raises(LLMError, match=f"No server answers at http://127.0.0.1:{port}/v1: start"):
        llm.generate(MESSAGES, schema=SCHEMA)


@pytest.mark.parametrize("body", ["<html>hello</html>", '{"hello": 1}', "[]", "null", '{"choices'])
def test_something_else_than_openai(server: FakeOllama, body: str) -> None:
    server.reply(CHAT, body)
    with pytest.raises(LLMError, match=r"no.* OpenAI-compatible API: pass the address"):
        ask(server)


@pytest.mark.parametrize("settings", [{"timeout": 0}, {"max_tokens": 0}, {"temperature": -1}])
def test_number_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="`timeout` must be above 0"):
        OpenAILLM("m", **settings)


def test_model_without_a_name() -> None:
    with pytest.raises(ValueError, match="`model` must be the name of a model"):
        OpenAILLM(" ")


def test_client_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LLMError, match=r"run `pip install openai`"):
        OpenAILLM("m")


def test_server_that_answers_is_available_whatever_it_lists(server: FakeOllama) -> None:
    llm = OpenAILLM("m", f"http://{server.host}/v1")
    server.reply("/v1/models", {"data": []})
    llm.check_available()
    server.reply("/v1/models", "Not Found", 404)  # it need not list its models
    llm.check_available()
    server.reply("/v1/models", {"error": "no"}, 401)
    with pytest.raises(LLMError, match="rejected the key"):
        llm.check_available()


def test_absent_server_is_not_available() -> None:
    with pytest.raises(LLMError, match=r"No server answers at http://127\.0\.0\.1:1/v1: start it"):
        OpenAILLM("m", "http://127.0.0.1:1/v1").check_available()


@pytest.mark.parametrize("scheme", ["socks5", "nonsense"])
def test_proxy_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:1")
    llm = OpenAILLM("m", "http://gpu.example/v1")
    for ask in (lambda: llm.generate(MESSAGES, schema=SCHEMA), llm.check_available):
        with pytest.raises(LLMError, match=r"http://gpu\.example.*: check the variables HTTP_P"):
            ask()

"""The key is never shown or stored, and questions only go to the named server."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import OpenAILLM


if TYPE_CHECKING:
    from conftest import FakeOllama

pytest.importorskip("openai")

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Describe Paris."}]
SCHEMA = {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}
DOCUMENT = '{"a": 1}'
GOOD = {
    "object": "chat.completion",
    "choices": [{"message": {"content": DOCUMENT}, "finish_reason": "stop"}],
}
KEY = "sk-very-secret-0123456789"


def ask(server: FakeOllama) -> str:
    return OpenAILLM("m", f"http://{server.host}/v1").generate(MESSAGES, schema=SCHEMA)


def test_key_comes_from_the_environment_and_is_shown_nowhere(
    openai_server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    openai_server.reply(CHAT, GOOD)
    ask(openai_server)
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    llm = OpenAILLM("m", f"http://{openai_server.host}/v1")
    llm.generate(MESSAGES, schema=SCHEMA)
    sent = [
        {name.lower(): value for name, value in headers.items()}
        for headers in openai_server.headers
    ]
    assert [headers["authorization"] for headers in sent] == ["Bearer none", f"Bearer {KEY}"]
    assert KEY.encode() not in pickle.dumps(llm)
    assert KEY not in repr(llm) + repr(vars(llm))
    openai_server.reply(CHAT, {"error": {"message": "x" * 280 + f" Incorrect key: {KEY}"}}, 401)
    with pytest.raises(LLMError, match="rejected the key") as caught:
        llm.generate(MESSAGES, schema=SCHEMA)
    assert KEY[:6] not in str(caught.value)


def test_key_that_cannot_be_sent_is_not_quoted(
    openai_server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ein\nSchlüssel")
    with pytest.raises(LLMError, match="OPENAI_API_KEY must be printable") as caught:
        ask(openai_server)
    assert "sk-" not in str(caught.value)


def test_nothing_but_the_named_host_is_asked(
    openai_server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = "http://127.0.0.1:1"
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, elsewhere)
    openai_server.reply(CHAT, GOOD)
    assert ask(openai_server) == DOCUMENT
    assert OpenAILLM("m").base_url == "http://localhost:8000/v1"


def test_redirect_is_not_followed(openai_server: FakeOllama) -> None:
    openai_server.location = f"http://{openai_server.host}/elsewhere"
    openai_server.reply(CHAT, {}, 307)
    with pytest.raises(LLMError, match="status 307"):
        ask(openai_server)
    assert len(openai_server.requests) == 1


def test_pickled_copy_is_the_same_model(openai_server: FakeOllama) -> None:
    openai_server.reply(CHAT, GOOD)
    llm = pickle.loads(pickle.dumps(OpenAILLM("m", f"http://{openai_server.host}")))
    assert (llm.name, repr(llm)) == (
        "openai:m",
        f"OpenAILLM('m', 'http://{openai_server.host}/v1')",
    )
    assert llm.generate(MESSAGES, schema=SCHEMA) == DOCUMENT

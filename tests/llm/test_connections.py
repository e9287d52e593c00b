"""Clients leave no connection open, whether the server answers, refuses, breaks off or is slow.

The server of every test checks this as well, when it is closed.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import ollama
import pytest
from fake_ollama import FakeOllama

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import OpenAILLM
from optuna_metallmix.llm import rank_installed
from optuna_metallmix.llm import resolve_llm


QUESTION = [{"role": "user", "content": "Hm?"}]
CHOICE = {"message": {"content": "{}"}, "finish_reason": "stop"}
BODY = {
    "version": "1.0",
    "done": True,
    "done_reason": "stop",
    "message": {"role": "assistant", "content": "{}"},
    "models": [{"name": "m:latest", "model": "m:latest", "size": 10**9, "digest": "d" * 64}],
    "choices": [CHOICE],
    "data": [{"id": "m", "object": "model"}],
}
"""One body that is a good answer at every path of both protocols."""

PATHS = (
    *("/api/tags", "/api/show", "/api/chat", "/api/ps", "/api/version"),
    *("/v1/models", "/v1/chat/completions"),
)


def use_ollama(server: FakeOllama) -> None:
    rank_installed()
    with OllamaLLM("m") as llm:
        assert llm.build
        llm.generate(QUESTION, schema={})


def use_openai(server: FakeOllama) -> None:
    pytest.importorskip("openai")
    url = f"http://{server.host}/v1"
    assert resolve_llm(f"openai:{url}").llm
    OpenAILLM("m", url).generate(QUESTION, schema={})


def unclosed(use: Callable[[], object]) -> list[str]:
    """Return what the garbage collector says about sockets that nobody closed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        with suppress(LLMError):
            use()
        gc.collect()
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("use", [use_ollama, use_openai])
@pytest.mark.parametrize("reply", [(200, BODY), (500, {"error": "oh"}), (200, "[1]"), None])
def test_no_connection_stays_open(
    openai_server: FakeOllama,
    use: Callable[[FakeOllama], object],
    reply: tuple[int, object] | None,
) -> None:
    for path in PATHS:
        openai_server.reply_in_turn(path, reply)
    assert unclosed(partial(use, openai_server)) == []
    assert openai_server.requests


def test_no_connection_stays_open_after_a_timeout(openai_server: FakeOllama) -> None:
    pytest.importorskip("openai")
    openai_server.silent = True
    url = f"http://{openai_server.host}/v1"
    for llm in (OllamaLLM("m", timeout=0.05), OpenAILLM("m", url, timeout=0.05)):
        assert unclosed(partial(llm.generate, QUESTION, schema={})) == []


def test_client_that_is_left_open_would_be_noticed(ollama_server: FakeOllama) -> None:
    ollama_server.reply("/api/ps", {"models": []})
    (warning,) = unclosed(lambda: ollama.Client(ollama_server.host).ps())
    assert "unclosed <socket" in warning


def test_server_notices_a_connection_that_is_left_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fake_ollama.PATIENCE", 0.01)
    server = FakeOllama()
    server.reply("/api/ps", {"models": []})
    with ollama.Client(server.host) as client:
        client.ps()
        with pytest.raises(AssertionError, match="left a connection open"):
            server.close()

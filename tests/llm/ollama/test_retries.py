"""Requests are retried up to two times after a transient error, and never after another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import OllamaLLM


if TYPE_CHECKING:
    from conftest import FakeOllama


GOOD = {"message": {"role": "assistant", "content": "{}"}, "done": True, "done_reason": "stop"}
BUSY = (503, {"error": "server busy, please try again.  maximum pending requests exceeded"})
DIED = (500, {"error": "model runner has unexpectedly stopped, check ollama server logs"})


def ask(llm: OllamaLLM | None = None) -> str:
    return (llm or OllamaLLM("m")).generate([{"role": "user", "content": "Hm?"}], schema={})


@pytest.mark.parametrize("passing", [BUSY, DIED, None])
@pytest.mark.parametrize("n_failures", [1, 2])
def test_transient_error_is_retried(
    ollama_server: FakeOllama,
    pauses: list[float],
    passing: tuple[int, object] | None,
    n_failures: int,
) -> None:
    ollama_server.reply_in_turn("/api/chat", *[passing] * n_failures, (200, GOOD))
    assert ask() == "{}"
    assert pauses == [1.0, 3.0][:n_failures]


@pytest.mark.parametrize(
    ("passing", "sentence"),
    [
        (BUSY, r"status 503 \(server busy.*, tried 3 times\): the server is busy, try again"),
        (DIED, r"unexpectedly stopped.*, tried 3 times\): see the server's log"),
        (
            None,
            r"closed the connection \(Server disconnected.*, tried 3 times\): see the server's",
        ),
    ],
)
def test_lasting_error_is_reported_after_three_attempts(
    ollama_server: FakeOllama, passing: tuple[int, object] | None, sentence: str
) -> None:
    ollama_server.reply_in_turn("/api/chat", passing)
    with pytest.raises(LLMError, match=sentence):
        ask()
    assert len(ollama_server.all_sent()) == 3


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (500, "invalid JSON schema in format"),
        (500, 'option "seed" must be of type integer'),
        (500, "something else"),
        (400, "unexpected EOF"),
        (404, "404 page not found"),
        (403, "ollama cloud is disabled"),
    ],
)
def test_permanent_error_is_not_retried(
    ollama_server: FakeOllama, pauses: list[float], status: int, reason: str
) -> None:
    ollama_server.reply("/api/chat", {"error": reason}, status)
    with pytest.raises(LLMError) as caught:
        ask()
    assert "tried" not in str(caught.value)
    assert len(ollama_server.all_sent()) == 1
    assert pauses == []


def test_no_pause_outlasts_the_time_allowed(
    ollama_server: FakeOllama, pauses: list[float]
) -> None:
    ollama_server.reply_in_turn("/api/chat", BUSY)
    with pytest.raises(LLMError, match="the server is busy"):
        ask(OllamaLLM("m", timeout=0.9))
    assert pauses == []


def test_server_that_was_never_there_is_not_retried(pauses: list[float]) -> None:
    with pytest.raises(
        LLMError, match=r"No Ollama server answers at http://127\.0\.0\.1:1: start"
    ):
        ask(OllamaLLM("m", host="127.0.0.1:1"))
    assert pauses == []


def test_server_that_went_away_is_retried(ollama_server: FakeOllama, pauses: list[float]) -> None:
    ollama_server.reply("/api/chat", GOOD)
    llm = OllamaLLM("m")
    assert ask(llm)
    ollama_server.close()
    with pytest.raises(LLMError, match=r"No Ollama server answers at .*, tried 3 times: start"):
        ask(llm)
    assert pauses == [1.0, 3.0]
    llm.close()


def test_a_bug_is_no_failure_of_the_server(ollama_server: FakeOllama) -> None:
    with pytest.raises(TypeError):
        OllamaLLM("m").generate([{"role": "user", "content": 7}], schema={})

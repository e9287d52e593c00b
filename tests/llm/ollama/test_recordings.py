"""Every recorded exchange with a real server gives an answer, or an error that helps."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

import pytest

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import installed_models


if TYPE_CHECKING:
    from conftest import FakeOllama


pytestmark = pytest.mark.shared

Play = Callable[[str], dict[str, Any]]
Read = Callable[[str], dict[str, Any]]
MESSAGES = [{"role": "user", "content": "Describe Paris as JSON."}]
SCHEMA: dict[str, Any] = {"type": "object"}
HELP = re.compile(r": [a-z]+ .*(`|server|Ollama|model|prompt|schema|tokens)")


def llm_as_recorded(body: object) -> OllamaLLM:
    """Make the model with what was asked for, as far as this client can ask for it."""
    body = body if isinstance(body, dict) else {}
    options = body.get("options") or {}
    num_ctx = options.get("num_ctx")
    return OllamaLLM(
        body.get("model") or "m",
        num_ctx=num_ctx if isinstance(num_ctx, int) and num_ctx > 0 else None,
        num_predict=max(1, options.get("num_predict") or 1),
    )


def check_help(error: pytest.ExceptionInfo[LLMError], server: FakeOllama) -> str:
    sentence = str(error.value)
    assert "\n" not in sentence
    assert '{"' not in sentence
    assert server.host in sentence
    assert HELP.search(sentence), sentence
    return sentence


def test_recorded_chat_is_an_answer_or_a_sentence(
    ollama_server: FakeOllama, play: Play, release: str, chat_case: str
) -> None:
    for case in ("02_list", "03_show", "04_ps_before"):
        play(case)
    exchange = play(chat_case)
    response = exchange.get("response") or {"status": 0}
    # A streamed answer, which this client does not ask for, has no such body.
    answer = response.get("body") if response["status"] == 200 else None
    answer = answer or {}
    content = answer.get("message", {}).get("content")
    llm = llm_as_recorded(exchange["request"]["body"])
    if answer.get("done_reason") == "stop" and content:
        assert llm.generate(MESSAGES, schema=SCHEMA) == content
        return
    with pytest.raises(LLMError) as caught:
        llm.generate(MESSAGES, schema=SCHEMA)
    check_help(caught, ollama_server)


@pytest.mark.parametrize(
    "case", ["13_bad_host_header", "13_bad_origin", "13_unknown_path", "13_wrong_method"]
)
def test_refusal_of_any_request(play: Play, ollama_server: FakeOllama, case: str) -> None:
    response = play(case)["response"]
    for path in ("/api/tags", "/api/chat"):
        ollama_server.reply(path, response.get("body_raw") or "", response["status"])
    for ask in (installed_models, lambda: OllamaLLM("m").generate(MESSAGES, schema=SCHEMA)):
        with pytest.raises(LLMError) as caught:
            ask()
        check_help(caught, ollama_server)


def test_missing_model_of_show_is_reported_by_the_question(play: Play) -> None:
    for case in ("02_list", "03_show_missing", "10_missing_model_chat"):
        play(case)
    with pytest.raises(LLMError, match=r"'nosuch:1b' \(installed: smollm2:135m\): run `ollama pu"):
        OllamaLLM("nosuch:1b").generate(MESSAGES, schema=SCHEMA)


def test_killed_runner_is_asked_again(ollama_server: FakeOllama, recorded: Read) -> None:
    killed = recorded("22_runner_killed_nonstream")
    after = recorded("22_after_runner_kill")["body"]
    good = {**after, "done_reason": "stop"}  # it was recorded with few tokens
    ollama_server.reply_in_turn("/api/chat", (500, killed["lines"][0]), (200, good))
    llm = OllamaLLM("smollm2:135m")
    assert llm.generate(MESSAGES, schema=SCHEMA) == after["message"]["content"]
    assert llm.last_usage is not None
    assert llm.last_usage.load_seconds == pytest.approx(6.592166097)


@pytest.mark.parametrize("case", ["22_runner_killed_nonstream", "22_runner_killed_stream"])
def test_runner_that_is_killed_each_time(
    ollama_server: FakeOllama, recorded: Read, case: str, pauses: list[float]
) -> None:
    killed = recorded(case)
    ollama_server.reply("/api/chat", killed["lines"][0], killed["status"])
    with pytest.raises(LLMError, match=r"unexpected EOF, tried 3 times\): see the") as caught:
        OllamaLLM("smollm2:135m").generate(MESSAGES, schema=SCHEMA)
    check_help(caught, ollama_server)
    assert pauses == [1.0, 3.0]


def test_busy_queue_as_recorded(
    ollama_server: FakeOllama, recorded: Read, pauses: list[float]
) -> None:
    replies = [(reply["status"], reply["body"]) for reply in recorded("21_busy_503")["responses"]]
    (busy, *_), (good, *_) = ([r for r in replies if r[0] == s] for s in (503, 200))
    answer = {**dict(good[1]), "done_reason": "stop"}
    ollama_server.reply_in_turn("/api/chat", busy, busy, (200, answer))
    assert OllamaLLM("smollm2:135m").generate(MESSAGES, schema=SCHEMA)
    assert pauses == [1.0, 3.0]


@pytest.mark.parametrize(
    "case", ["23_server_killed_mid_nonstream", "23_server_sigterm_mid_nonstream"]
)
def test_killed_server_is_reported_as_recorded(
    ollama_server: FakeOllama, recorded: Read, case: str
) -> None:
    ollama_server.drop("/api/chat")
    text = recorded(case)["exc"][0]["str"]
    with pytest.raises(
        LLMError, match=f"closed the connection \\({text}, tried 3 times"
    ) as caught:
        OllamaLLM("smollm2:135m").generate(MESSAGES, schema=SCHEMA)
    check_help(caught, ollama_server)


@pytest.mark.parametrize("case", ["22_runner_killed_mid_stream", "19_repetition_stream"])
def test_broken_stream(ollama_server: FakeOllama, recorded: Read, case: str) -> None:
    lines = [
        line if isinstance(line, str) else json.dumps(line) for line in recorded(case)["lines"]
    ]
    ollama_server.reply("/api/chat", "\n".join(lines))
    with pytest.raises(LLMError, match="is not Ollama") as caught:
        OllamaLLM("smollm2:135m").generate(MESSAGES, schema=SCHEMA)
    assert ollama_server.host in str(caught.value)


def test_question_after_one_that_was_given_up(ollama_server: FakeOllama, recorded: Read) -> None:
    assert recorded("18_client_abort_cancels")["status"] == 200
    assert recorded("18_client_read_timeout")["client_exception"]["class"].endswith("ReadTimeout")
    llm = OllamaLLM("smollm2:135m", timeout=0.05, num_ctx=2048)
    ollama_server.silent = True
    with pytest.raises(LLMError, match=r"did not answer within 0\.05 s"):
        llm.generate(MESSAGES, schema=SCHEMA)
    ollama_server.silent = False
    (answer,) = recorded("06_chat_schema")["exchanges"]
    ollama_server.reply("/api/chat", answer["response"]["body_raw"])
    llm.timeout = 30.0
    assert llm.generate(MESSAGES, schema=SCHEMA)

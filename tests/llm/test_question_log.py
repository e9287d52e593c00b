"""Every question is announced in Optuna's log, because its answer may take minutes."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import optuna
import pytest

from optuna_metallmix.llm import INSTALL_COMMAND
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import EmbeddedLLM
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import OpenAILLM
from optuna_metallmix.llm import is_embedded_installed


if TYPE_CHECKING:
    from conftest import FakeOllama


QUESTION = [{"role": "user", "content": "Hm?"}]
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "boolean"}},
    "required": ["a"],
    "additionalProperties": False,
}


class Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname}: {record.getMessage()}")


def log_of(llm: LLM, n_questions: int) -> list[str]:
    log, logger = Log(), logging.getLogger("optuna.metallmix")
    optuna.logging.set_verbosity(optuna.logging.INFO)
    logger.addHandler(log)
    try:
        for _ in range(n_questions):
            llm.generate(QUESTION, schema=SCHEMA)
    finally:
        logger.removeHandler(log)
    return log.lines


def test_ollama_announces_loading_at_the_first_question(ollama_server: FakeOllama) -> None:
    answer = {"message": {"role": "assistant", "content": "{}"}, "done": True}
    ollama_server.reply("/api/chat", {**answer, "load_duration": 25 * 10**8})
    ollama_server.reply("/api/ps", {"models": []})
    llm = OllamaLLM("m:1b")
    first = "INFO: Asking ollama:m:1b (loading into memory, up to 120 s)."
    assert log_of(llm, 2) == [first, "INFO: Asking ollama:m:1b (up to 120 s)."]
    assert llm.last_usage is not None
    assert llm.last_usage.load_seconds == 2.5
    llm.close()
    assert log_of(llm, 1) == [first]


def test_openai_announces_the_time_limit(openai_server: FakeOllama) -> None:
    pytest.importorskip("openai")
    choice = {"message": {"content": "{}"}, "finish_reason": "stop"}
    openai_server.reply("/v1/chat/completions", {"choices": [choice]})
    llm = OpenAILLM("m", f"http://{openai_server.host}/v1", timeout=30)
    assert log_of(llm, 1) == ["INFO: Asking openai:m (up to 30 s)."]


@pytest.mark.model
@pytest.mark.skipif(not is_embedded_installed(), reason=f"run {INSTALL_COMMAND}")
def test_embedded_model_announces_loading_at_the_first_question() -> None:
    llm = EmbeddedLLM(n_ctx=512, max_tokens=32)
    lines = log_of(llm, 2)
    llm.close()
    assert lines == [
        f"INFO: Asking {llm.name} (loading into memory).",
        f"INFO: Asking {llm.name}.",
    ]

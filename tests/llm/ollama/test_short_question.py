"""A model whose server reports few parameters is asked the short question, in one message."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from optuna_metallmix import suggest
from optuna_metallmix.llm import OllamaLLM


if TYPE_CHECKING:
    from conftest import FakeOllama
    from conftest import Learned


@pytest.mark.parametrize(
    ("size", "variant"),
    [("270M", "short"), ("1.2B", "short"), ("1.5B", "cot+shap"), ("", "cot+shap")],
)
def test_the_size_decides_on_the_question(
    ollama_server: FakeOllama, learned: Learned, size: str, variant: str
) -> None:
    ollama_server.reply("/api/show", {"details": {"parameter_size": size}, "model_info": {}})
    content = '{"evidence": "E99", "candidate": "1"}'
    message = {"role": "assistant", "content": content}
    ollama_server.reply("/api/chat", {"message": message, "done": True, "done_reason": "stop"})
    suggestion = suggest(learned.history, learned.space, {}, OllamaLLM("m"), n_attempts=1)
    assert suggestion.prompt_version.endswith(f" {variant}")
    sent = ollama_server.sent()
    is_short = list(sent["format"]["properties"]) == ["candidate", "evidence"]
    assert is_short == (variant == "short")
    assert (len(json.dumps(sent)) < 2_000) == is_short
    assert suggestion.attempts[0].failures

from __future__ import annotations

from typing import Any

import pytest

from optuna_metallmix.llm.ollama.context import context_size
from optuna_metallmix.llm.ollama.context import estimated_tokens


@pytest.mark.parametrize(
    ("n_tokens", "limit", "size"),
    [
        (1, None, 4096),
        (4096, None, 4096),
        (4097, None, 8192),
        (8193, None, 16384),
        (8193, 8192, 8192),
        (1, 2048, 2048),
        (20_000, 40_960, 32_768),
        (33_000, 40_960, 40_960),
    ],
)
def test_context_is_a_power_of_two_that_the_model_can_hold(
    n_tokens: int, limit: int | None, size: int
) -> None:
    assert context_size(n_tokens, limit) == size


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("abc", 1), ("abcd", 2), ("0.5", 3), ("12", 2), ("日本", 2)]
)
def test_digits_and_other_scripts_are_counted_singly(text: str, tokens: int) -> None:
    empty = estimated_tokens([{"role": "user", "content": ""}])
    assert estimated_tokens([{"role": "user", "content": text}]) == empty + tokens


@pytest.mark.shared
def test_no_recorded_prompt_was_longer_than_estimated(
    recorded_chats: list[dict[str, Any]],
) -> None:
    n_read = 0
    for exchange in recorded_chats:
        answer = (exchange.get("response") or {}).get("body") or {}
        if "prompt_eval_count" in answer:
            asked = exchange["request"]["body"]["messages"]
            messages = [{**message, "content": message["content"] or ""} for message in asked]
            assert estimated_tokens(messages) >= answer["prompt_eval_count"]
            n_read += 1
    assert n_read > 40

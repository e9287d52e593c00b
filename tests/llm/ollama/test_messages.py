"""What is sent has no system message, which some chat templates drop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from optuna_metallmix.llm import OllamaLLM


if TYPE_CHECKING:
    from conftest import FakeOllama


GOOD = {"message": {"role": "assistant", "content": "{}"}, "done": True, "done_reason": "stop"}
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Which one?"}
ANSWER = {"role": "assistant", "content": '{"n": 9}'}
AGAIN = {"role": "user", "content": "There is no 9."}
BOTH = {"role": "user", "content": "Be brief.\n\nWhich one?"}


@pytest.mark.parametrize(
    ("messages", "sent"),
    [
        ([USER], [USER]),
        ([SYSTEM, USER], [BOTH]),
        ([SYSTEM, USER, ANSWER, AGAIN], [BOTH, ANSWER, AGAIN]),
        ([SYSTEM], [{"role": "user", "content": "Be brief."}]),
        ([SYSTEM, ANSWER, AGAIN], [{"role": "user", "content": "Be brief."}, ANSWER, AGAIN]),
        ([USER, SYSTEM], [BOTH]),
        (
            [SYSTEM, {"role": "system", "content": "In JSON."}, USER],
            [{"role": "user", "content": "Be brief.\n\nIn JSON.\n\nWhich one?"}],
        ),
    ],
)
@pytest.mark.parametrize(
    "template", ["{{ .Prompt }}", "{{ range .Messages }}{{ .Role }}: {{ .Content }}{{ end }}"]
)
def test_system_message_is_part_of_the_first_user_message(
    ollama_server: FakeOllama,
    messages: list[dict[str, str]],
    sent: list[dict[str, str]],
    template: str,
) -> None:
    ollama_server.reply("/api/chat", GOOD)
    ollama_server.reply("/api/show", {"model_info": {}, "template": template})
    before = [dict(message) for message in messages]
    OllamaLLM("m").generate(messages, schema={})
    assert ollama_server.sent()["messages"] == sent
    assert messages == before

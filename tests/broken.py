"""Third-party models with scripted replies."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import optuna
from end_to_end import SPACE
from end_to_end import choose

from optuna_metallmix.llm import Message
from optuna_metallmix.space.search_space import contains


Schema = Mapping[str, Any]
Reply = Callable[[Sequence[Message], Schema], Any]

NESTED = "[" * 100_000


class Foreign:
    """A third-party model with a scripted reply to questions and good scores for reviews."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.asked: list[Sequence[Message]] = []

    def generate(self, messages: Sequence[Message], *, schema: Schema) -> Any:
        if "candidate" not in schema["properties"]:
            return choose()(messages, schema)
        self.asked.append(messages)
        return self._reply(messages, schema)


def text(answer: Any) -> Reply:
    return lambda *_: answer


def good(change: Callable[[str], str], **other: Any) -> Reply:
    """Return a correct answer with its text changed."""
    return lambda messages, schema: change(json.dumps(right(messages, schema) | other))


def right(messages: Sequence[Message], schema: Schema) -> dict[str, Any]:
    return dict(json.loads(choose()(messages, schema)))


def raises(error: BaseException) -> Reply:
    def reply(*_: Any) -> str:
        raise error

    return reply


def check_inside(study: optuna.Study) -> None:
    for trial in study.trials:
        assert all(contains(SPACE[name], value) for name, value in trial.params.items())

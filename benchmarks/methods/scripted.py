"""Answer prompts by code: the base class of the scripted models.

After a refusal they cite other evidence; as reviewers they rate everything excellent.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from optuna_metallmix import LLM
from optuna_metallmix.llm import Message


N_ATTEMPTS = 4
"""More than the default, so that a scripted model gets its choice accepted if possible."""


class ScriptedChooser(LLM):
    """Answers in the requested schema; subclasses choose the candidate and rank the evidence."""

    def __init__(self) -> None:
        self._refused: set[str] = set()

    @abstractmethod
    def choose(self, candidates: Sequence[int], prompt: str) -> int:
        """Return the number of the candidate to take."""

    def rank(self, evidence: Sequence[str], candidate: int, prompt: str) -> Sequence[str]:
        """Return the evidence that may be cited, best first; by default in the given order."""
        return evidence

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Answer a question or review a proposal."""
        properties = schema["properties"]
        if "candidate" not in properties:
            return json.dumps({name: _praise(schema) for name, schema in properties.items()})
        prompt = next(message["content"] for message in messages if message["role"] == "user")
        candidate = self.choose(properties["candidate"]["enum"], prompt)
        answer: dict[str, Any] = {"why": "It suits best."}
        if "reasoning" in properties:
            answer["reasoning"] = "It suits this task."
        if "evidence" in properties:
            known = self.rank(properties["evidence"]["items"]["enum"], candidate, prompt)
            answer["evidence"] = [self._cite(known, messages)]
        return json.dumps({**answer, "candidate": candidate})

    def _cite(self, known: Sequence[str], messages: Sequence[Message]) -> str:
        """Cite the first evidence that was not refused yet."""
        if not any(message["role"] == "assistant" for message in messages):
            self._refused = set()
        self._refused |= set(re.findall(r'^- "(E\d+) ', messages[-1]["content"], re.MULTILINE))
        return next((id_ for id_ in known if id_ not in self._refused), known[0])


def _praise(schema: Mapping[str, Any]) -> int | str:
    return 5 if schema["type"] == "integer" else "excellent"

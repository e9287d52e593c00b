"""a choice and a citation -> an answer in the shape asked for: what scripted models share.

They learn from a refusal which evidence speaks against their choice, and as reviewers find
everything excellent.
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
"""More than the default: a scripted model is to have its way where it can."""


class ScriptedChooser(LLM):
    """Answers by code; what it chooses and cites is left to others."""

    def __init__(self) -> None:
        self._refused: set[str] = set()

    @abstractmethod
    def choose(self, candidates: Sequence[int], prompt: str) -> int:
        """Return the number of the candidate to take."""

    def rank(self, evidence: Sequence[str], candidate: int, prompt: str) -> Sequence[str]:
        """Return what might be cited, best first; as it stands unless a model reads it."""
        return evidence

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Answer a question or review a proposal."""
        properties = schema["properties"]
        if "candidate" not in properties:
            return json.dumps({name: _praise(one) for name, one in properties.items()})
        prompt = next(one["content"] for one in messages if one["role"] == "user")
        candidate = self.choose(properties["candidate"]["enum"], prompt)
        answer: dict[str, Any] = {"why": "It suits best."}
        if "reasoning" in properties:
            answer["reasoning"] = "It suits this task."
        if "evidence" in properties:
            known = self.rank(properties["evidence"]["items"]["enum"], candidate, prompt)
            answer["evidence"] = [self._cite(known, messages)]
        return json.dumps({**answer, "candidate": candidate})

    def _cite(self, known: Sequence[str], messages: Sequence[Message]) -> str:
        """Cite what is most likely true: the first that was not refused yet."""
        if not any(one["role"] == "assistant" for one in messages):
            self._refused = set()
        self._refused |= set(re.findall(r'^- "(E\d+) ', messages[-1]["content"], re.MULTILINE))
        return next((one for one in known if one not in self._refused), known[0])


def _praise(described: Mapping[str, Any]) -> int | str:
    return 5 if described["type"] == "integer" else "excellent"

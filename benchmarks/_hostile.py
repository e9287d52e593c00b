"""a prompt -> a valid answer that means harm: what is the worst a language model can do?

It answers in range and in the shape asked for, cites evidence that exists, learns from a refusal
which evidence speaks against its choice, and as a reviewer finds everything excellent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from optuna_metallmix import LLM
from optuna_metallmix.llm import Message


N_ATTEMPTS = 4
"""More than the default: it is to have its way where it can."""


class HostileLLM(LLM):
    """Chooses a random candidate, or always the last.

    Args:
        worst: Whether it always takes the last candidate, which is predicted worst.
        seed: Seeds its choices.
    """

    def __init__(self, *, worst: bool, seed: int) -> None:
        self.name = f"hostile-{'worst' if worst else 'random'}"
        self._worst = worst
        self._rng = np.random.default_rng(seed)
        self._candidate: int | None = None
        self._refused: set[str] = set()

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Answer a question or review a proposal."""
        properties = schema["properties"]
        if "candidate" not in properties:
            return json.dumps({name: _praise(one) for name, one in properties.items()})
        answer: dict[str, Any] = {"reasoning": "It suits this task.", "why": "It suits best."}
        if "evidence" in properties:
            answer["evidence"] = [self._cite(properties["evidence"]["items"]["enum"], messages)]
        return json.dumps({**answer, "candidate": self._choose(properties["candidate"]["enum"])})

    def _choose(self, candidates: Sequence[int]) -> int:
        if self._candidate is None:
            drawn = int(self._rng.integers(len(candidates)))
            self._candidate = max(candidates) if self._worst else candidates[drawn]
        return self._candidate

    def _cite(self, known: Sequence[str], messages: Sequence[Message]) -> str:
        """Cite what is most likely true: the first that was not refused yet."""
        if not any(one["role"] == "assistant" for one in messages):
            self._refused = set()
        self._refused |= set(re.findall(r"^- (E\d+) ", messages[-1]["content"], re.MULTILINE))
        return next((one for one in known if one not in self._refused), known[0])


def _praise(described: Mapping[str, Any]) -> int | str:
    return 5 if described["type"] == "integer" else "excellent"

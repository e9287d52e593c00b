"""Play back scripted answers: a language model for tests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import TypeAlias

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm.protocol import Message


ScriptedAnswer: TypeAlias = str | Exception | Callable[[Sequence[Message], Mapping[str, Any]], str]
"""A string to answer, an exception to raise, or ``answer(messages, schema) -> str``."""


@dataclass(frozen=True)
class ScriptedCall:
    """One call of :meth:`.ScriptedLLM.generate`.

    Attributes:
        messages: The conversation, oldest first.
        schema: The JSON schema of the answer.
    """

    messages: tuple[Message, ...]
    schema: Mapping[str, Any]


class ScriptedLLM:
    """Returns scripted answers in order, and records every call.

    It replaces a real model in tests, and needs no server and no network::

        llm = ScriptedLLM(['{"candidate": 1}', LLMError("out of order")])
        sampler = MetaLLMiXSampler(llm=llm)
        ...
        assert "learning_rate" in llm.calls[0].messages[-1]["content"]

    Attributes:
        name: ``"scripted"``.
        n_parameters: ``None``; set it to try the question that a model of that size is asked.
        calls: All calls so far, oldest first, including failed ones.
    """

    name = "scripted"
    n_parameters: int | None = None

    def __init__(self, answers: Iterable[ScriptedAnswer]) -> None:
        """Store the script.

        Args:
            answers: An answer for each call. A bare string is rejected, because its letters would
                be the answers.

        Raises:
            TypeError: ``answers`` is a string.
        """
        if isinstance(answers, str):
            raise TypeError("`answers` must be a sequence of answers: write ScriptedLLM([text]).")
        self.calls: list[ScriptedCall] = []
        self._left = deque(answers)
        self._n_answers = len(self._left)

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Return the next answer.

        Raises:
            LLMError: The script has ended, or contains this error.
            Exception: Any other exception in the script.
        """
        self.calls.append(ScriptedCall(tuple(messages), schema))
        try:
            answer = self._left.popleft()  # a single step, so threads never get the same answer
        except IndexError:
            raise LLMError(
                f"ScriptedLLM was called {len(self.calls)} times but has only "
                f"{self._n_answers} answers: add an answer for each call."
            ) from None
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, str) else answer(messages, schema)

"""messages + JSON schema -> text: the one method a language model needs."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Protocol
from typing import TypeAlias
from typing import runtime_checkable


Message: TypeAlias = Mapping[str, str]
"""One turn of a conversation: ``{"role": "system" | "user" | "assistant", "content": "..."}``."""


@runtime_checkable
class LLM(Protocol):
    """Anything that answers messages with text.

    A ``name`` attribute, where there is one, is what trials and notes call the model; a text
    ``build``, where there is one, is recorded on the trial: which build of it answered.
    """

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Answer ``messages`` with one JSON document that ``schema`` describes.

        Args:
            messages: The conversation so far, oldest first.
            schema: A JSON schema of type ``object``. Backends that can constrain decoding do so;
                the caller checks the answer again either way.

        Returns:
            The answer's text.

        Raises:
            LLMError: The model is absent, failed, ran out of time, or was cut short.
        """
        ...


@dataclass(frozen=True)
class Usage:
    """What one answer cost, as the backend counts it.

    Attributes:
        prompt_tokens: Tokens read, at least 0; None where the backend does not say.
        answer_tokens: Tokens written, at least 0; None where the backend does not say.
        seconds: Wall-clock seconds from the call to its answer, loading the model included.
        load_seconds: Of these, the seconds of loading the model, at least 0; None where the
            backend does not say.
    """

    prompt_tokens: int | None
    answer_tokens: int | None
    seconds: float
    load_seconds: float | None = None

"""messages + JSON schema -> text: the one method a language model needs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Protocol
from typing import TypeAlias
from typing import runtime_checkable

from optuna_metallmix.errors import LLMError


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


MAX_ANSWER = 20_000
"""Most characters of an answer that are read and kept; one that was asked for has under 2,000,
and a trial is no place for the megabytes that a broken model can write."""


@dataclass(frozen=True)
class Attempt:
    """One answer of a language model.

    Attributes:
        answer: Its text, up to ``MAX_ANSWER`` characters; empty where there was none.
        failures: Why it was not used; empty where it was.
        seconds: Wall seconds from the question to its answer, without the judge's.
        prompt_tokens, answer_tokens: What it read and wrote; ``None`` where it does not say.
    """

    answer: str
    failures: tuple[str, ...] = ()
    seconds: float = 0.0
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


def ask(llm: LLM, messages: Sequence[Message], schema: Mapping[str, Any]) -> Attempt:
    """Ask once; where no answer could be had, the attempt's failure says why."""
    start = time.perf_counter()
    try:
        answer = llm.generate(messages, schema=schema)
    except LLMError as error:
        return Attempt("", (str(error),), time.perf_counter() - start)
    seconds, usage = time.perf_counter() - start, getattr(llm, "last_usage", None)
    answer = _storable(answer)
    if not isinstance(usage, Usage):
        return Attempt(answer, (), seconds)
    return Attempt(answer, (), seconds, usage.prompt_tokens, usage.answer_tokens)


def model_name(llm: LLM) -> str:
    """Return what trials and notes call a language model."""
    return str(getattr(llm, "name", type(llm).__name__))


def model_build(llm: LLM) -> str | None:
    """Return which build of a language model answers, where it tells."""
    build = getattr(llm, "build", None)
    return build if isinstance(build, str) else None


def cost_of(attempts: Iterable[Attempt]) -> str:
    """Say what attempts took, in words: seconds, and tokens where the models tell."""
    listed = list(attempts)
    told = [f"{sum(one.seconds for one in listed):.1f} s"]
    read = [one.prompt_tokens for one in listed if one.prompt_tokens is not None]
    written = [one.answer_tokens for one in listed if one.answer_tokens is not None]
    told += [f"{sum(read)} tokens read"] if read else []
    told += [f"{sum(written)} tokens written"] if written else []
    return ", ".join(told)


def _storable(answer: str) -> str:
    """Cut an answer, and replace halves of characters, which no server can be sent again."""
    return answer[:MAX_ANSWER].encode("utf-8", "replace").decode("utf-8")

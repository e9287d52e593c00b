"""Define the ``LLM`` protocol, and send a single request to a model.

Any object with a ``generate`` method is a language model (:class:`LLM`). :func:`ask` records the
answer, or the reason why there is none, as an :class:`Attempt`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any
from typing import Protocol
from typing import TypeAlias
from typing import runtime_checkable

from optuna_metallmix.errors import LLMError
from optuna_metallmix.text import cut_middle
from optuna_metallmix.text import one_line


Message: TypeAlias = Mapping[str, str]
"""One turn of a conversation: ``{"role": "system" | "user" | "assistant", "content": "..."}``."""

MAX_ANSWER = 20_000
"""Longest answer that is kept, in characters. Valid answers have under 2,000; a broken model can
write megabytes, which must not end up in the storage."""

MAX_NAME = 200
"""Longest name of a model, and longest version, that is shown and stored, in characters."""

_MAX_TOKENS = 10**12

SMALL_MODEL = 1_500_000_000
"""Models with fewer parameters are asked a short question. Given the long one, models of 135M and
270M parameters take the first candidate whatever it is, after up to two minutes (2026-11)."""


@runtime_checkable
class LLM(Protocol):
    """Anything that answers messages with text.

    The attributes ``name`` (text), ``build`` (text: the version that answers) and ``last_usage``
    (:class:`Usage`) are optional, and recorded on the trial. So is ``n_parameters`` (a number):
    a model with fewer than 1.5 billion parameters is asked a short question, of at most about
    400 tokens, which it answers with a choice and the evidence for it.
    """

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Answer ``messages`` with one JSON document that ``schema`` describes.

        Args:
            messages: The conversation so far, oldest first.
            schema: A JSON schema of type ``object``. Backends that can constrain decoding do so;
                the caller validates the answer in any case.

        Returns:
            The answer's text.

        Raises:
            LLMError: The model is absent, failed, ran out of time, or was cut short.
        """
        ...


@dataclass(frozen=True)
class Usage:
    """The cost of one answer, as the backend counts it.

    Attributes:
        prompt_tokens: Tokens of the prompt, at least 0; None if the backend does not report them.
        answer_tokens: Tokens generated, at least 0; None if the backend does not report them.
        seconds: Wall-clock seconds from the call to its answer, including loading the model.
        load_seconds: Seconds spent loading the model, at least 0; None if the backend does not
            report them.
    """

    prompt_tokens: int | None
    answer_tokens: int | None
    seconds: float
    load_seconds: float | None = None


@dataclass(frozen=True)
class Attempt:
    """One question to a language model and its outcome.

    Attributes:
        answer: The answer's text, at most ``MAX_ANSWER`` characters; empty if there was none.
        failures: Why the answer was not used; empty if it was.
        seconds: Wall-clock seconds from the question to its answer, without validation.
        prompt_tokens, answer_tokens: As in :class:`Usage`.
    """

    answer: str
    failures: tuple[str, ...] = ()
    seconds: float = 0.0
    prompt_tokens: int | None = None
    answer_tokens: int | None = None


def ask(llm: LLM, messages: Sequence[Message], schema: Mapping[str, Any]) -> Attempt:
    """Ask once; if the model fails, the attempt's ``failures`` say why."""
    start = time.perf_counter()
    try:
        answer = llm.generate(messages, schema=schema)
    except LLMError as error:
        return Attempt("", (str(error),), time.perf_counter() - start)
    seconds, usage = time.perf_counter() - start, getattr(llm, "last_usage", None)
    # Lone surrogates cannot be stored, nor sent back to a server.
    answer = answer[:MAX_ANSWER].encode("utf-8", "replace").decode("utf-8")
    if not isinstance(usage, Usage):
        return Attempt(answer, (), seconds)
    return Attempt(answer, (), seconds, _count(usage.prompt_tokens), _count(usage.answer_tokens))


def _count(value: object) -> int | None:
    """Return a number of tokens; None for anything else that a server sends as one."""
    return value if isinstance(value, int) and 0 <= value < _MAX_TOKENS else None


def model_name(llm: LLM) -> str:
    """Return the name of a language model as trials and notes show it."""
    return cut_middle(one_line(str(getattr(llm, "name", type(llm).__name__))), MAX_NAME)


def is_small(llm: LLM) -> bool:
    """Return whether a model is known to have fewer than ``SMALL_MODEL`` parameters."""
    try:
        n_parameters = getattr(llm, "n_parameters", None)
    except LLMError:  # a server that does not answer; the question will fail for that reason
        return False
    return isinstance(n_parameters, Real) and n_parameters < SMALL_MODEL and not n_parameters <= 0


def model_build(llm: LLM) -> str | None:
    """Return the version of a language model that answers, or None if it reports none."""
    build = getattr(llm, "build", None)
    return cut_middle(one_line(build), MAX_NAME) if isinstance(build, str) else None


def format_usage(attempts: Iterable[Attempt]) -> str:
    """Write the total cost of attempts: seconds, and tokens if the models report them."""
    attempts = list(attempts)
    prompt = [a.prompt_tokens for a in attempts if a.prompt_tokens is not None]
    completion = [a.answer_tokens for a in attempts if a.answer_tokens is not None]
    parts = [f"{sum(attempt.seconds for attempt in attempts):.1f} s"]
    parts += [f"{sum(prompt)} prompt tokens"] if prompt else []
    parts += [f"{sum(completion)} completion tokens"] if completion else []
    return ", ".join(parts)

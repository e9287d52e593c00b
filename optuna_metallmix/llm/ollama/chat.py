"""Ask an Ollama server one question, with a context size that fits the prompt.

Ollama loads a model with a fixed context. If the user sets none, it is estimated from the prompt,
and enlarged once if the server counts more tokens than estimated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING
from typing import Any

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm.http import retry
from optuna_metallmix.llm.ollama.errors import client_errors
from optuna_metallmix.llm.ollama.errors import counted_tokens
from optuna_metallmix.llm.ollama.errors import describe_failure
from optuna_metallmix.llm.ollama.errors import describe_refusal
from optuna_metallmix.llm.ollama.errors import is_missing
from optuna_metallmix.llm.ollama.errors import is_timeout
from optuna_metallmix.llm.ollama.errors import is_too_long
from optuna_metallmix.llm.ollama.errors import is_transient
from optuna_metallmix.llm.ollama.errors import is_unreachable
from optuna_metallmix.llm.ollama.server import Server
from optuna_metallmix.llm.ollama.server import installed_models
from optuna_metallmix.llm.ollama.server import open_client
from optuna_metallmix.llm.protocol import Message


if TYPE_CHECKING:
    import ollama


# English has 4 to 5 characters per token; 3 is a safe estimate, also for tables.
_CHARACTERS_PER_TOKEN = 3

# Tokens that a chat template may add before the first message (a date, a default role), and
# around each message (5 for SmolLM2).
_TEMPLATE_TOKENS = 64
_MESSAGE_TOKENS = 8

# In tokens. A smaller context saves little memory, and has to grow, which reloads the model,
# too often.
_MIN_CONTEXT = 4096


@dataclass
class Chat:
    """One question to a model; the settings are those of :class:`OllamaLLM`.

    Attributes:
        num_ctx: Context size in tokens; :meth:`ask` may enlarge it.
        limit: Maximum context of the model in tokens; None if unknown.
        may_grow: Whether ``num_ctx`` is an estimate, not a setting of the user.
        has_answered: Whether the server has answered before, so that it may just be restarting
            if it refuses a connection.
        n_attempts: Number of requests so far.
    """

    server: Server
    model: str
    num_ctx: int
    num_predict: int
    temperature: float
    seed: int
    think: bool | str | None
    keep_alive: float | str
    timeout: float
    limit: int | None
    may_grow: bool
    has_answered: bool
    n_attempts: int = 0

    def ask(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> ollama.ChatResponse:
        """Ask; retry after a transient error, and once with a larger context.

        Raises:
            LLMError: There is no answer.
        """
        deadline = monotonic() + self.timeout
        while True:
            try:
                return retry(
                    lambda seconds: self._send(messages, schema, seconds),
                    self._is_transient,
                    deadline,
                )
            except client_errors() as error:
                if not self._grow(error):
                    sentence = self._describe(error, messages)
                    raise LLMError(self.server.without_secrets(sentence)) from error

    def text(self, response: ollama.ChatResponse) -> str:
        """Return the text of an answer.

        Raises:
            LLMError: The answer is incomplete or empty, or the server dropped a part of the
                prompt.
        """
        read, written = response.prompt_eval_count or 0, response.eval_count or 0
        content = response.message.content
        if not response.done:
            raise LLMError(
                f"{self._subject} stopped in the middle of its answer, as Ollama does when a "
                "model repeats itself: choose another model, or a `temperature` above 0."
            )
        if read >= self.num_ctx:
            raise LLMError(self._describe_too_long(f"{read} tokens read"))
        if response.message.thinking and not content:
            raise LLMError(
                f"{self._subject} spent its {written} tokens on thinking: pass `think=False`, or "
                f"raise `num_predict` (now {self.num_predict})."
            )
        if response.done_reason == "length" or read + written > self.num_ctx:
            raise LLMError(
                f"{self._subject} was cut off after {written} tokens: raise `num_predict` (now "
                f"{self.num_predict}) or `num_ctx` (now {self.num_ctx})."
            )
        if not content:
            raise LLMError(f"{self._subject} gave an empty answer: choose another model.")
        return content

    def _send(
        self, messages: Sequence[Message], schema: Mapping[str, Any], seconds: float
    ) -> ollama.ChatResponse:
        self.n_attempts += 1
        with open_client(self.server, seconds) as client:
            response: ollama.ChatResponse = client.chat(
                self.model,
                messages=[dict(message) for message in messages],
                stream=False,
                # Reasoning models think by default; the other models accept False.
                think=self.think,
                format=dict(schema),
                options={
                    "num_ctx": self.num_ctx,
                    "num_predict": self.num_predict,
                    "temperature": self.temperature,
                    "seed": self.seed,
                },
                keep_alive=self.keep_alive,
            )
        return response

    def _is_transient(self, error: Exception) -> bool:
        if is_unreachable(error):
            return self.has_answered
        self.has_answered = True
        return is_transient(error)

    def _grow(self, error: Exception) -> bool:
        """Enlarge the context if the estimate was too low; return whether that is possible."""
        if not self.may_grow or not is_too_long(error):
            return False
        counted = counted_tokens(error)
        needed = self.num_ctx * 2 if counted is None else counted + self.num_predict
        before, self.num_ctx = self.num_ctx, context_size(needed, self.limit)
        self.may_grow = False
        return self.num_ctx > before

    @property
    def _subject(self) -> str:
        return f"Model {self.model!r} of Ollama at {self.server.address}"

    def _describe(self, error: Exception, messages: Sequence[Message]) -> str:
        import ollama

        attempts = f", tried {self.n_attempts} times" if self.n_attempts > 1 else ""
        if is_missing(error, self.model):
            return self._describe_missing()
        if is_too_long(error):
            counted = counted_tokens(error) or f"about {estimated_tokens(messages)}"
            return self._describe_too_long(f"it has {counted} tokens")
        if isinstance(error, ollama.ResponseError):
            return describe_refusal(error, self._subject, attempts)
        if is_timeout(error):
            return (
                f"{self._subject} did not answer within {self.timeout:g} seconds{attempts}: raise "
                "`timeout`, or choose a smaller model."
            )
        return describe_failure(error, self.server.address, attempts)

    def _describe_missing(self) -> str:
        names: list[str] = []
        with suppress(LLMError):
            installed = installed_models(self.server.address, headers=self.server.headers)
            names = [model.name for model in installed]
        return (
            f"Ollama at {self.server.address} has no model {self.model!r} (installed: "
            f"{', '.join(names) or 'none'}): run `ollama pull {self.model}`, or choose another."
        )

    def _describe_too_long(self, reason: str) -> str:
        subject = self._subject.replace("Model", "model", 1)
        if self.limit is not None and self.num_ctx >= self.limit:
            return (
                f"The prompt does not fit {subject}, which holds at most {self.limit} tokens "
                f"({reason}): shorten the prompt, or choose a model with a longer context."
            )
        return (
            f"The prompt does not fit {subject} with num_ctx={self.num_ctx} ({reason}): raise "
            "`num_ctx`, or shorten the prompt."
        )


def estimated_tokens(messages: Sequence[Message]) -> int:
    """Return an upper estimate of the number of tokens in ``messages``.

    Digits and characters beyond ASCII count as a token each (many models split numbers into
    digits), other text as a token for each three characters. The JSON schema of the answer does
    not count, because it constrains the decoding and is not part of the prompt.
    """
    return _TEMPLATE_TOKENS + sum(
        _MESSAGE_TOKENS + _text_tokens(message["content"]) for message in messages
    )


def context_size(n_tokens: int, limit: int | None) -> int:
    """Round up to a power of two, so that prompts of similar length need no other context.

    Args:
        n_tokens: Tokens of prompt and answer together, at least 1.
        limit: Maximum context of the model in tokens; None if unknown.

    Returns:
        At least 4,096 and at most ``limit``, even if ``n_tokens`` is more: it is an upper
        estimate, and only the server can count.
    """
    size = max(_MIN_CONTEXT, 1 << (n_tokens - 1).bit_length())
    return size if limit is None else min(size, limit)


def _text_tokens(text: str) -> int:
    n_single = sum(character.isdigit() or not character.isascii() for character in text)
    return n_single + math.ceil((len(text) - n_single) / _CHARACTERS_PER_TOKEN)

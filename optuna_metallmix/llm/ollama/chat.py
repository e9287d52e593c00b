"""messages -> how many tokens of context to ask a server for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm.http import Tries
from optuna_metallmix.llm.ollama.errors import client_errors
from optuna_metallmix.llm.ollama.errors import counted_tokens
from optuna_metallmix.llm.ollama.errors import is_missing
from optuna_metallmix.llm.ollama.errors import is_passing
from optuna_metallmix.llm.ollama.errors import is_timeout
from optuna_metallmix.llm.ollama.errors import is_too_long
from optuna_metallmix.llm.ollama.errors import never_connected
from optuna_metallmix.llm.ollama.errors import why_no_answer
from optuna_metallmix.llm.ollama.errors import why_refused
from optuna_metallmix.llm.ollama.server import Server
from optuna_metallmix.llm.ollama.server import installed_models
from optuna_metallmix.llm.ollama.server import open_client
from optuna_metallmix.llm.protocol import Message


if TYPE_CHECKING:
    import ollama

_CHARACTERS_PER_TOKEN = 3
"""English is read at 4 to 5 characters a token; 3 errs on the safe side, also for tables."""

_TEMPLATE_TOKENS = 64
"""What a model's own chat template may add before the first message (a date, a default role)."""

_MESSAGE_TOKENS = 8
"""What it adds around each message; 5 for SmolLM2."""

_SMALLEST = 4096
"""Less saves little memory, and would have to grow, which loads the model anew, too often."""


def estimated_tokens(messages: Sequence[Message]) -> int:
    """Estimate from above how many tokens a model reads in ``messages``.

    A digit, and a character beyond ASCII, counts as one token (many models split numbers into
    digits), other text as a token for each three characters. The JSON schema of an answer is not
    counted, for a server makes a grammar of it and the model never reads it.
    """
    return _TEMPLATE_TOKENS + sum(
        _MESSAGE_TOKENS + _text_tokens(message["content"]) for message in messages
    )


def _text_tokens(text: str) -> int:
    single = sum(one.isdigit() or not one.isascii() for one in text)
    return single + math.ceil((len(text) - single) / _CHARACTERS_PER_TOKEN)


def context_size(n_tokens: int, limit: int | None) -> int:
    """Round up to a power of two, so that questions of about one length need no new size.

    Args:
        n_tokens: Tokens of prompt and answer together, at least 1.
        limit: The most that the model can hold; None where that is not known.

    Returns:
        At least 4,096 and at most ``limit``, even where ``n_tokens`` is more: it is an estimate
        from above, and only the server can count.
    """
    size = max(_SMALLEST, 1 << (n_tokens - 1).bit_length())
    return size if limit is None else min(size, limit)


@dataclass
class Chat:
    """How one question is asked; the settings are those of :class:`OllamaLLM`.

    Attributes:
        num_ctx: Tokens of context asked for; more afterwards where it had to grow.
        limit: The most that the model can hold; None where that is not known.
        may_grow: Whether ``num_ctx`` is an estimate, not the user's word.
        has_answered: Whether the server was there before, so that a refused connection may pass.
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

    def ask(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> ollama.ChatResponse:
        """Ask, and ask again what may pass, and once with more context where it was too little.

        Raises:
            LLMError: There is no answer.
        """
        tries = Tries(self.timeout)
        while True:
            try:
                return tries.run(
                    lambda seconds: self._send(messages, schema, seconds), self._may_pass
                )
            except client_errors() as error:
                if not self._grown(error):
                    sentence = self._why(error, messages, tries.count)
                    raise LLMError(self.server.without_secrets(sentence)) from error

    def text(self, response: ollama.ChatResponse) -> str:
        """Return the answer's text.

        Raises:
            LLMError: It was not finished, or the server dropped a part of the prompt.
        """
        read, written = response.prompt_eval_count or 0, response.eval_count or 0
        content = response.message.content
        if not response.done:
            raise LLMError(
                f"{self._who} stopped in mid-answer, as Ollama does when a model repeats itself: "
                "choose another model, or a `temperature` above 0."
            )
        if read >= self.num_ctx:
            raise LLMError(self._why_too_long(f"{read} tokens read"))
        if response.message.thinking and not content:
            raise LLMError(
                f"{self._who} only thought, and spent its {written} tokens on it: pass "
                f"`think=False`, or raise `num_predict` (now {self.num_predict})."
            )
        if response.done_reason == "length" or read + written > self.num_ctx:
            raise LLMError(
                f"{self._who} was cut off after {written} tokens: raise `num_predict` (now "
                f"{self.num_predict}) or `num_ctx` (now {self.num_ctx})."
            )
        if not content:
            raise LLMError(f"{self._who} gave an empty answer: choose another model.")
        return content

    def _send(
        self, messages: Sequence[Message], schema: Mapping[str, Any], seconds: float
    ) -> ollama.ChatResponse:
        with open_client(self.server, seconds) as client:
            response: ollama.ChatResponse = client.chat(
                self.model,
                messages=[dict(message) for message in messages],
                stream=False,
                # Thinking models think unless told not to; the others accept being told not to.
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

    def _may_pass(self, error: Exception) -> bool:
        if never_connected(error):
            return self.has_answered
        self.has_answered = True
        return is_passing(error)

    def _grown(self, error: Exception) -> bool:
        """Whether there is more context to ask with, now that the estimate proved too low."""
        if not self.may_grow or not is_too_long(error):
            return False
        counted = counted_tokens(error)
        wanted = self.num_ctx * 2 if counted is None else counted + self.num_predict
        before, self.num_ctx = self.num_ctx, context_size(wanted, self.limit)
        self.may_grow = False
        return self.num_ctx > before

    @property
    def _who(self) -> str:
        return f"Model {self._model}"

    @property
    def _model(self) -> str:
        return f"{self.model!r} of Ollama at {self.server.address}"

    def _why(self, error: Exception, messages: Sequence[Message], n_tries: int) -> str:
        import ollama

        tried = f", tried {n_tries} times" if n_tries > 1 else ""
        if is_missing(error, self.model):
            return self._why_missing()
        if is_too_long(error):
            counted = counted_tokens(error) or f"about {estimated_tokens(messages)}"
            return self._why_too_long(f"it has {counted} tokens")
        if isinstance(error, ollama.ResponseError):
            return why_refused(error, self._who, tried)
        if is_timeout(error):
            return (
                f"{self._who} did not answer within {self.timeout:g} seconds{tried}: raise "
                "`timeout`, or choose a smaller model."
            )
        return why_no_answer(error, self.server.address, tried)

    def _why_missing(self) -> str:
        names: list[str] = []
        with suppress(LLMError):
            listed = installed_models(self.server.address, headers=self.server.headers)
            names = [model.name for model in listed]
        return (
            f"Ollama at {self.server.address} has no model {self.model!r} (installed: "
            f"{', '.join(names) or 'none'}): run `ollama pull {self.model}`, or name another."
        )

    def _why_too_long(self, reason: str) -> str:
        if self.limit is not None and self.num_ctx >= self.limit:
            return (
                f"The prompt does not fit model {self._model}, which holds at most {self.limit} "
                f"tokens ({reason}): shorten the prompt, or choose a model with a longer context."
            )
        return (
            f"The prompt does not fit model {self._model} with num_ctx={self.num_ctx} "
            f"({reason}): raise `num_ctx`, or shorten the prompt."
        )

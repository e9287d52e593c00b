"""messages + JSON schema -> text, by a model that an Ollama server serves."""

from __future__ import annotations

import time
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING
from typing import Any

from optuna_metallmix._errors import LLMError
from optuna_metallmix.llm._ollama_server import client_errors
from optuna_metallmix.llm._ollama_server import innermost
from optuna_metallmix.llm._ollama_server import installed_models
from optuna_metallmix.llm._ollama_server import never_connected
from optuna_metallmix.llm._ollama_server import open_client
from optuna_metallmix.llm._ollama_server import server_address
from optuna_metallmix.llm._ollama_server import why_no_answer
from optuna_metallmix.llm._protocol import Message
from optuna_metallmix.llm._protocol import Usage


if TYPE_CHECKING:
    import ollama


class OllamaLLM:
    """A model of an Ollama server, its answers constrained to the schema.

    Holds settings only, so that it can be pickled and shared between threads; every call opens and
    closes its own connection. Ollama keeps to names, kinds, choices and order of the schema, but
    not to ``minimum`` and ``maximum``.

    Attributes:
        name: What trials and notes call the model.
        host: The server's address, a URL.
        last_usage: What the most recent answer cost; None before the first.
    """

    def __init__(
        self,
        model: str,
        *,
        host: str | None = None,
        timeout: float = 120.0,
        keep_alive: float | str = 0,
        num_ctx: int = 8192,
        num_predict: int = 1024,
        temperature: float = 0.0,
        seed: int = 0,
        think: bool | str = False,
    ) -> None:
        """Take the settings; nothing is sent yet.

        Args:
            model: As Ollama calls it, with its tag: ``qwen3:8b``.
            host: ``HOST``, ``HOST:PORT`` or a URL; None for the variable ``OLLAMA_HOST`` where it
                is set, else ``http://127.0.0.1:11434``.
            timeout: Seconds to wait for an answer, loading the model included; above 0.
            keep_alive: Seconds, or a duration such as ``"5m"``, that the server keeps the model
                loaded afterwards; 0 frees the accelerator at once, a negative number never does.
            num_ctx: Tokens of prompt and answer together, at least 1. The server's own default
                may be 4,096, and what does not fit would be dropped silently.
            num_predict: Tokens of an answer, at least 1; a longer answer is an error.
            temperature: At least 0; 0 repeats exactly on one build of Ollama.
            seed: Of the sampling.
            think: Whether a thinking model thinks first; ``"low"``, ``"medium"`` or ``"high"``
                for those that know degrees. Thoughts count towards ``num_predict``.

        Raises:
            LLMError: The host is not an address.
            ValueError: The model has no name, or a number is out of its range.
        """
        if not model.strip():
            raise ValueError('model is the name of an Ollama model, such as "qwen3:8b".')
        if not (timeout > 0 and min(num_ctx, num_predict) >= 1 and temperature >= 0):
            raise ValueError(
                "timeout is above 0, num_ctx and num_predict at least 1, temperature at least 0."
            )
        self.model = model.strip()
        self.host = server_address(host)
        self.timeout = timeout
        self.keep_alive = keep_alive
        self.num_ctx = num_ctx
        self.num_predict = num_predict
        self.temperature = temperature
        self.seed = seed
        self.think = think
        self.last_usage: Usage | None = None

    @property
    def name(self) -> str:
        """``ollama:`` and the model's name."""
        return f"ollama:{self.model}"

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Answer ``messages`` with one JSON document that ``schema`` describes.

        Raises:
            LLMError: The server or the model is absent, the time-out passed, the prompt does not
                fit ``num_ctx``, the answer does not fit ``num_predict``, or the server refused.
        """
        started = time.perf_counter()
        try:
            response = self._chat(messages, schema)
        except client_errors() as error:
            raise LLMError(self._why(error)) from error
        answer = self._answer(response)
        seconds = time.perf_counter() - started
        self.last_usage = Usage(response.prompt_eval_count, response.eval_count, seconds)
        return answer

    def __repr__(self) -> str:
        return f"OllamaLLM({self.model!r}, host={self.host!r})"

    def _chat(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> ollama.ChatResponse:
        with open_client(self.host, self.timeout) as client:
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

    def _answer(self, response: ollama.ChatResponse) -> str:
        if not response.done:
            raise LLMError(
                f"{self._who()} stopped in mid-answer, as Ollama does when a model repeats "
                "itself: choose another model, or a `temperature` above 0."
            )
        if (response.prompt_eval_count or 0) >= self.num_ctx:
            raise LLMError(self._why_too_long(f"{response.prompt_eval_count} tokens read"))
        if response.done_reason == "length":
            raise LLMError(
                f"{self._who()} was cut off after {response.eval_count} tokens: raise "
                f"`num_predict` (now {self.num_predict}) or `num_ctx` (now {self.num_ctx})."
            )
        if not response.message.content:
            raise LLMError(f"{self._who()} gave an empty answer: choose another model.")
        return response.message.content

    def _who(self) -> str:
        return f"Model {self.model!r} of Ollama at {self.host}"

    def _why(self, error: Exception) -> str:
        import httpx
        import ollama

        if isinstance(error, ollama.ResponseError):
            return self._why_refused(error.status_code, innermost(error.error))
        if isinstance(error, httpx.TimeoutException) and not never_connected(error):
            return (
                f"{self._who()} did not answer within {self.timeout:g} seconds: raise `timeout`, "
                "or choose a smaller model."
            )
        return why_no_answer(error, self.host)

    def _why_refused(self, status: int, reason: str) -> str:
        if status == 404 and "not found" in reason and self.model.split(":")[0] in reason:
            return self._why_missing()
        if status == 400 and "exceed" in reason and "context" in reason:
            return self._why_too_long(reason)
        if status == 503:
            return f"Ollama at {self.host} is busy ({reason}): try again when it has less to do."
        return (
            f"{self._who()} refused with status {status} ({reason}): see the server's log, or "
            "choose another model."
        )

    def _why_missing(self) -> str:
        names: list[str] = []
        with suppress(LLMError):
            names = [model.name for model in installed_models(self.host)]
        return (
            f"Ollama at {self.host} has no model {self.model!r} (installed: "
            f"{', '.join(names) or 'none'}): run `ollama pull {self.model}`, or name another."
        )

    def _why_too_long(self, reason: str) -> str:
        return (
            f"The prompt does not fit {self._who()} with num_ctx={self.num_ctx} ({reason}): raise "
            "`num_ctx`, or shorten the prompt."
        )

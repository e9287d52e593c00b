"""messages + JSON schema -> text, by a model that an Ollama server serves."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

import optuna

from optuna_metallmix.llm.ollama.chat import Chat
from optuna_metallmix.llm.ollama.chat import context_size
from optuna_metallmix.llm.ollama.chat import estimated_tokens
from optuna_metallmix.llm.ollama.server import build_of
from optuna_metallmix.llm.ollama.server import context_limit
from optuna_metallmix.llm.ollama.server import free
from optuna_metallmix.llm.ollama.server import server_at
from optuna_metallmix.llm.protocol import Message
from optuna_metallmix.llm.protocol import Usage
from optuna_metallmix.progress import waiting


_HELD_SECONDS = 60.0
"""How long a model outlives a question where nobody calls :meth:`OllamaLLM.close`."""

_SHOW_SECONDS = 5.0

# As Go reads it: "300" without a unit would be refused with a status 400.
_DURATION = re.compile(r"[-+]?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+")

_logger = optuna.logging.get_logger("optuna.metallmix")


class OllamaLLM:
    """A model of an Ollama server, its answers constrained to the schema.

    Ollama keeps to names, kinds, choices and order of the schema, but not to ``minimum`` and
    ``maximum``. The model is loaded at the first :meth:`generate` and stays loaded for a minute,
    so that the questions of one suggestion load it once; :meth:`close` at their end unloads it
    at once and makes sure that it is gone, so that a training finds the accelerator free::

        with OllamaLLM("qwen3:8b") as llm:  # calls close() at its end
            llm.generate(messages, schema=schema)

    The sampler does so after each suggestion. Every request has its own connection, threads may
    share the object, and a pickled copy carries the settings.

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
        headers: Mapping[str, str] | None = None,
        timeout: float = 120.0,
        keep_alive: float | str = 0,
        num_ctx: int | None = None,
        num_predict: int = 1024,
        temperature: float = 0.0,
        seed: int = 0,
        think: bool | str | None = False,
    ) -> None:
        """Take the settings; nothing is sent yet.

        Args:
            model: As Ollama calls it, with its tag: ``qwen3:8b``.
            host: ``HOST``, ``HOST:PORT`` or a URL; None for the variable ``OLLAMA_HOST`` where it
                is set, else ``http://127.0.0.1:11434``.
            headers: Sent with every request, for a server behind a proxy that asks for them.
                They are part of a pickled copy, and of no message.
            timeout: Seconds to wait for an answer, loading the model and up to two further tries
                (queue full, connection dropped, model's process died) included; above 0.
            keep_alive: Seconds, or a duration such as ``"5m"``, that the server keeps the model
                loaded after an answer, a negative number for ever, and :meth:`close` lets it; 0
                to have the accelerator back at :meth:`close`.
            num_ctx: Tokens of prompt and answer together, at least 1. None computes them: the
                prompt's, estimated from above, and ``num_predict``, rounded up to a power of two,
                at least 4,096 and never above what the model can hold.
            num_predict: Tokens of an answer, at least 1; a longer answer is an error.
            temperature: At least 0; 0 repeats exactly on one build of Ollama.
            seed: Of the sampling.
            think: Whether a thinking model thinks first; ``"low"``, ``"medium"`` or ``"high"``
                for those that know degrees; None to say nothing of it. Thoughts count towards
                ``num_predict``.

        Raises:
            LLMError: The host is not an address.
            ValueError: The model has no name, a number is out of its range, ``keep_alive`` is no
                duration, or a header cannot be sent.
        """
        if not model.strip():
            raise ValueError('model is the name of an Ollama model, such as "qwen3:8b".')
        _check_numbers(timeout, num_ctx, num_predict, temperature)
        if isinstance(keep_alive, str) and not _DURATION.fullmatch(keep_alive):
            raise ValueError(f'keep_alive is seconds or a duration ("5m"), not {keep_alive!r}.')
        self.model = model.strip()
        self.timeout = timeout
        forgets = isinstance(keep_alive, str) and not re.search("[1-9]", keep_alive)
        self.keep_alive = 0 if forgets else keep_alive
        self.num_ctx = num_ctx
        self.num_predict = num_predict
        self.temperature = temperature
        self.seed = seed
        self.think = think
        self.last_usage: Usage | None = None
        self._server = server_at(host, headers)
        # Tokens that the model was loaded for: with another number it would be loaded anew, so
        # this only grows until it is unloaded. 0 before it is asked for.
        self._context = 0
        self._limit: int | None = None
        self._set_unshared()

    @property
    def name(self) -> str:
        """``ollama:`` and the model's name."""
        return f"ollama:{self.model}"

    @property
    def host(self) -> str:
        """The server's address, a URL."""
        return self._server.address

    @property
    def build(self) -> str | None:
        """The server's version and the weights' digest; the server is asked at every look, for
        at most two seconds, and None where it does not tell."""
        return build_of(self._server, self.model)

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Answer ``messages`` with one JSON document that ``schema`` describes.

        A wait of more than two seconds is told in Optuna's log.

        Raises:
            LLMError: The server is absent, broken or too slow, the model is not installed, the
                prompt does not fit its context, or the answer was not finished.
        """
        started = time.perf_counter()
        loading = "" if self._context else " (loading into memory)"
        with self._asking(), waiting(self.name + loading):
            chat = self._chat(messages)
            response = chat.ask(messages, schema)
            self._context = max(self._context, chat.num_ctx)
        answer = chat.text(response)
        self.last_usage = Usage(
            response.prompt_eval_count,
            response.eval_count,
            time.perf_counter() - started,
            None if response.load_duration is None else response.load_duration / 1e9,
        )
        return answer

    def close(self) -> None:
        """Unload the model, unless ``keep_alive`` lets it stay, and wait until it is gone.

        Takes at most some seconds and never raises: a model that stays is a warning in Optuna's
        log. Does nothing while another thread's question is open, for that thread closes, too.
        """
        with self._lock:
            if not self._context or self._n_open or self.keep_alive != 0:
                return
            self._context = 0
        is_gone = free(self._server, self.model)
        # A server that answers nothing at all is told of already, where it did not answer.
        if is_gone is False or (is_gone is None and self.last_usage is not None):
            _logger.warning(
                f"Model {self.model!r} may still be loaded by Ollama at {self.host} and take "
                f"memory from the training: run `ollama stop {self.model}`."
            )

    def __enter__(self) -> OllamaLLM:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"OllamaLLM({self.model!r}, host={self.host!r})"

    def __getstate__(self) -> dict[str, Any]:
        live = ("_lock", "_n_open")
        kept = {key: value for key, value in self.__dict__.items() if key not in live}
        return {**kept, "_context": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._set_unshared()

    def _set_unshared(self) -> None:
        self._lock = threading.Lock()
        self._n_open = 0

    @contextmanager
    def _asking(self) -> Iterator[None]:
        with self._lock:
            self._n_open += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_open -= 1

    def _chat(self, messages: Sequence[Message]) -> Chat:
        self._context = max(self._context, self.num_ctx or self._needed(messages))
        return Chat(
            self._server,
            self.model,
            num_ctx=self.num_ctx or self._context,
            num_predict=self.num_predict,
            temperature=self.temperature,
            seed=self.seed,
            think=self.think,
            keep_alive=self.keep_alive or _HELD_SECONDS,
            timeout=self.timeout,
            limit=self._limit,
            may_grow=self.num_ctx is None,
            has_answered=self._limit is not None or self.last_usage is not None,
        )

    def _needed(self, messages: Sequence[Message]) -> int:
        if self._limit is None:
            seconds = min(self.timeout, _SHOW_SECONDS)
            self._limit = context_limit(self._server, self.model, seconds)
        return context_size(estimated_tokens(messages) + self.num_predict, self._limit)


def _check_numbers(
    timeout: float, num_ctx: int | None, num_predict: int, temperature: float
) -> None:
    least = num_predict if num_ctx is None else min(num_ctx, num_predict)
    if not (timeout > 0 and least >= 1 and temperature >= 0):
        raise ValueError(
            "timeout is above 0, num_ctx and num_predict at least 1, temperature at least 0."
        )

"""Ask models of an Ollama server, and unload them before the training needs the memory."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import optuna

from optuna_metallmix.llm.ollama.chat import Chat
from optuna_metallmix.llm.ollama.chat import context_size
from optuna_metallmix.llm.ollama.chat import estimated_tokens
from optuna_metallmix.llm.ollama.server import build_of
from optuna_metallmix.llm.ollama.server import context_limit
from optuna_metallmix.llm.ollama.server import server_at
from optuna_metallmix.llm.ollama.server import unload
from optuna_metallmix.llm.protocol import Message
from optuna_metallmix.llm.protocol import Usage


# Seconds that a model stays loaded after a question if nobody calls `OllamaLLM.close`.
_DEFAULT_KEEP_ALIVE = 60.0

_SHOW_TIMEOUT = 5.0

# Go's syntax: the server refuses "300" without a unit.
_DURATION = re.compile(r"[-+]?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+")

_logger = optuna.logging.get_logger("optuna.metallmix")


class OllamaLLM:
    """A model of an Ollama server, with answers constrained to the schema.

    Ollama respects names, types, choices and order of the schema, but neither ``minimum`` nor
    ``maximum``. The model is loaded at the first :meth:`generate` and stays loaded for a minute,
    so that the questions of a suggestion load it once. :meth:`close` unloads it and waits until
    its memory is free for the training::

        with OllamaLLM("qwen3:8b") as llm:  # calls close() at its end
            llm.generate(messages, schema=schema)

    The sampler does so after each suggestion. Threads may share the object, and a pickled copy
    has the same settings.

    Attributes:
        name: ``ollama:`` and the model's name, as shown in trials and notes.
        host: The server's address, a URL.
        last_usage: The cost of the most recent answer; None before the first.
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
        """Store the settings without sending a request.

        Args:
            model: Ollama's name of the model, with its tag: ``qwen3:8b``.
            host: ``HOST``, ``HOST:PORT`` or a URL; None for the variable ``OLLAMA_HOST``, or
                ``http://127.0.0.1:11434`` if it is not set.
            headers: Sent with every request, for a server behind a proxy. They are part of a
                pickled copy, but never shown in a message.
            timeout: Seconds to wait for an answer, above 0, including loading the model and up
                to two retries (queue full, connection dropped, model's process died).
            keep_alive: Seconds, or a duration such as ``"5m"``, for which the server keeps the
                model loaded after an answer, also after :meth:`close`; negative for ever. At 0,
                :meth:`close` frees the accelerator.
            num_ctx: Context size in tokens, prompt and answer together; at least 1. None
                computes it: the estimated prompt plus ``num_predict``, rounded up to a power of
                two, at least 4,096 and at most the maximum of the model.
            num_predict: Maximum length of an answer in tokens, at least 1; a longer answer is an
                error.
            temperature: Sampling temperature, at least 0; at 0, answers are reproducible with
                the same version of Ollama.
            seed: Sampling seed.
            think: Whether a reasoning model thinks first; ``"low"``, ``"medium"`` or ``"high"``
                for models with levels; None for the model's default. Thoughts count towards
                ``num_predict``.

        Raises:
            LLMError: ``host`` is not an address.
            ValueError: ``model`` is empty, a number is out of its range, ``keep_alive`` is not a
                duration, or a header cannot be sent.
        """
        if not model.strip():
            raise ValueError('`model` must be the name of an Ollama model, such as "qwen3:8b".')
        least_tokens = num_predict if num_ctx is None else min(num_ctx, num_predict)
        if not (timeout > 0 and least_tokens >= 1 and temperature >= 0):
            raise ValueError(
                "`timeout` must be above 0, `num_ctx` and `num_predict` at least 1, and "
                "`temperature` at least 0."
            )
        if isinstance(keep_alive, str) and not _DURATION.fullmatch(keep_alive):
            raise ValueError(
                f'`keep_alive` must be seconds or a duration such as "5m", but is {keep_alive!r}.'
            )
        self.model = model.strip()
        self.timeout = timeout
        is_zero = isinstance(keep_alive, str) and not re.search("[1-9]", keep_alive)
        self.keep_alive = 0 if is_zero else keep_alive
        self.num_ctx = num_ctx
        self.num_predict = num_predict
        self.temperature = temperature
        self.seed = seed
        self.think = think
        self.last_usage: Usage | None = None
        self._server = server_at(host, headers)
        # The context that the model is loaded with; 0 if it is not loaded. It never shrinks while
        # the model is loaded, because another size would reload the model.
        self._context = 0
        self._limit: int | None = None
        self._init_unpickled()

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
        """The server's version and the digest of the weights; None if the server reports neither.

        Every access asks the server, and takes at most two seconds.
        """
        return build_of(self._server, self.model)

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Answer ``messages`` with one JSON document that ``schema`` describes.

        Raises:
            LLMError: The server is absent, broken or too slow, the model is not installed, the
                prompt does not fit its context, or the answer is incomplete.
        """
        started = time.perf_counter()
        loading = "" if self._context else "loading into memory, "
        _logger.info(f"Asking {self.name} ({loading}up to {self.timeout:g} s).")
        with self._lock:
            self._n_open += 1
        try:
            chat = self._chat(messages)
            response = chat.ask(messages, schema)
            self._context = max(self._context, chat.num_ctx)
        finally:
            with self._lock:
                self._n_open -= 1
        answer = chat.text(response)
        self.last_usage = Usage(
            response.prompt_eval_count,
            response.eval_count,
            time.perf_counter() - started,
            None if response.load_duration is None else response.load_duration / 1e9,
        )
        return answer

    def close(self) -> None:
        """Unload the model, unless ``keep_alive`` keeps it, and wait until its memory is free.

        Takes a few seconds at most and never raises; if the model stays loaded, it logs a
        warning. Does nothing while another thread waits for an answer, because that thread calls
        this method as well.
        """
        with self._lock:
            if not self._context or self._n_open or self.keep_alive != 0:
                return
            self._context = 0
        is_unloaded = unload(self._server, self.model)
        # If the server has never answered, `generate` has reported that already.
        if is_unloaded is False or (is_unloaded is None and self.last_usage is not None):
            _logger.warning(
                f"Model {self.model!r} may still be loaded by Ollama at {self.host} and use "
                f"memory that the training needs: run `ollama stop {self.model}`."
            )

    def __enter__(self) -> OllamaLLM:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"OllamaLLM({self.model!r}, host={self.host!r})"

    def __getstate__(self) -> dict[str, Any]:
        not_pickled = ("_lock", "_n_open")
        state = {key: value for key, value in self.__dict__.items() if key not in not_pickled}
        return {**state, "_context": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._init_unpickled()

    def _init_unpickled(self) -> None:
        self._lock = threading.Lock()
        self._n_open = 0

    def _chat(self, messages: Sequence[Message]) -> Chat:
        self._context = max(self._context, self.num_ctx or self._needed_context(messages))
        return Chat(
            self._server,
            self.model,
            num_ctx=self.num_ctx or self._context,
            num_predict=self.num_predict,
            temperature=self.temperature,
            seed=self.seed,
            think=self.think,
            keep_alive=self.keep_alive or _DEFAULT_KEEP_ALIVE,
            timeout=self.timeout,
            limit=self._limit,
            may_grow=self.num_ctx is None,
            has_answered=self._limit is not None or self.last_usage is not None,
        )

    def _needed_context(self, messages: Sequence[Message]) -> int:
        if self._limit is None:
            timeout = min(self.timeout, _SHOW_TIMEOUT)
            self._limit = context_limit(self._server, self.model, timeout)
        return context_size(estimated_tokens(messages) + self.num_predict, self._limit)

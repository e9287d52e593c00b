"""Ask models of an Ollama server, and unload them before a training run needs the memory."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from typing import Any

import optuna

from optuna_metallmix.errors import LLMError
from optuna_metallmix.fork_lock import ForkLock
from optuna_metallmix.llm.deadline import time_limit
from optuna_metallmix.llm.http import attempts_of
from optuna_metallmix.llm.http import list_names
from optuna_metallmix.llm.http import retry
from optuna_metallmix.llm.http import without_system
from optuna_metallmix.llm.ollama.answers import Asked
from optuna_metallmix.llm.ollama.answers import problem_of
from optuna_metallmix.llm.ollama.answers import text_of
from optuna_metallmix.llm.ollama.context import context_size
from optuna_metallmix.llm.ollama.context import estimated_tokens
from optuna_metallmix.llm.ollama.errors import client_errors
from optuna_metallmix.llm.ollama.errors import counted_tokens
from optuna_metallmix.llm.ollama.errors import describe_failure
from optuna_metallmix.llm.ollama.errors import import_client
from optuna_metallmix.llm.ollama.errors import is_missing
from optuna_metallmix.llm.ollama.errors import is_timeout
from optuna_metallmix.llm.ollama.errors import is_too_long
from optuna_metallmix.llm.ollama.errors import is_transient
from optuna_metallmix.llm.ollama.errors import is_unreachable
from optuna_metallmix.llm.ollama.server import ModelDetails
from optuna_metallmix.llm.ollama.server import build_of
from optuna_metallmix.llm.ollama.server import installed_models
from optuna_metallmix.llm.ollama.server import model_details
from optuna_metallmix.llm.ollama.server import open_client
from optuna_metallmix.llm.ollama.server import server_at
from optuna_metallmix.llm.ollama.server import unload
from optuna_metallmix.llm.protocol import MAX_NAME
from optuna_metallmix.llm.protocol import Message
from optuna_metallmix.llm.protocol import Usage
from optuna_metallmix.text import cut_middle


if TYPE_CHECKING:
    import ollama

# Seconds that a model stays loaded after a question if nobody calls `OllamaLLM.close`.
_DEFAULT_KEEP_ALIVE = 60.0

# Seconds to wait for an answer that does not need the model: before a question, whose time it
# takes, and otherwise.
_DETAILS_TIMEOUT = 5.0
_AVAILABLE_TIMEOUT = 30.0

_LEVELS = (None, True, False, "low", "medium", "high", "max")

# Go's syntax: the server rejects "300" without a unit.
_DURATION = re.compile(r"[-+]?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+")

_logger = optuna.logging.get_logger("optuna.metallmix")


class OllamaLLM:
    """A model of an Ollama server, with answers constrained to the schema.

    Ollama respects names, types, choices and order of the schema, but neither ``minimum`` nor
    ``maximum``. The model is loaded at the first :meth:`generate` and stays loaded for a minute,
    so that the questions of a suggestion load it once. :meth:`close` unloads it and waits until
    its memory is free for the training run::

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
        timeout: float | None = None,
        keep_alive: float | str = 0,
        num_ctx: int | None = None,
        num_thread: int | None = None,
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
                to two retries (queue full, connection dropped, model's process died); None for
                what a sampler's ``llm_timeout`` leaves, or 120 without a sampler.
            keep_alive: Seconds, or a duration such as ``"5m"``, for which the server keeps the
                model loaded after an answer, also after :meth:`close`; negative for ever. At 0,
                :meth:`close` frees the accelerator.
            num_ctx: Context size in tokens, prompt and answer together; at least 1. None
                computes it: the estimated prompt plus two answers of ``num_predict``, because
                the next question quotes the last answer, rounded up to a power of two, at least
                4,096 and at most the maximum of the model. Another size reloads the model, so it
                only grows while the model is loaded.
            num_thread: Threads of the server for a model that runs on its processors, at least
                1; 0 for the server's default, the number of its cores. None takes half of the
                logical cores of this machine, or the server's default if it is another machine.
                On cores that are busy with other work, more threads are slower, because all wait
                for the slowest: on two busy cores an answer took 3 to 10 seconds with one thread
                and 10 to 280 with two (SmolLM2-135M, Ollama 0.32). Another number reloads a model
                that another program has loaded.
            num_predict: Maximum length of an answer in tokens, at least 1; a longer answer is an
                error.
            temperature: Sampling temperature, at least 0; at 0, answers are reproducible with
                the same version of Ollama.
            seed: Sampling seed.
            think: Whether a reasoning model reasons first; ``"low"``, ``"medium"``, ``"high"`` or
                ``"max"`` for models with levels; None for the model's default. Reasoning tokens
                count towards ``num_predict``, so allow 4,096 or more. After False, Ollama (0.17
                to 0.32) ignores the schema for some models (gemma4, qwen3.5): pass None.

        Raises:
            LLMError: ``host`` is not an address.
            ValueError: ``model`` is empty, a number is out of its range, ``keep_alive`` is not a
                duration, ``think`` is unknown, or a header cannot be sent.
        """
        if not model.strip():
            raise ValueError('`model` must be the name of an Ollama model, such as "qwen3:8b".')
        least_tokens = num_predict if num_ctx is None else min(num_ctx, num_predict)
        least_option = min(temperature, num_thread or 0)
        if not ((timeout is None or timeout > 0) and least_tokens >= 1 and least_option >= 0):
            raise ValueError(
                "`timeout` must be above 0, `num_ctx` and `num_predict` at least 1, and "
                "`temperature` and `num_thread` at least 0."
            )
        if think not in _LEVELS:
            raise ValueError(
                f'`think` must be True, False, None, "low", "medium", "high" or "max", but is '
                f"{think!r}."
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
        self.num_thread = num_thread
        self.num_predict = num_predict
        self.temperature = temperature
        self.seed = seed
        self.think = think
        self.last_usage: Usage | None = None
        self._server = server_at(host, headers)
        self._has_answered = False
        # The context that the model is loaded with; 0 if it is not loaded. It never shrinks while
        # the model is loaded, because another size would reload the model.
        self._context = 0
        # None until the server has reported them.
        self._details: ModelDetails | None = None
        self._init_unpickled()

    @property
    def name(self) -> str:
        """``ollama:`` and the model's name."""
        return f"ollama:{cut_middle(self.model, MAX_NAME)}"

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

    @property
    def n_parameters(self) -> int | None:
        """The number of parameters of the model; None if the server does not report it.

        The first access asks the server, and takes at most five seconds.
        """
        return self._known_details().n_parameters

    def check_available(self) -> None:
        """Check that the server answers and has the model, without loading it.

        Raises:
            LLMError: No server answers, or it does not have the model.
        """
        seconds = min(time_limit(self.timeout)[0], _AVAILABLE_TIMEOUT)
        try:
            self._details = model_details(self._server, self.model, seconds)
        except client_errors() as error:
            if is_unreachable(error) or is_timeout(error) or is_missing(error, self.model):
                sentence = self._describe(error, (), 0)
                raise LLMError(self._server.without_secrets(sentence)) from error

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Answer ``messages`` with one JSON document that ``schema`` describes.

        Raises:
            LLMError: The server is absent, broken or too slow, the model is not installed, the
                prompt does not fit its context, or the answer is incomplete.
        """
        started = time.perf_counter()
        loading = "" if self._context else "loading into memory, "
        _logger.info(f"Asking {self.name} ({loading}up to {time_limit(self.timeout)[0]:g} s).")
        with self._lock:
            self._n_open += 1
        try:
            response, num_ctx = self._ask(messages, schema)
            self._context = max(self._context, num_ctx)
            self._has_answered = True
        finally:
            with self._lock:
                self._n_open -= 1
        answer = self._text(response, num_ctx)
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
        is_loaded = unload(self._server, self.model)
        # If the server has never answered, `generate` has reported that already.
        if is_loaded or (is_loaded is None and self.last_usage is not None):
            _logger.warning(
                f"Model {self.model!r} may still be loaded by Ollama at {self.host} and use "
                f"memory that the training run needs: run `ollama stop {self.model}`."
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
        self._lock = ForkLock()
        self._n_open = 0

    def _ask(
        self, messages: Sequence[Message], schema: Mapping[str, Any]
    ) -> tuple[ollama.ChatResponse, int]:
        """Return the answer, and the context size that it was asked with.

        The request is repeated after a transient error, and once with a larger context.
        """
        import_client()
        # Gemma has no system role, and other templates drop a system message. Which of them a
        # server uses is not known: newer servers (0.20) report `{{ .Prompt }}` as the template
        # of a model whose format is built in. So no model gets a system message: a suggestion
        # asks for nothing that a user could not, and code checks the answer.
        messages = without_system(messages)
        self._context = max(self._context, self.num_ctx or self._needed_context(messages))
        num_ctx = self.num_ctx or self._context
        limit, setting = time_limit(self.timeout)
        deadline = time.monotonic() + limit
        send = partial(self._send, messages, schema)
        try:
            try:
                return retry(partial(send, num_ctx), self._is_transient, deadline), num_ctx
            except client_errors() as error:
                before, num_ctx = num_ctx, self._enlarged(num_ctx, error)
                if num_ctx == before:
                    raise
            return retry(partial(send, num_ctx), self._is_transient, deadline), num_ctx
        except client_errors() as error:
            sentence = self._describe(error, messages, num_ctx)
            if is_timeout(error):
                sentence = (
                    f"{self._subject} did not answer within {limit:g} seconds"
                    f"{attempts_of(error)}: raise `{setting}`, or choose a smaller model."
                )
            raise LLMError(self._server.without_secrets(sentence)) from error

    def _send(
        self, messages: Sequence[Message], schema: Mapping[str, Any], num_ctx: int, seconds: float
    ) -> ollama.ChatResponse:
        with open_client(self._server, seconds) as client:
            response: ollama.ChatResponse = client.chat(
                self.model,
                messages=[dict(message) for message in messages],
                # Reasoning models reason by default; the other models accept False.
                think=self.think,
                format=dict(schema),
                options=self._options(num_ctx),
                keep_alive=self.keep_alive or _DEFAULT_KEEP_ALIVE,
            )
        return response

    def _options(self, num_ctx: int) -> dict[str, float]:
        n_threads = self.num_thread
        if n_threads is None:
            n_threads = max(1, (os.cpu_count() or 1) // 2) if self._server.is_local else 0
        return {
            "num_ctx": num_ctx,
            **({"num_thread": n_threads} if n_threads else {}),
            "num_predict": self.num_predict,
            "temperature": self.temperature,
            "seed": self.seed,
        }

    def _is_transient(self, error: Exception) -> bool:
        if is_unreachable(error):
            # A server that has answered before may just be restarting.
            return self._has_answered or self._details is not None
        self._has_answered = True
        return is_transient(error)

    @property
    def _limit(self) -> int | None:
        """The maximum context of the model in tokens; None if unknown."""
        return self._details.context_length if self._details else None

    def _may_reason(self) -> bool:
        return "thinking" in (self._known_details().capabilities or ())

    def _known_details(self) -> ModelDetails:
        if self._details is None:
            # An error is ignored here: the first question to the model has the same error.
            seconds = min(time_limit(self.timeout)[0], _DETAILS_TIMEOUT)
            with suppress(LLMError), suppress(*client_errors()):
                self._details = model_details(self._server, self.model, seconds)
        return self._details or ModelDetails()

    def _needed_context(self, messages: Sequence[Message]) -> int:
        n_tokens = estimated_tokens(messages) + 2 * self.num_predict
        return context_size(n_tokens, self._known_details().context_length)

    def _enlarged(self, num_ctx: int, error: Exception) -> int:
        """Return a larger context size if the estimated size was too small."""
        if self.num_ctx is not None or not is_too_long(error):
            return num_ctx
        counted = counted_tokens(error)
        needed = num_ctx * 2 if counted is None else counted + self.num_predict
        return max(num_ctx, context_size(needed, self._limit))

    def _text(self, response: ollama.ChatResponse, num_ctx: int) -> str:
        read = response.prompt_eval_count or 0
        if response.done and read >= num_ctx:
            # Servers that ignore `truncate` drop a part of the prompt.
            raise LLMError(self._describe_too_long(f"{read} prompt tokens read", num_ctx))
        asked = Asked(self.think, self.num_predict, num_ctx)
        if problem := problem_of(response, asked, self._may_reason):
            raise LLMError(f"{self._subject} {problem}.")
        return text_of(response)

    @property
    def _subject(self) -> str:
        return f"Model {self.model!r} of Ollama at {self.host}"

    def _describe(self, error: Exception, messages: Sequence[Message], num_ctx: int) -> str:
        if is_missing(error, self.model):
            names: list[str] = []
            with suppress(LLMError):
                installed = installed_models(self.host, headers=self._server.headers)
                names = [model.name for model in installed]
            return (
                f"Ollama at {self.host} has no model {self.model!r} (installed: "
                f"{list_names(names)}): run `ollama pull {self.model}`, or choose "
                "another model."
            )
        if is_too_long(error):
            counted = counted_tokens(error) or f"about {estimated_tokens(messages)}"
            return self._describe_too_long(f"it has {counted} tokens", num_ctx)
        return describe_failure(error, self._subject, self.host)

    def _describe_too_long(self, reason: str, num_ctx: int) -> str:
        prompt = f"The prompt does not fit model {self.model!r} of Ollama at {self.host}"
        if self._limit is not None and num_ctx >= self._limit:
            return (
                f"{prompt}, which holds at most {self._limit} tokens ({reason}): shorten the "
                "prompt, or choose a model with a longer context."
            )
        return (
            f"{prompt} with num_ctx={num_ctx} ({reason}): raise `num_ctx`, or shorten the prompt."
        )

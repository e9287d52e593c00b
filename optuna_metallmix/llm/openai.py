"""Ask models of a server that has an OpenAI-compatible API, such as vLLM or LM Studio.

The answer is constrained by ``response_format={"type": "json_schema", ...}``, which vLLM,
llama.cpp and LM Studio support. ``json_object`` is not used: LM Studio rejects it, and it does not
constrain the keys. If a server rejects the schema (status 400 or 422: older servers, and those
that cannot compile this schema), it is asked again with the schema as text in the last message.
If it rejects a system message, which Gemma's template does, it is asked again without one.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import time
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from typing import Any
from urllib.parse import urlsplit

import optuna

from optuna_metallmix.errors import LLMError
from optuna_metallmix.fork_lock import NO_FORK
from optuna_metallmix.llm.deadline import time_limit
from optuna_metallmix.llm.http import NOT_COMPRESSED
from optuna_metallmix.llm.http import SETUP_ERRORS
from optuna_metallmix.llm.http import SETUP_REMEDY
from optuna_metallmix.llm.http import is_loopback
from optuna_metallmix.llm.http import list_names
from optuna_metallmix.llm.http import read_bounded
from optuna_metallmix.llm.http import reason_of
from optuna_metallmix.llm.http import retry
from optuna_metallmix.llm.http import without_system
from optuna_metallmix.llm.protocol import MAX_NAME
from optuna_metallmix.llm.protocol import Message
from optuna_metallmix.llm.protocol import Usage
from optuna_metallmix.text import cut_middle


if TYPE_CHECKING:
    import openai

DEFAULT_URL = "http://localhost:8000/v1"
"""vLLM's default, and on this machine: by default, nothing is sent elsewhere."""

_KEY_VARIABLE = "OPENAI_API_KEY"

# "System role not supported", "Conversation roles must alternate user/assistant", "Only user and
# assistant roles are supported!"
_REJECTED_ROLE = re.compile(r"\brole(s|\b)", re.IGNORECASE)

# Seconds.
_CONNECT_TIMEOUT = 5.0
_LIST_TIMEOUT = 5.0

_ONLY_REASONING = re.compile(r"\s*<think>((?!</think>).)*(</think>\s*)?", re.DOTALL)

_logger = optuna.logging.get_logger("optuna.metallmix")


class OpenAILLM:
    """A model of an OpenAI-compatible server, with answers constrained to the schema.

    The object only holds settings, so threads may share it and it can be pickled; every call
    opens and closes its own connection. The key is read from the variable ``OPENAI_API_KEY`` at
    each call and not stored. A server that is starting (status 503) or drops the connection is
    asked up to two more times.

    Attributes:
        name: ``openai:`` and the model's name, as shown in trials and notes.
        base_url: The server's address.
        last_usage: The cost of the most recent answer; None before the first.
        is_constrained: Whether the server accepted the schema for the most recent answer; None
            before the first.
    """

    def __init__(
        self,
        model: str,
        base_url: str = DEFAULT_URL,
        *,
        timeout: float | None = None,
        max_tokens: int = 1024,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Store the settings without sending a request.

        Args:
            model: The model's name, as the server lists it.
            base_url: The address that the server prints; ``/v1`` is added if it has no path.
            timeout: Seconds to wait for an answer, above 0; None for what a sampler's
                ``llm_timeout`` leaves, or 120 without a sampler.
            max_tokens: Maximum length of an answer in tokens, at least 1; a longer answer is an
                error.
            temperature: Sampling temperature, at least 0.
            seed: Sampling seed.

        Raises:
            LLMError: The ``openai`` client is not installed.
            ValueError: ``model`` is empty, ``base_url`` is not an address, or a number is out of
                its range.
        """
        if not model.strip():
            raise ValueError("`model` must be the name of a model, as the server lists it.")
        if not ((timeout is None or timeout > 0) and max_tokens >= 1 and temperature >= 0):
            raise ValueError(
                "`timeout` must be above 0, `max_tokens` at least 1, and `temperature` at least 0."
            )
        _check_client()
        self.model = model.strip()
        self.base_url = checked_url(base_url)
        self.timeout = timeout
        self.max_tokens = max_tokens
        self.temperature = temperature
        self.seed = seed
        self.last_usage: Usage | None = None
        self.is_constrained: bool | None = None

    @property
    def name(self) -> str:
        """``openai:`` and the model's name."""
        return f"openai:{cut_middle(self.model, MAX_NAME)}"

    def __repr__(self) -> str:
        return f"OpenAILLM({self.model!r}, {self.base_url!r})"

    def check_available(self) -> None:
        """Check that the server answers and accepts the key, without asking the model.

        Raises:
            LLMError: It does not.
        """
        with NO_FORK:
            import openai

        try:
            _get_models(self.base_url)
        except openai.NotFoundError:
            pass  # a server need not list its models
        except _client_errors() as error:
            raise LLMError(_describe_failure(error, self.base_url)) from error

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Answer ``messages`` with one JSON document that ``schema`` describes.

        Raises:
            LLMError: The server or the model is absent, the answer takes longer than ``timeout``
                or ``max_tokens`` allow, or the server rejects the request or the model refuses.
        """
        started = time.perf_counter()
        limit, setting = time_limit(self.timeout)
        _logger.info(f"Asking {self.name} (up to {limit:g} s).")
        try:
            completion, is_constrained = self._complete(messages, schema, limit)
        except _client_errors() as error:
            raise LLMError(self._describe(error, limit, setting)) from error
        answer = self._answer(completion)
        self.is_constrained = is_constrained
        usage, seconds = getattr(completion, "usage", None), time.perf_counter() - started
        read = getattr(usage, "prompt_tokens", None)
        self.last_usage = Usage(read, getattr(usage, "completion_tokens", None), seconds)
        return answer

    def _complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], seconds: float
    ) -> tuple[object, bool]:
        """Return the completion, and whether the server accepted the schema."""
        with NO_FORK:
            import openai

        deadline = time.monotonic() + seconds
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(message) for message in messages],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
        }
        named = {"name": "answer", "schema": dict(schema), "strict": True}
        constraint = {"type": "json_schema", "json_schema": named}
        with _open_client(self.base_url, seconds) as client:

            def send(request: dict[str, Any]) -> object:
                create = partial(client.chat.completions.create, **request)
                return retry(lambda left: create(timeout=_timeouts(left)), _is_transient, deadline)

            try:
                return send({**request, "response_format": constraint}), True
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                merged = without_system(messages)
                if len(merged) < len(messages) and _REJECTED_ROLE.search(_error_reason(error)):
                    return self._complete(merged, schema, deadline - time.monotonic())
                # If the schema is not the reason, the second request is rejected as well.
                return send({**request, "messages": _with_schema(messages, schema)}), False

    def _answer(self, completion: object) -> str:
        # The client does not validate what the server sends.
        choices = getattr(completion, "choices", None)
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = getattr(choice, "message", None)
        if message is None:
            raise LLMError(_describe_not_openai(self.base_url))
        if problem := self._problem(choice, message):
            raise LLMError(f"{self._subject} {problem}.")
        return _extract_document(message.content)

    def _problem(self, choice: object, message: object) -> str | None:
        reason = getattr(choice, "finish_reason", None)
        content = getattr(message, "content", None)
        # Servers that know the model's format return its reasoning under either name.
        reasoning = getattr(message, "reasoning_content", "") or getattr(message, "reasoning", "")
        # Other servers leave it in the answer, with a closing tag only if it came to its end.
        if isinstance(content, str) and _ONLY_REASONING.fullmatch(content):
            reasoning, content = content, None
        if refusal := getattr(message, "refusal", None):
            return f"refused ({reason_of(refusal)}): choose another model"
        if reason == "length":
            return (
                f"was cut off{' while reasoning' if reasoning and not content else ''}: raise "
                f"`max_tokens` (now {self.max_tokens}) or the server's context size"
            )
        if reason == "content_filter":
            return "was stopped by the server's filter: choose another model"
        if isinstance(content, str) and content.strip():
            return None
        if reasoning:
            return "returned only reasoning tokens: disable reasoning in the server's settings"
        return "gave an empty answer: choose another model"

    @property
    def _subject(self) -> str:
        return f"Model {self.model!r} at {self.base_url}"

    def _describe(self, error: Exception, seconds: float, setting: str) -> str:
        import openai

        if isinstance(error, openai.APITimeoutError) and not _is_unreachable(error):
            return (
                f"{self._subject} did not answer within {seconds:g} seconds: raise "
                f"`{setting}`, or choose a smaller model."
            )
        # A missing model has status 404 (vLLM, Ollama) or 400; every server names it.
        may_be_missing = isinstance(error, openai.BadRequestError | openai.NotFoundError)
        if may_be_missing and self.model in _error_reason(error):
            with suppress(LLMError):
                names = served_models(self.base_url)
                if self.model not in names:
                    return (
                        f"The server at {self.base_url} has no model {self.model!r} (available: "
                        f"{list_names(names)}): choose one of these, or start the "
                        "server with yours."
                    )
        return _describe_failure(error, self.base_url)


def openai_model(base_url: str, model: str | None) -> OpenAILLM:
    """Create a model by its name, or the first model that the server lists.

    Models with ``embed`` in their name are only used if there is no other.

    Raises:
        LLMError: As :class:`OpenAILLM` and :func:`served_models`, or the server lists no model.
    """
    if model is None:
        names = served_models(base_url)
        if not names:
            raise LLMError(f"The server at {base_url} lists no model: load a model there.")
        model = min(names, key=lambda name: "embed" in name.lower())
    return OpenAILLM(model, base_url)


def checked_url(base_url: str) -> str:
    """Return the address without a trailing slash, and with ``/v1`` if it has no path.

    Raises:
        ValueError: ``base_url`` is not an address, or contains a password or a query.
    """
    try:
        parts = urlsplit(base_url.strip())
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise ValueError(
            f"{base_url!r} is not the address of an OpenAI-compatible server: it must start with "
            f"http:// or https://, such as {DEFAULT_URL}."
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "The address of an OpenAI-compatible server must not contain a user, password, query "
            f"or fragment: set a key in the variable {_KEY_VARIABLE} instead."
        )
    location = parts.netloc
    # A server that listens on all interfaces prints 0.0.0.0, and is reached through loopback.
    if parts.hostname == "0.0.0.0":
        location = location.replace("0.0.0.0", "127.0.0.1")
    return f"{parts.scheme}://{location}{parts.path.rstrip('/') or '/v1'}"


def served_models(base_url: str) -> list[str]:
    """List the models of a server, in the server's order.

    Raises:
        LLMError: The client is not installed, or no OpenAI-compatible server answers.
    """
    try:
        answer = _get_models(base_url)
    except _client_errors() as error:
        raise LLMError(_describe_failure(error, base_url)) from error
    models = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(models, list):
        raise LLMError(_describe_not_openai(base_url))
    return [str(model["id"]) for model in models if isinstance(model, dict) and "id" in model]


def _get_models(base_url: str) -> object:
    with _open_client(base_url, _LIST_TIMEOUT) as client:
        # Not `client.models.list()` (3.57), which raises an AttributeError on other documents.
        return client.get("/models", cast_to=object)


def _check_client() -> None:
    # Without importing it, which is slow.
    if importlib.util.find_spec("openai") is None:
        raise LLMError("The `openai` client is not installed: run `pip install openai`.")


def _open_client(base_url: str, timeout: float) -> openai.OpenAI:
    _check_client()
    with NO_FORK:
        import openai

    key = os.environ.get(_KEY_VARIABLE, "").strip()
    # The HTTP client's own error would show the key.
    if not (key.isascii() and key.isprintable()):
        raise LLMError(f"{_KEY_VARIABLE} must be printable ASCII: check the variable.")
    deadline = time.monotonic() + timeout
    try:
        http_client = openai.DefaultHttpxClient(
            # A proxy would take local requests off this machine, and so would a redirect.
            trust_env=not is_loopback(urlsplit(base_url).hostname or ""),
            follow_redirects=False,
            headers=NOT_COMPRESSED,
            event_hooks={"response": [partial(read_bounded, deadline=deadline)]},
        )
    except SETUP_ERRORS as error:
        raise LLMError(
            f"No client for the server at {base_url} can be opened ({error}): {SETUP_REMEDY}."
        ) from error
    return openai.OpenAI(
        api_key=key or "none",  # the client requires a key, which local servers ignore
        base_url=base_url,
        timeout=_timeouts(timeout),
        max_retries=0,
        http_client=http_client,
    )


def _timeouts(seconds: float) -> openai.Timeout:
    import openai

    return openai.Timeout(seconds, connect=min(seconds, _CONNECT_TIMEOUT))


def _client_errors() -> tuple[type[Exception], ...]:
    # Inside the function, because importing the client is slow.
    import openai

    return (openai.OpenAIError, json.JSONDecodeError, UnicodeDecodeError)


def _is_unreachable(error: Exception) -> bool:
    # By name, because the client's releases use different HTTP packages, httpx and httpx2.
    return type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")


def _is_transient(error: Exception) -> bool:
    """Return whether a retry may succeed: the server is starting, or closed the connection."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return error.status_code == 503
    is_dropped = isinstance(error, openai.APIConnectionError)
    is_dropped = is_dropped and not isinstance(error.__cause__, LLMError)
    return is_dropped and not (isinstance(error, openai.APITimeoutError) or _is_unreachable(error))


def _error_reason(error: Any) -> str:
    return reason_of(error.body, secret=os.environ.get(_KEY_VARIABLE, "").strip())


def _describe_failure(error: Exception, base_url: str) -> str:
    import openai

    if _is_unreachable(error):
        return (
            f"No server answers at {base_url}: start it, or pass the address that it prints, such "
            'as "openai:http://localhost:8000/v1".'
        )
    if isinstance(error, openai.APIStatusError):
        return _describe_status(error, base_url)
    if isinstance(error.__cause__, LLMError):  # of `read_bounded`
        return str(error.__cause__)
    if isinstance(error, openai.APIConnectionError):
        reason = reason_of(str(error.__cause__ or error))
        return (
            f"The server at {base_url} closed the connection ({reason}): see its log, and try "
            "again."
        )
    return _describe_not_openai(base_url)


def _describe_status(error: openai.APIStatusError, base_url: str) -> str:
    status, reason = error.status_code, _error_reason(error)
    server = f"The server at {base_url}"
    if status in (401, 403):
        return f"{server} rejected the key ({reason}): set {_KEY_VARIABLE} to the server's key."
    if status == 400 and "context" in reason:
        return (
            f"The prompt does not fit the model at {base_url} ({reason}): start the server with a "
            "longer context, or lower `max_tokens`."
        )
    if status in (429, 503):
        return f"{server} is busy ({reason}): try again later."
    if status == 404:
        return _describe_not_openai(base_url, f" (status 404, {reason})")
    return f"{server} rejected the request (status {status}, {reason}): see its log."


def _describe_not_openai(base_url: str, details: str = "") -> str:
    return (
        f"The server at {base_url} does not have an OpenAI-compatible API: pass the address that "
        f"the server prints, which usually ends in /v1{details}."
    )


def _with_schema(messages: Sequence[Message], schema: Mapping[str, Any]) -> list[Message]:
    # In the last message, because chat templates may reject another message or another role.
    *earlier, last = messages
    text = json.dumps(schema, ensure_ascii=False)
    content = f"{last['content']}\n\nThe JSON object follows this JSON schema: {text}"
    return [*earlier, {**last, "content": content}]


def _extract_document(content: str) -> str:
    """Remove the reasoning, the prose or the code fence around an answer."""
    text = content.strip()
    if not text.startswith("{"):
        text = text.rpartition("</think>")[2]
        start, end = text.find("{"), text.rfind("}")
        text = text[start : end + 1] if 0 <= start < end else text
    return text.strip()

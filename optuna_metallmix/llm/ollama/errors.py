"""Classify the errors of Ollama's client, and turn them into sentences that say what to do."""

from __future__ import annotations

import json
import re
from types import ModuleType

from optuna_metallmix.errors import LLMError
from optuna_metallmix.fork_lock import NO_FORK
from optuna_metallmix.llm.http import NO_REASON
from optuna_metallmix.llm.http import SETUP_ERRORS
from optuna_metallmix.llm.http import SETUP_REMEDY
from optuna_metallmix.llm.http import attempts_of
from optuna_metallmix.llm.http import reason_of


KEY_VARIABLE = "OLLAMA_API_KEY"
"""Ollama's client sends this variable as a bearer token, unless a header sets another."""

# The model's process died; the next question starts it again.
_TRANSIENT = ("unexpected eof", "unexpectedly stopped")

# Reasons of a status 400, by version: "request (710 tokens) exceeds the available context size
# (256 tokens)" and "the prompt is longer than the context length currently available" (0.32),
# "the input length exceeds the context length" (0.24).
_TOO_LONG = re.compile(r"(exceeds?|longer than) the (available )?context")
_PROMPT_TOKENS = re.compile(r"request \((\d+) tokens\)")

# What the reason of a status 400 or 500 contains, and what to do about it.
_REMEDIES = (
    (r"does not support thinking", "pass `think=None`, or choose a reasoning model"),
    (r"json.schema|invalid format|grammar", "simplify the schema, or choose another model"),
    (r"memory", "choose a smaller model, lower `num_ctx`, or free memory on the server"),
    (r"does not support (chat|generate)", "choose a model that writes text"),
    (r"option |invalid |duration", "check the settings of the model"),
)


def import_client() -> ModuleType:
    """Import Ollama's client.

    Raises:
        LLMError: The environment prevents it: the package (0.6.3) opens a client of its own, with
            the proxies and the ``OLLAMA_HOST`` of the environment.
    """
    try:
        with NO_FORK:
            import ollama
    except SETUP_ERRORS as error:
        raise LLMError(
            f"Ollama's client cannot be imported ({error}): {SETUP_REMEDY}, and OLLAMA_HOST."
        ) from error
    return ollama


def client_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that the client raises if the server or the connection fails.

    Raises:
        LLMError: As :func:`import_client`.
    """
    ollama = import_client()
    # Inside the function, because importing these packages is slow.
    import httpx
    import pydantic

    not_ollama = (json.JSONDecodeError, UnicodeDecodeError, pydantic.ValidationError)
    return (ollama.ResponseError, ConnectionError, httpx.HTTPError, httpx.InvalidURL, *not_ollama)


def is_unreachable(error: Exception) -> bool:
    """Return whether no connection could be opened."""
    import httpx

    return isinstance(error, ConnectionError | httpx.ConnectError | httpx.ConnectTimeout)


def is_timeout(error: Exception) -> bool:
    """Return whether a connection was opened, but no answer came in time."""
    import httpx

    return isinstance(error, httpx.TimeoutException) and not is_unreachable(error)


def is_transient(error: Exception) -> bool:
    """Return whether a retry may succeed.

    This is the case for a full queue, a dropped connection, and a model's process that died, but
    not for every status 500: invalid schemas and options have the same status.
    """
    import httpx

    if _reason(error, 503) or any(words in _reason(error, 500).lower() for words in _TRANSIENT):
        return True
    return isinstance(error, httpx.RemoteProtocolError | httpx.ReadError | httpx.WriteError)


def is_too_long(error: Exception) -> bool:
    """Return whether the server rejected a prompt that exceeds the requested context."""
    return _TOO_LONG.search(_reason(error, 400)) is not None


def counted_tokens(error: Exception) -> int | None:
    """Return the number of tokens of a prompt that is too long, if the server reports it."""
    match = _PROMPT_TOKENS.search(_reason(error, 400))
    return int(match[1]) if match else None


def is_missing(error: Exception, model: str) -> bool:
    """Return whether the server has no such model."""
    reason = _reason(error, 404).lower()
    return "not found" in reason and model.split(":")[0].lower() in reason


def describe_failure(error: Exception, subject: str, address: str) -> str:
    """Describe any of :func:`client_errors`, and say what to do.

    Args:
        error: What the client raised.
        subject: The subject of the sentence if the server rejected the request.
        address: The server's URL.
    """
    import httpx
    import ollama

    if is_unreachable(error):
        return (
            f"No Ollama server answers at {address}{attempts_of(error)}: start it with `ollama "
            "serve`, or set OLLAMA_HOST to its address."
        )
    if isinstance(error, ollama.ResponseError):
        status, reason = error.status_code, reason_of(error.error)
        problem = f"failed with status {status} ({reason}{attempts_of(error)})"
        return f"{subject} {problem}: {_remedy(status, reason)}."
    if isinstance(error, httpx.LocalProtocolError):
        # Its text would reveal the header.
        return f"A request to {address} cannot be sent: check `headers` and {KEY_VARIABLE}."
    if is_timeout(error):
        return f"Ollama at {address} does not answer in time: try again when it is less busy."
    if isinstance(error, httpx.HTTPError) and not isinstance(error, httpx.DecodingError):
        reason = reason_of(str(error)) + attempts_of(error)
        return (
            f"Ollama at {address} closed the connection ({reason}): see the server's log, and try "
            "again."
        )
    return f"The server at {address} is not Ollama: set OLLAMA_HOST to Ollama's address."


def _reason(error: Exception, status: int) -> str:
    """Return the reason of an error with this status; empty for any other error."""
    import ollama

    if isinstance(error, ollama.ResponseError) and error.status_code == status:
        return reason_of(error.error)
    return ""


def _remedy(status: int, reason: str) -> str:
    if status == 503:
        return "the server is busy, try again later"
    if status in (502, 504):
        return "the proxy there gets no answer from Ollama, start it with `ollama serve`"
    if 300 <= status < 400:
        return "set OLLAMA_HOST to the address that it redirects to"
    if "cloud" in reason:
        return "choose a model whose weights are on the server"
    if status == 403 and reason == NO_REASON:
        return "set OLLAMA_HOST to a host name that the server accepts, or to its IP address"
    if status in (401, 403):
        return f"pass `headers` with the credentials, or set {KEY_VARIABLE}"
    if status in (400, 500):
        for pattern, remedy in _REMEDIES:
            if re.search(pattern, reason, re.IGNORECASE):
                return remedy
    return "see the server's log, or choose another model"

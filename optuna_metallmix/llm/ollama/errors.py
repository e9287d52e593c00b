"""what Ollama's client raises -> whether it passes, and a sentence that says what to do."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any


KEY_VARIABLE = "OLLAMA_API_KEY"
"""The variable that Ollama's client sends as a bearer token, where no header does so."""

# Characters: a proxy may answer with a whole page.
_LONGEST_REASON = 300

# A model's process that died is started again with the next question.
_PASSING = ("unexpected eof", "unexpectedly stopped")

# Of a status 400, by version: "request (710 tokens) exceeds the available context size (256
# tokens)" and "the prompt is longer than the context length currently available" (0.32), "the
# input length exceeds the context length" (0.24).
_TOO_LONG = re.compile(r"(exceeds?|longer than) the (available )?context")
_READ_TOKENS = re.compile(r"request \((\d+) tokens\)")

# What a refusal with status 400 or 500 contains, and what to do about it.
_REMEDIES = (
    (r"does not support thinking", "pass `think=None`, or choose a model that thinks"),
    (r"json.schema|invalid format|grammar", "simplify the schema, or choose another model"),
    (r"memory", "choose a smaller model, lower `num_ctx`, or free memory on the server"),
    (r"does not support (chat|generate)", "choose a model that writes text"),
    (r"option |invalid |duration", "mend the setting that it names"),
)


def client_errors() -> tuple[type[Exception], ...]:
    """List what a client raises where the server, not this package, is at fault."""
    # Three families of the client's own, and what it raises where something else than Ollama
    # answers. A tuple made on use, so that neither package is imported before.
    import httpx
    import ollama
    import pydantic

    strange = (json.JSONDecodeError, UnicodeDecodeError, pydantic.ValidationError)
    return (ollama.ResponseError, ConnectionError, httpx.HTTPError, httpx.InvalidURL, *strange)


def never_connected(error: Exception) -> bool:
    """Whether nobody took the connection."""
    import httpx

    return isinstance(error, ConnectionError | httpx.ConnectError | httpx.ConnectTimeout)


def is_timeout(error: Exception) -> bool:
    """Whether the connection was taken, but no answer came in time."""
    import httpx

    return isinstance(error, httpx.TimeoutException) and not never_connected(error)


def is_passing(error: Exception) -> bool:
    """Whether the same question may be answered in a moment.

    A full queue, a connection that was dropped, a model's process that died. A status 500 alone
    is none: schemas and options that cannot be have it too.
    """
    import httpx
    import ollama

    if isinstance(error, ollama.ResponseError):
        reason = innermost(error.error).lower()
        died = error.status_code == 500 and any(one in reason for one in _PASSING)
        return error.status_code == 503 or died
    dropped = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
    return isinstance(error, dropped)


def is_too_long(error: Exception) -> bool:
    """Whether the server refused a prompt longer than the context it was asked for."""
    import ollama

    if not isinstance(error, ollama.ResponseError) or error.status_code != 400:
        return False
    return _TOO_LONG.search(innermost(error.error)) is not None


def counted_tokens(error: Exception) -> int | None:
    """Return how many tokens the server counted in a prompt that is too long, where it says so."""
    found = _READ_TOKENS.search(innermost(getattr(error, "error", "")))
    return int(found[1]) if found else None


def is_missing(error: Exception, model: str) -> bool:
    """Whether the server says that it has no such model."""
    import ollama

    if not isinstance(error, ollama.ResponseError) or error.status_code != 404:
        return False
    reason = innermost(error.error).lower()
    return "not found" in reason and model.split(":")[0].lower() in reason


def why_refused(error: Any, who: str, tried: str = "") -> str:
    """Put a refusal (an ``ollama.ResponseError``) to answer into a sentence.

    Args:
        error: The refusal.
        who: The model and the server's address, to begin the sentence with.
        tried: How often it was tried, where that was more than once.
    """
    status, reason = error.status_code, innermost(error.error)
    return f"{who} refused with status {status} ({reason}{tried}): {_remedy(status, reason)}."


def why_no_answer(error: Exception, address: str, tried: str = "") -> str:
    """Put one of :func:`client_errors` into a sentence that says what to do next."""
    import httpx
    import ollama

    if never_connected(error):
        return (
            f"No Ollama server answers at {address}{tried}: start it with `ollama serve`, or set "
            "OLLAMA_HOST to where it runs."
        )
    if isinstance(error, ollama.ResponseError):
        return why_refused(error, f"Ollama at {address}", tried)
    if isinstance(error, httpx.LocalProtocolError):
        # Its text would show the header that it is about.
        return f"A request to {address} cannot be sent: mend `headers` and {KEY_VARIABLE}."
    if is_timeout(error):
        return f"Ollama at {address} does not answer in time: try again when it has less to do."
    if isinstance(error, httpx.HTTPError) and not isinstance(error, httpx.DecodingError):
        return (
            f"Ollama at {address} broke off ({innermost(str(error))}{tried}): see the server's "
            "log, and try again."
        )
    return f"What answers at {address} is not Ollama: set OLLAMA_HOST to where Ollama runs."


def _remedy(status: int, reason: str) -> str:
    if status == 503:
        return "it is busy, try again when it has less to do"
    if 300 <= status < 400:
        return "set OLLAMA_HOST to the address that it redirects to"
    if "cloud" in reason:
        return "choose a model whose weights are on the server"
    if status == 403 and not reason:
        return "set OLLAMA_HOST to a name that the server takes for its own, or its IP address"
    if status in (401, 403):
        return f"pass `headers` with what it asks for, or set {KEY_VARIABLE}"
    if status in (400, 500):
        for pattern, remedy in _REMEDIES:
            if re.search(pattern, reason, re.IGNORECASE):
                return remedy
    return "see the server's log, or choose another model"


def innermost(reason: object) -> str:
    """Unwrap a message to one line: newer servers pass on their runner's as JSON in a string."""
    # The string holds {"error": {"code": 400, "message": "...", "type": "..."}}.
    if isinstance(reason, str):
        with suppress(json.JSONDecodeError):
            reason = json.loads(reason)
    for key in ("error", "message"):
        if isinstance(reason, dict):
            reason = reason.get(key, reason)
    return " ".join(str(reason).split())[:_LONGEST_REASON]

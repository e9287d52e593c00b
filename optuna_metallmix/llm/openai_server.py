"""Talk to a server that speaks OpenAI's protocol: its address, a client for it, and its errors."""

from __future__ import annotations

import importlib.util
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import SplitResult
from urllib.parse import urlsplit

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm.http import is_loopback
from optuna_metallmix.llm.http import reason_of


if TYPE_CHECKING:
    import openai

DEFAULT_URL = "http://localhost:8000/v1"
"""vLLM's default, and on this machine: by default, nothing is sent elsewhere."""

_INSTALL_COMMAND = 'pip install "optuna-metallmix[openai]"'

_KEY_VARIABLE = "OPENAI_API_KEY"

# The client requires a key, which local servers ignore.
_NO_KEY = "none"

# Seconds.
_CONNECT_TIMEOUT = 5.0
_LIST_TIMEOUT = 5.0


def check_client() -> None:
    """Check that the ``openai`` client is installed, without importing it.

    Raises:
        LLMError: It is not installed.
    """
    if importlib.util.find_spec("openai") is None:
        raise LLMError(f"The `openai` client is not installed: run `{_INSTALL_COMMAND}`.")


def is_spec(spec: str) -> bool:
    """Return whether ``spec`` names a model of an OpenAI-compatible server."""
    return spec.partition(":")[0] == "openai"


def read_spec(spec: str) -> tuple[str, str | None]:
    """Split ``"openai:URL#MODEL"``, whose URL and model are optional, into address and model.

    Raises:
        ValueError: As :func:`checked_url`.
    """
    url, _, model = spec.removeprefix("openai").removeprefix(":").partition("#")
    return checked_url(url or DEFAULT_URL), model.strip() or None


def checked_url(base_url: str) -> str:
    """Return the address without a trailing slash, and with ``/v1`` if it has no path.

    Raises:
        ValueError: ``base_url`` is not an address, or contains a password or a query.
    """
    parts = _split(base_url)
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


def served_models(base_url: str, timeout: float = _LIST_TIMEOUT) -> list[str]:
    """List the models of a server, in the server's order.

    Args:
        base_url: As :func:`checked_url` returns it.
        timeout: Seconds to wait, above 0.

    Raises:
        LLMError: The client is not installed, or no OpenAI-compatible server answers.
    """
    try:
        with open_client(base_url, timeout) as client:
            # Not `client.models.list()` (3.57), which raises an AttributeError on other documents.
            answer = client.get("/models", cast_to=object)
    except client_errors() as error:
        raise LLMError(describe_failure(error, base_url)) from error
    models = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(models, list):
        raise LLMError(describe_not_openai(base_url))
    return [str(model["id"]) for model in models if isinstance(model, dict) and "id" in model]


def open_client(base_url: str, timeout: float) -> openai.OpenAI:
    """Open a client that waits ``timeout`` seconds, to be closed by its ``with`` statement.

    Raises:
        LLMError: The client is not installed, or the key in the environment cannot be sent.
    """
    check_client()
    import openai

    return openai.OpenAI(
        api_key=_key(),
        base_url=base_url,
        timeout=openai.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT)),
        max_retries=0,
        http_client=openai.DefaultHttpxClient(
            # A proxy would take local requests off this machine, and so would a redirect.
            trust_env=not is_loopback(urlsplit(base_url).hostname or ""),
            follow_redirects=False,
        ),
    )


def client_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that the client raises if the server or the connection fails."""
    # Inside the function, because importing the client is slow.
    import openai

    return (openai.OpenAIError, json.JSONDecodeError, UnicodeDecodeError)


def is_unreachable(error: Exception) -> bool:
    """Return whether no connection could be opened."""
    # By name, because the client's releases use different HTTP packages, httpx and httpx2.
    return type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")


def is_transient(error: Exception) -> bool:
    """Return whether a retry may succeed: the server is starting, or closed the connection."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return error.status_code == 503
    is_dropped = isinstance(error, openai.APIConnectionError)
    return is_dropped and not (isinstance(error, openai.APITimeoutError) or is_unreachable(error))


def refusal_reason(error: openai.APIStatusError) -> str:
    """Return the server's own reason for a refusal, without the key."""
    return reason_of(error.body, secret=os.environ.get(_KEY_VARIABLE, "").strip())


def describe_failure(error: Exception, base_url: str) -> str:
    """Describe any of :func:`client_errors`, and say what to do."""
    import openai

    if is_unreachable(error):
        return (
            f"No server answers at {base_url}: start it, or pass the address that it prints, such "
            'as "openai:http://localhost:8000/v1".'
        )
    if isinstance(error, openai.APIStatusError):
        return _describe_refusal(error, base_url)
    if isinstance(error, openai.APIConnectionError):
        return (
            f"The server at {base_url} closed the connection ({error.__cause__ or error}): see "
            "its log, and try again."
        )
    return describe_not_openai(base_url)


def describe_not_openai(base_url: str) -> str:
    """Describe an answer that is not of OpenAI's protocol, and say what to do."""
    return (
        f"The server at {base_url} does not speak OpenAI's protocol: pass the address that the "
        "server prints, which usually ends in /v1."
    )


def _describe_refusal(error: openai.APIStatusError, base_url: str) -> str:
    status, reason = error.status_code, refusal_reason(error)
    server = f"The server at {base_url}"
    if status in (401, 403):
        return f"{server} refused the key ({reason}): set {_KEY_VARIABLE} to the server's key."
    if status == 400 and "context" in reason:
        return (
            f"The prompt does not fit the model at {base_url} ({reason}): start the server with a "
            "longer context, or lower `max_tokens`."
        )
    if status in (429, 503):
        return f"{server} is busy ({reason}): try again later."
    if status == 404:
        return f"{describe_not_openai(base_url)[:-1]} (status 404, {reason})."
    return f"{server} refused (status {status}, {reason}): see its log."


def _split(base_url: str) -> SplitResult:
    with suppress(ValueError):
        parts = urlsplit(base_url.strip())
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    raise ValueError(
        f"{base_url!r} is not the address of an OpenAI-compatible server: it must start with "
        f"http:// or https://, such as {DEFAULT_URL}."
    )


def _key() -> str:
    key = os.environ.get(_KEY_VARIABLE, "").strip() or _NO_KEY
    # The HTTP client's own error would show the key.
    if not (key.isascii() and key.isprintable()):
        raise LLMError(f"{_KEY_VARIABLE} must be printable ASCII: check the variable.")
    return key

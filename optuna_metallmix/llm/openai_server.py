"""an address -> a server that speaks OpenAI's protocol: its client, its models, its failures."""

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
"""Where vLLM listens, and nothing but this machine: never a service of somebody's."""

INSTALL_CLIENT = 'pip install "optuna-metallmix[openai]"'

_KEY_VARIABLE = "OPENAI_API_KEY"

# What is sent where no key is set: the client insists on one, and local servers do not read it.
_NO_KEY = "none"

_CONNECT_SECONDS = 5.0
_LIST_SECONDS = 5.0


def check_client() -> None:
    """Look whether the client is installed; does not import it.

    Raises:
        LLMError: It is not.
    """
    if importlib.util.find_spec("openai") is None:
        raise LLMError(
            f"A model behind OpenAI's protocol needs the `openai` client: run `{INSTALL_CLIENT}`."
        )


def is_spec(spec: str) -> bool:
    """Whether a string asks for an OpenAI-compatible server."""
    return spec.partition(":")[0] == "openai"


def read_spec(spec: str) -> tuple[str, str | None]:
    """Read ``"openai:URL#MODEL"``, both of them optional, into address and model.

    Raises:
        ValueError: As :func:`checked_url`.
    """
    place, _, model = spec.removeprefix("openai").removeprefix(":").partition("#")
    return checked_url(place or DEFAULT_URL), model.strip() or None


def checked_url(base_url: str) -> str:
    """Return the address without its last slash, with ``/v1`` where it has no path.

    Raises:
        ValueError: It is not an address, or holds a password or a query.
    """
    parts = _split(base_url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "The address of an OpenAI-compatible server holds no user, password, query or "
            f"fragment: set a key in the variable {_KEY_VARIABLE} alone."
        )
    place = parts.netloc
    # A server that listens everywhere prints 0.0.0.0: from its own machine that is loopback.
    if parts.hostname == "0.0.0.0":
        place = place.replace("0.0.0.0", "127.0.0.1")
    return f"{parts.scheme}://{place}{parts.path.rstrip('/') or '/v1'}"


def _split(base_url: str) -> SplitResult:
    with suppress(ValueError):
        parts = urlsplit(base_url.strip())
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    raise ValueError(
        f"{base_url!r} is not the address of an OpenAI-compatible server: write it with http:// "
        f"or https://, such as {DEFAULT_URL}."
    )


def served_models(base_url: str, timeout: float = _LIST_SECONDS) -> list[str]:
    """Ask the server which models it has, in its own order.

    Args:
        base_url: As :func:`checked_url` returns it.
        timeout: Seconds to wait, above 0.

    Raises:
        LLMError: The client is not installed, or nothing there answers as OpenAI's servers do.
    """
    try:
        with open_client(base_url, timeout) as client:
            listed = getattr(client.models.list(), "data", None)
    except client_errors() as error:
        raise LLMError(why_no_answer(error, base_url)) from error
    if not isinstance(listed, list):
        raise LLMError(why_not_openai(base_url))
    return [name for model in listed if isinstance(name := getattr(model, "id", None), str)]


def open_client(base_url: str, timeout: float) -> openai.OpenAI:
    """Open a client that asks once, waits ``timeout`` seconds, and goes nowhere else.

    Raises:
        LLMError: The client is not installed, or the key cannot be one.
    """
    check_client()
    import openai

    return openai.OpenAI(
        api_key=_key(),
        base_url=base_url,
        timeout=openai.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
        max_retries=0,
        http_client=openai.DefaultHttpxClient(
            # HTTP_PROXY would take a request to this machine somewhere else, and so would a
            # redirect.
            trust_env=not is_loopback(urlsplit(base_url).hostname or ""),
            follow_redirects=False,
        ),
    )


def client_errors() -> tuple[type[Exception], ...]:
    """List what a client raises where the server, not this package, is at fault."""
    # A tuple made on use, so that the client is not imported before.
    import openai

    return (openai.OpenAIError, json.JSONDecodeError, UnicodeDecodeError)


def is_passing(error: Exception) -> bool:
    """Whether the server is starting, is full, or broke the connection: that may pass."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return error.status_code == 503
    broke_off = isinstance(error, openai.APIConnectionError)
    return broke_off and not (isinstance(error, openai.APITimeoutError) or never_connected(error))


def never_connected(error: Exception) -> bool:
    """Whether nobody took the connection."""
    # By name: the client changed from httpx to httpx2, whose classes are others.
    return type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")


def why_no_answer(error: Exception, base_url: str) -> str:
    """Put one of :func:`client_errors` into a sentence that says what to do next."""
    import openai

    if never_connected(error):
        return (
            f"Nothing answers at {base_url}: start the server, or name the address that it "
            'prints, such as "openai:http://localhost:8000/v1".'
        )
    if isinstance(error, openai.APIStatusError):
        return _why_refused(error, base_url)
    if isinstance(error, openai.APIConnectionError):
        return (
            f"The server at {base_url} broke off ({error.__cause__ or error}): see its log, and "
            "try again."
        )
    return why_not_openai(base_url)


def why_not_openai(base_url: str) -> str:
    """Say that something else answers."""
    return (
        f"What answers at {base_url} does not speak OpenAI's protocol: name the address that the "
        "server prints, which mostly ends in /v1."
    )


def refusal_of(error: openai.APIStatusError) -> str:
    """Return the server's own reason, without the key where it repeats that."""
    return reason_of(error.body, secret=os.environ.get(_KEY_VARIABLE, "").strip())


def _why_refused(error: openai.APIStatusError, base_url: str) -> str:
    status, reason = error.status_code, refusal_of(error)
    if status in (401, 403):
        return (
            f"The server at {base_url} wants another key ({reason}): set {_KEY_VARIABLE} to the "
            "one it was started with."
        )
    if status == 400 and "context" in reason:
        return (
            f"The prompt does not fit the model at {base_url} ({reason}): start the server with a "
            "longer context, or lower `max_tokens`."
        )
    if status in (429, 503):
        return f"The server at {base_url} is busy ({reason}): try again when it has less to do."
    if status == 404:
        return f"{why_not_openai(base_url)[:-1]} (status 404, {reason})."
    return f"The server at {base_url} refused (status {status}, {reason}): see its log."


def _key() -> str:
    key = os.environ.get(_KEY_VARIABLE, "").strip() or _NO_KEY
    # The HTTP client would quote what it cannot send.
    if not (key.isascii() and key.isprintable()):
        raise LLMError(f"{_KEY_VARIABLE} holds characters that no key has: set it anew.")
    return key

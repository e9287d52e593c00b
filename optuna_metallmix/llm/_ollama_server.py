"""an Ollama server's address -> its client, its models, its failures in words."""

from __future__ import annotations

import ipaddress
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult
from urllib.parse import urlsplit

from optuna_metallmix._errors import LLMError


if TYPE_CHECKING:
    import httpx
    import ollama


_CONNECT_SECONDS = 5.0
_LIST_SECONDS = 1.0

# Characters: a proxy may answer with a whole page.
_LONGEST_REASON = 300


@dataclass(frozen=True)
class InstalledModel:
    """A model that an Ollama server lists.

    Attributes:
        name: As Ollama calls it, with its tag: ``qwen3:8b``.
        size: Bytes on the server's disk, at least 0; a few hundred where the weights are remote.
    """

    name: str
    size: int


def installed_models(
    host: str | None = None, timeout: float = _LIST_SECONDS
) -> list[InstalledModel]:
    """Ask the server which models it has, in its own order.

    Args:
        host: As for :class:`OllamaLLM`.
        timeout: Seconds to wait, above 0.

    Raises:
        LLMError: Nothing at that address answers as Ollama does.
    """
    address = server_address(host)
    try:
        with open_client(address, timeout) as client:
            models = client.list().models
    except client_errors() as error:
        raise LLMError(why_no_answer(error, address)) from error
    return [InstalledModel(m.model, int(m.size or 0)) for m in models if m.model]


def can_chat(model: str, host: str | None = None, timeout: float = _LIST_SECONDS) -> bool:
    """Ask the server whether ``model`` writes text; an embedding model does not.

    Args:
        model: As Ollama calls it.
        host: As for :class:`OllamaLLM`.
        timeout: Seconds to wait, above 0.

    Raises:
        LLMError: The server is gone, or does not know the model.
    """
    address = server_address(host)
    try:
        with open_client(address, timeout) as client:
            capabilities = client.show(model).capabilities
    except client_errors() as error:
        raise LLMError(why_no_answer(error, address)) from error
    # Old servers list no capabilities: their models are given the benefit of the doubt.
    return capabilities is None or "completion" in capabilities


def open_client(address: str, timeout: float) -> ollama.Client:
    """Open a client for ``address``, a URL, that waits ``timeout`` seconds for each answer."""
    import httpx
    import ollama

    return ollama.Client(
        address,
        timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
        # HTTP_PROXY would take a request to this machine somewhere else.
        trust_env=not _is_loopback(urlsplit(address).hostname or ""),
        event_hooks={"request": [_forbid_truncation]},
    )


def _forbid_truncation(request: httpx.Request) -> None:
    # `Client.chat` (0.6.3) has no such argument, and a server that is not told (0.24, 0.32) drops
    # what exceeds the context without a word, the history first.
    import httpx

    if not request.url.path.endswith("/api/chat"):
        return
    body = json.dumps({**json.loads(request.content), "truncate": False}).encode()
    request.stream = httpx.ByteStream(body)
    request.headers["Content-Length"] = str(len(body))


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


def why_no_answer(error: Exception, address: str) -> str:
    """Put one of :func:`client_errors` into a sentence that says what to do next."""
    import httpx
    import ollama

    if never_connected(error):
        return (
            f"No Ollama server answers at {address}: start it with `ollama serve`, or set "
            "OLLAMA_HOST to where it runs."
        )
    if isinstance(error, ollama.ResponseError):
        reason = f"status {error.status_code}, {innermost(error.error)}"
        return f"Ollama at {address} refused ({reason}): see the server's log."
    if isinstance(error, httpx.HTTPError):
        return f"Ollama at {address} broke off ({error}): see the server's log, and try again."
    return f"What answers at {address} is not Ollama: set OLLAMA_HOST to where Ollama runs."


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


def server_address(host: str | None) -> str:
    """Complete ``host`` to a URL, by the rules of Ollama's own client.

    Raises:
        LLMError: It is not an address.
    """
    given = (host or os.environ.get("OLLAMA_HOST") or "127.0.0.1").strip().strip("\"'")
    try:
        parts = urlsplit(given if "://" in given else f"http://{given}")
        port = parts.port or _default_port(given, parts)
    except ValueError as error:
        raise LLMError(
            f"{given!r} is not the address of an Ollama server ({error}): set OLLAMA_HOST to "
            "HOST:PORT or to a URL."
        ) from error
    # A server told to listen everywhere (0.0.0.0) is reached from its own machine by loopback.
    name = parts.hostname or "127.0.0.1"
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)
    bracketed = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{bracketed}:{port}{parts.path.rstrip('/')}"


def _default_port(given: str, parts: SplitResult) -> int:
    if "://" not in given:
        return 11434
    return 443 if parts.scheme == "https" else 80


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False

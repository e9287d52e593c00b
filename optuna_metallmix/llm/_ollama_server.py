"""an Ollama server's address and headers -> a client for it."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from urllib.parse import SplitResult
from urllib.parse import urlsplit

from optuna_metallmix._errors import LLMError
from optuna_metallmix.llm._http import is_loopback


if TYPE_CHECKING:
    import httpx
    import ollama


KEY_VARIABLE = "OLLAMA_API_KEY"
"""The variable that Ollama's client sends as a bearer token, where no header does so."""

_CONNECT_SECONDS = 5.0

# Characters: anything shorter would be found in innocent words.
_SHORTEST_SECRET = 8

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True)
class Server:
    """Where an Ollama server is, and what goes along with each request.

    Attributes:
        address: A URL.
        headers: Sent with every request. They may hold a key, so that nothing shows them.
    """

    address: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_local(self) -> bool:
        """Whether it runs on this machine."""
        return is_loopback(urlsplit(self.address).hostname or "")

    def without_secrets(self, text: str) -> str:
        """Take out of ``text``, which may quote a server, what the headers hold."""
        for value in (*self.headers.values(), os.environ.get(KEY_VARIABLE, "")):
            for word in value.split():
                if len(word) >= _SHORTEST_SECRET:
                    text = text.replace(word, "***")
        return text


def server_at(host: str | None, headers: Mapping[str, str] | None = None) -> Server:
    """Find a server by the rules of Ollama's own client, and check what is to be sent to it.

    Raises:
        LLMError: ``host`` is not an address.
        ValueError: A header cannot be sent.
    """
    sent = {name: str(value).strip() for name, value in (headers or {}).items()}
    for name, value in sent.items():
        if not _HEADER_NAME.fullmatch(name) or not _is_sendable(value):
            raise ValueError(
                f"The header {name!r} cannot be sent: name and value are printable ASCII, the "
                "name without spaces or colons."
            )
    return Server(server_address(host), sent)


def open_client(server: Server, timeout: float, seen: list[bytes] | None = None) -> ollama.Client:
    """Open a client that waits ``timeout`` seconds for each answer.

    Args:
        server: The server to ask.
        timeout: Seconds, above 0.
        seen: Is given the body of each answer, for the client leaves out what it does not know.

    Raises:
        httpx.LocalProtocolError: The key in the environment cannot be sent.
    """
    import httpx
    import ollama

    def look(response: httpx.Response) -> None:
        _check_document(response)
        if seen is not None:
            seen.append(response.content)

    if not _is_sendable(os.environ.get(KEY_VARIABLE, "")):
        raise httpx.LocalProtocolError(f"{KEY_VARIABLE} is not printable ASCII")
    return ollama.Client(
        server.address,
        headers=server.headers,
        timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
        # HTTP_PROXY would take a request to this machine somewhere else, and a redirect both the
        # request and its headers.
        trust_env=not server.is_local,
        follow_redirects=False,
        event_hooks={"request": [_forbid_truncation], "response": [look]},
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


def _check_document(response: httpx.Response) -> None:
    # On a JSON document that is no object the client (0.6.3) stumbles over its own feet.
    import httpx

    response.read()
    with suppress(ValueError):
        if not isinstance(response.json(), dict):
            raise httpx.DecodingError("not a JSON object", request=response.request)


def _is_sendable(value: str) -> bool:
    return value.isascii() and value.isprintable() and value == value.strip()


def server_address(host: str | None) -> str:
    """Complete ``host`` to a URL, by the rules of Ollama's own client.

    Raises:
        LLMError: It is not an address.
    """
    given = (host or os.environ.get("OLLAMA_HOST") or "127.0.0.1").strip().strip("\"'")
    given = f"[{given}]" if _is_bare_ipv6(given) else given
    try:
        parts = urlsplit(given if "://" in given else f"http://{given}")
        port = parts.port or _default_port(given, parts)
        if parts.scheme not in ("http", "https"):
            raise ValueError("neither http nor https")
    except ValueError as error:
        raise LLMError(
            f"{given.rpartition('@')[2]!r} is not the address of an Ollama server ({error}): set "
            "OLLAMA_HOST to HOST:PORT or to a URL."
        ) from error
    # A server told to listen everywhere (0.0.0.0) is reached from its own machine by loopback.
    name = parts.hostname or "127.0.0.1"
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)
    bracketed = f"[{name}]" if ":" in name else name
    path = parts.path.strip("/")
    return f"{parts.scheme}://{bracketed}:{port}" + (f"/{path}" if path else "")


def _default_port(given: str, parts: SplitResult) -> int:
    if "://" not in given:
        return 11434
    return 443 if parts.scheme == "https" else 80


def _is_bare_ipv6(given: str) -> bool:
    # The server takes it without brackets, so people write it so.
    with suppress(ValueError):
        return ipaddress.ip_address(given).version == 6
    return False

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
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any
from urllib.parse import SplitResult
from urllib.parse import urlsplit

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm.http import becomes_true
from optuna_metallmix.llm.http import is_loopback
from optuna_metallmix.llm.ollama.errors import KEY_VARIABLE
from optuna_metallmix.llm.ollama.errors import client_errors
from optuna_metallmix.llm.ollama.errors import never_connected
from optuna_metallmix.llm.ollama.errors import why_no_answer


if TYPE_CHECKING:
    import httpx
    import ollama


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


_LIST_SECONDS = 1.0

_UNLOAD_SECONDS = 5.0

_MAX_VERSION = 60

# Seconds between looks whether a model is gone: Ollama lists it until its process has ended and
# the accelerator's driver has told that the memory is back, which it gives up to 5 seconds.
_LOOKS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)

# A model whose weights are elsewhere is listed with the size of its stub, a few hundred bytes.
_STUB_BYTES = 10**6


@dataclass(frozen=True)
class InstalledModel:
    """A model that an Ollama server lists.

    Attributes:
        name: As Ollama calls it, with its tag: ``qwen3:8b``.
        size: Bytes on the server's disk, at least 0; a few hundred where the weights are remote.
        context_length: The most tokens it can hold, at least 1; None where the server does not
            say.
        capabilities: What it can do (``"completion"``, ``"embedding"``, ``"thinking"``, ...);
            None where the server does not say.
        is_remote: Whether its weights are on another machine.
    """

    name: str
    size: int
    context_length: int | None = None
    capabilities: tuple[str, ...] | None = None
    is_remote: bool = False


def installed_models(
    host: str | None = None,
    timeout: float = _LIST_SECONDS,
    headers: Mapping[str, str] | None = None,
    *,
    details: bool = False,
) -> list[InstalledModel]:
    """Ask the server which models it has, in its own order.

    Args:
        host: As for :class:`OllamaLLM`.
        timeout: Seconds to wait for each answer, above 0.
        headers: As for :class:`OllamaLLM`.
        details: Whether to ask about each model of which an older server (0.24) lists neither
            capabilities nor context; newer ones (0.32) list them.

    Raises:
        LLMError: Nothing at that address answers as Ollama does.
        ValueError: A header cannot be sent.
    """
    server = server_at(host, headers)
    pages: list[bytes] = []
    try:
        with open_client(server, timeout, pages) as client:
            client.list()
    except client_errors() as error:
        sentence = why_no_answer(error, server.address)
        raise LLMError(server.without_secrets(sentence)) from error
    # The client (0.6.3) checks the document's form, and leaves out what newer servers add.
    models = [_listed(one) for one in json.loads(pages[-1])["models"] if one.get("model")]
    return [_described(one, server, timeout) for one in models] if details else models


def context_limit(server: Server, model: str, timeout: float) -> int | None:
    """Ask for the most tokens that a model can hold; None where the server does not say.

    Args:
        server: The server to ask.
        model: As Ollama calls it.
        timeout: Seconds to wait, above 0.
    """
    return _context_length(_shown(server, model, timeout)[0])


def free(server: Server, model: str) -> bool | None:
    """Unload a model and look until it is gone, at most some seconds.

    Returns:
        Whether it is gone; None where the server does not tell.
    """
    with suppress(*client_errors()), open_client(server, _UNLOAD_SECONDS) as client:
        client.chat(model, messages=[], keep_alive=0)
    loaded: list[bool | None] = []

    def is_over() -> bool:
        loaded.append(_is_loaded(server, model))
        return loaded[-1] is not True

    becomes_true(is_over, _LOOKS)
    return None if loaded[-1] is None else not loaded[-1]


def build_of(server: Server, model: str) -> str | None:
    """Return which build of the server answers and which weights, as far as it tells.

    Temperature 0 and a seed repeat an answer byte for byte on one build, not across versions.

    Returns:
        Such as ``"ollama 0.32.15, fd5f44c0b5af"``, the digest in the length of `ollama list`;
        None where the server tells neither.
    """
    import httpx

    told: list[str] = []
    with suppress(*client_errors(), KeyError, TypeError):
        answer = httpx.get(
            f"{server.address}/api/version",
            headers=dict(server.headers),
            timeout=_LIST_SECONDS,
            trust_env=not server.is_local,
        )
        told.append(f"ollama {answer.json()['version']}"[:_MAX_VERSION])
    with suppress(*client_errors()), open_client(server, _LIST_SECONDS) as client:
        models = [one for one in client.list().models if one.model and one.digest]
        told += [str(one.digest)[:12] for one in models if _same(str(one.model), model)][:1]
    return ", ".join(told) or None


def loaded_bytes(server: Server) -> int:
    """Return what the loaded models take of the accelerator, which makes room for another."""
    with suppress(*client_errors()), open_client(server, _LIST_SECONDS) as client:
        return sum(int(one.size_vram or 0) for one in client.ps().models)
    return 0


def _is_loaded(server: Server, model: str) -> bool | None:
    try:
        with open_client(server, _LIST_SECONDS) as client:
            running = client.ps().models
    except client_errors() as error:
        return False if never_connected(error) else None  # one that is gone holds no memory
    return any(_same(one.model or one.name or "", model) for one in running)


def _same(listed: str, model: str) -> bool:
    return _full_name(listed) == _full_name(model)


def _full_name(model: str) -> str:
    # Names are case-insensitive; `smollm2` means `smollm2:latest`.
    name = model.lower()
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _listed(one: Mapping[str, Any]) -> InstalledModel:
    size = int(one.get("size") or 0)
    capabilities = one.get("capabilities")
    name = str(one["model"])
    remote = one.get("remote_host") or size < _STUB_BYTES or name.endswith(("-cloud", ":cloud"))
    return InstalledModel(
        name,
        size,
        (one.get("details") or {}).get("context_length"),
        None if capabilities is None else tuple(capabilities),
        bool(remote),
    )


def _described(model: InstalledModel, server: Server, timeout: float) -> InstalledModel:
    known = model.capabilities is not None and model.context_length is not None
    if known or model.is_remote:
        return model
    info, capabilities = _shown(server, model.name, timeout)
    return replace(
        model,
        context_length=model.context_length or _context_length(info),
        capabilities=model.capabilities or capabilities,
    )


def _shown(
    server: Server, model: str, timeout: float
) -> tuple[Mapping[str, Any], tuple[str, ...] | None]:
    # Where this goes wrong nothing is known, and the first question to the model tells why.
    with suppress(*client_errors()), open_client(server, timeout) as client:
        shown = client.show(model)
        listed = shown.capabilities
        return shown.modelinfo or {}, None if listed is None else tuple(listed)
    return {}, None


def _context_length(info: Mapping[str, Any]) -> int | None:
    # Under the name of the architecture: {"general.architecture": "llama",
    # "llama.context_length": 8192, ...}.
    length = info.get(f"{info.get('general.architecture')}.context_length")
    return length if isinstance(length, int) and length >= 1 else None

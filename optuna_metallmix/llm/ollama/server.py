"""Talk to an Ollama server: its address, a client for it, and the models that it has.

Every request opens and closes its own client, so that no connection outlives it.
"""

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
from time import monotonic
from time import sleep
from typing import TYPE_CHECKING
from typing import Any
from urllib.parse import urlsplit

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm.http import NOT_COMPRESSED
from optuna_metallmix.llm.http import SETUP_ERRORS
from optuna_metallmix.llm.http import SETUP_REMEDY
from optuna_metallmix.llm.http import is_loopback
from optuna_metallmix.llm.http import read_bounded
from optuna_metallmix.llm.ollama.errors import KEY_VARIABLE
from optuna_metallmix.llm.ollama.errors import client_errors
from optuna_metallmix.llm.ollama.errors import describe_failure
from optuna_metallmix.llm.ollama.errors import import_client
from optuna_metallmix.llm.ollama.errors import is_unreachable


if TYPE_CHECKING:
    import httpx
    import ollama


# Seconds.
_CONNECT_TIMEOUT = 5.0
_LIST_TIMEOUT = 1.0
_UNLOAD_TIMEOUT = 5.0

# Seconds between checks whether a model is unloaded: Ollama lists a model until its process has
# ended and the driver reports the memory as free, for which it waits up to 5 seconds.
_UNLOAD_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)

# In characters: anything shorter may occur in ordinary words.
_MIN_SECRET = 8

# In bytes: a model whose weights are elsewhere is listed with a stub of a few hundred bytes.
_MAX_STUB = 10**6

_WEB_PORTS = {"http": 80, "https": 443}

# "134.52M", "8.0B", "8x7B".
_PARAMETER_SIZE = re.compile(r"(?:(\d+) ?x ?)?(\d+(?:\.\d+)?) ?([KMBT])", re.IGNORECASE)
_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True)
class Server:
    """The address of an Ollama server, and the headers of each request.

    Attributes:
        address: A URL.
        headers: Sent with every request. They may contain a key, so they are never shown.
    """

    address: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_local(self) -> bool:
        """Whether the server runs on this machine."""
        return is_loopback(urlsplit(self.address).hostname or "")

    def without_secrets(self, text: str) -> str:
        """Remove keys from ``text``, which may quote the server."""
        for value in (*self.headers.values(), os.environ.get(KEY_VARIABLE, "")):
            for word in value.split():
                if len(word) >= _MIN_SECRET:
                    text = text.replace(word, "***")
        return text


@dataclass(frozen=True)
class InstalledModel:
    """A model that an Ollama server lists.

    Attributes:
        name: Ollama's name of the model, with its tag: ``qwen3:8b``.
        size: Bytes on the server's disk, at least 0; a few hundred if the weights are remote.
        context_length: Maximum context in tokens, at least 1; None if the server does not
            report it.
        capabilities: Such as ``"completion"``, ``"embedding"`` or ``"thinking"``; None if the
            server does not report them.
        is_remote: Whether the weights are on another machine.
        n_parameters: Number of parameters, at least 1; None if the server does not report it.
    """

    name: str
    size: int
    context_length: int | None = None
    capabilities: tuple[str, ...] | None = None
    is_remote: bool = False
    n_parameters: int | None = None


@dataclass(frozen=True)
class ModelDetails:
    """What a server says of a single model; the attributes of :class:`InstalledModel`."""

    context_length: int | None = None
    capabilities: tuple[str, ...] | None = None
    n_parameters: int | None = None


def server_at(host: str | None, headers: Mapping[str, str] | None = None) -> Server:
    """Find the address of a server, and validate the headers.

    Raises:
        LLMError: ``host`` is not an address.
        ValueError: A header cannot be sent.
    """
    stripped = {name: str(value).strip() for name, value in (headers or {}).items()}
    for name, value in stripped.items():
        if not _HEADER_NAME.fullmatch(name) or not _is_sendable(value):
            raise ValueError(
                f"The header {name!r} cannot be sent: use printable ASCII characters, and neither "
                "spaces nor colons in the name."
            )
    return Server(server_address(host), stripped)


def server_address(host: str | None) -> str:
    """Complete ``host`` to a URL, by the rules of Ollama's own client.

    Raises:
        LLMError: ``host`` is not an address.
    """
    host = (host or os.environ.get("OLLAMA_HOST") or "127.0.0.1").strip().strip("\"'")
    # The server accepts an IPv6 address without brackets, so people write it that way.
    with suppress(ValueError):
        ipaddress.IPv6Address(host)
        host = f"[{host}]"
    try:
        parts = urlsplit(host if "://" in host else f"http://{host}")
        if parts.scheme not in _WEB_PORTS:
            raise ValueError("neither http nor https")
        port = parts.port or (_WEB_PORTS[parts.scheme] if "://" in host else 11434)
    except ValueError as error:
        raise LLMError(
            f"{host.rpartition('@')[2]!r} is not the address of an Ollama server ({error}): set "
            "OLLAMA_HOST to HOST:PORT or to a URL."
        ) from error
    # A server that listens on all interfaces (0.0.0.0) is reached through loopback.
    name = parts.hostname or "127.0.0.1"
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)
    name = f"[{name}]" if ":" in name else name
    path = parts.path.strip("/")
    return f"{parts.scheme}://{name}:{port}" + (f"/{path}" if path else "")


def open_client(
    server: Server, timeout: float, responses: list[httpx.Response] | None = None
) -> ollama.Client:
    """Open a client, to be closed by its ``with`` statement.

    Args:
        server: The server to ask.
        timeout: Seconds to wait for each answer, above 0.
        responses: Each response is appended to it, because the client drops the fields that it
            does not know.

    Raises:
        LLMError: The environment prevents it, see :func:`import_client`.
        httpx.LocalProtocolError: The key in the environment cannot be sent.
    """
    import httpx

    package, deadline = import_client(), monotonic() + timeout

    def check(response: httpx.Response) -> None:
        read_bounded(response, deadline)
        # The client (0.6.3) raises an AttributeError if a JSON document is not an object.
        response.read()
        with suppress(ValueError):
            if not isinstance(response.json(), dict):
                raise httpx.DecodingError("not a JSON object", request=response.request)
        if responses is not None:
            responses.append(response)

    if not _is_sendable(os.environ.get(KEY_VARIABLE, "")):
        raise httpx.LocalProtocolError(f"{KEY_VARIABLE} is not printable ASCII")
    try:
        client: ollama.Client = package.Client(
            server.address,
            headers={**NOT_COMPRESSED, **server.headers},
            timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT)),
            # A proxy would take local requests off this machine, and so would a redirect.
            trust_env=not server.is_local,
            follow_redirects=False,
            event_hooks={"request": [_forbid_truncation], "response": [check]},
        )
    except SETUP_ERRORS as error:
        raise LLMError(
            f"No client for Ollama at {server.address} can be opened ({error}): {SETUP_REMEDY}."
        ) from error
    return client


def installed_models(
    host: str | None = None,
    timeout: float = _LIST_TIMEOUT,
    headers: Mapping[str, str] | None = None,
    *,
    details: bool = False,
) -> list[InstalledModel]:
    """List the models of a server, in the server's order.

    Args:
        host: As for :class:`OllamaLLM`.
        timeout: Seconds to wait for each answer, above 0.
        headers: As for :class:`OllamaLLM`.
        details: Whether to ask for the capabilities and the context of each model if the list
            lacks them, as that of older servers (0.24) does.

    Raises:
        LLMError: No Ollama server answers at that address.
        ValueError: A header cannot be sent.
    """
    server = server_at(host, headers)
    responses: list[httpx.Response] = []
    try:
        with open_client(server, timeout, responses) as client:
            client.list()
    except client_errors() as error:
        sentence = describe_failure(error, f"Ollama at {server.address}", server.address)
        raise LLMError(server.without_secrets(sentence)) from error
    # The client (0.6.3) validates the document, but drops the fields of newer servers.
    entries = responses[-1].json()["models"]
    models = [_listed(entry) for entry in entries if entry.get("model")]
    return [_with_details(model, server, timeout) for model in models] if details else models


def model_details(server: Server, model: str, timeout: float) -> ModelDetails:
    """Ask for the details of a model.

    Raises:
        Exception: Any of :func:`client_errors`, or an LLMError as :func:`open_client`.
    """
    with open_client(server, timeout) as client:
        shown = client.show(model)
    info = shown.modelinfo or {}
    # {"general.architecture": "llama", "llama.context_length": 8192, ...}
    length = info.get(f"{info.get('general.architecture')}.context_length")
    n_parameters = info.get("general.parameter_count")
    size = shown.details.parameter_size if shown.details else None
    return ModelDetails(
        length if _is_count(length) else None,
        None if shown.capabilities is None else tuple(shown.capabilities),
        n_parameters if _is_count(n_parameters) else _parse_parameters(size),
    )


def build_of(server: Server, model: str) -> str | None:
    """Return the version of the server and the digest of the model's weights.

    At temperature 0, answers are reproducible within a version of Ollama, not across versions.

    Returns:
        Such as ``"ollama 0.32.15, fd5f44c0b5af"``, with the digest shortened as in `ollama list`;
        None if the server reports neither.
    """
    import httpx

    parts: list[str] = []
    deadline = monotonic() + _LIST_TIMEOUT
    with (
        suppress(LLMError),
        suppress(*client_errors(), *SETUP_ERRORS, KeyError, TypeError),
        httpx.Client(
            headers={**NOT_COMPRESSED, **server.headers},
            timeout=_LIST_TIMEOUT,
            trust_env=not server.is_local,
            event_hooks={"response": [lambda response: read_bounded(response, deadline)]},
        ) as client,
    ):
        answer = client.get(f"{server.address}/api/version")
        parts.append(f"ollama {answer.json()['version']}"[:60])  # another server may be verbose
    with (
        suppress(LLMError),
        suppress(*client_errors()),
        open_client(server, _LIST_TIMEOUT) as client,
    ):
        digests = {_full_name(entry.model or ""): entry.digest for entry in client.list().models}
        if digest := digests.get(_full_name(model)):
            parts.append(digest[:12])
    return ", ".join(parts) or None


def loaded_bytes(server: Server) -> int:
    """Return the accelerator memory of the loaded models, which another model could use."""
    with (
        suppress(LLMError),
        suppress(*client_errors()),
        open_client(server, _LIST_TIMEOUT) as client,
    ):
        return sum(int(model.size_vram or 0) for model in client.ps().models)
    return 0


def unload(server: Server, model: str) -> bool | None:
    """Unload a model, and wait a few seconds until its memory is free.

    Returns:
        Whether the model is still loaded; None if the server does not report it.
    """
    with (
        suppress(LLMError),
        suppress(*client_errors()),
        open_client(server, _UNLOAD_TIMEOUT) as client,
    ):
        client.chat(model, messages=[], keep_alive=0)
    is_loaded = _is_loaded(server, model)
    for pause in _UNLOAD_PAUSES:
        if is_loaded:
            sleep(pause)
            is_loaded = _is_loaded(server, model)
    return is_loaded


def _is_sendable(value: str) -> bool:
    return value.isascii() and value.isprintable() and value == value.strip()


def _forbid_truncation(request: httpx.Request) -> None:
    # Without `truncate: false`, servers (0.24, 0.32) silently drop whatever exceeds the context,
    # oldest messages first. `Client.chat` (0.6.3) has no such argument.
    import httpx

    if request.url.path.endswith("/api/chat"):
        body = json.dumps({**json.loads(request.content), "truncate": False}).encode()
        request.stream = httpx.ByteStream(body)
        request.headers["Content-Length"] = str(len(body))


def _is_loaded(server: Server, model: str) -> bool | None:
    failures: tuple[type[Exception], ...] = (LLMError, *client_errors())
    try:
        with open_client(server, _LIST_TIMEOUT) as client:
            running = client.ps().models
    except failures as error:
        return False if is_unreachable(error) else None  # a stopped server holds no memory
    return _full_name(model) in {_full_name(entry.model or entry.name or "") for entry in running}


def _full_name(model: str) -> str:
    # Names are case-insensitive; `smollm2` means `smollm2:latest`.
    name = model.lower()
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 1


def _parse_parameters(text: object) -> int | None:
    """Return the number of parameters that Ollama writes as ``134.52M``; None if it is not one."""
    match = _PARAMETER_SIZE.fullmatch(str(text or "").strip())
    if match is None:
        return None
    n_experts, number, unit = match.groups()
    return round(int(n_experts or 1) * float(number) * _UNITS[unit.upper()]) or None


def _listed(entry: Mapping[str, Any]) -> InstalledModel:
    name, size = str(entry["model"]), int(entry.get("size") or 0)
    capabilities, details = entry.get("capabilities"), entry.get("details") or {}
    is_cloud = name.endswith(("-cloud", ":cloud"))
    return InstalledModel(
        name,
        size,
        details.get("context_length"),
        None if capabilities is None else tuple(capabilities),
        bool(entry.get("remote_host") or size < _MAX_STUB or is_cloud),
        _parse_parameters(details.get("parameter_size")),
    )


def _with_details(model: InstalledModel, server: Server, timeout: float) -> InstalledModel:
    listed = (model.capabilities, model.context_length, model.n_parameters)
    if None not in listed or model.is_remote:
        return model
    details = ModelDetails()
    # An error is ignored here: the first question to the model has the same error.
    with suppress(LLMError), suppress(*client_errors()):
        details = model_details(server, model.name, timeout)
    return replace(
        model,
        context_length=model.context_length or details.context_length,
        capabilities=model.capabilities or details.capabilities,
        n_parameters=model.n_parameters or details.n_parameters,
    )

"""an Ollama server -> the models it has, what each can do, and which are loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

from optuna_metallmix._errors import LLMError
from optuna_metallmix.llm._backoff import becomes_true
from optuna_metallmix.llm._ollama_errors import client_errors
from optuna_metallmix.llm._ollama_errors import never_connected
from optuna_metallmix.llm._ollama_errors import why_no_answer
from optuna_metallmix.llm._ollama_server import Server
from optuna_metallmix.llm._ollama_server import open_client
from optuna_metallmix.llm._ollama_server import server_at


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

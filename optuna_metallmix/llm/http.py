"""Shared parts of the clients for model servers: messages, retries, error reasons, addresses."""

from __future__ import annotations

import ipaddress
import json
import math
import socket
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import closing
from contextlib import suppress
from importlib import import_module
from time import monotonic
from time import sleep
from typing import Any
from typing import TypeVar
from urllib.request import getproxies

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm.deadline import DEADLINE
from optuna_metallmix.llm.protocol import Message
from optuna_metallmix.text import cut_middle


NO_REASON = "no reason given"

_T = TypeVar("_T")

# In characters: a proxy may answer with a whole page.
_MAX_REASON = 300

_MAX_LISTED = 20

# Keys under which servers put the reason: OpenAI and Ollama, vLLM before 0.10, FastAPI itself.
_REASON_KEYS = ("error", "message", "detail")

# Seconds before the second and the third attempt; there is no fourth.
_PAUSES = (1.0, 3.0, math.inf)

MAX_BODY = 16_000_000
"""Longest body of a response that is read, in bytes. The longest that are needed, lists and
descriptions of models, have less than 1 MB."""

NOT_COMPRESSED = {"Accept-Encoding": "identity"}
"""Headers that :func:`read_bounded` needs."""

SETUP_ERRORS = (ImportError, OSError, ValueError)
"""What an HTTP client raises if it cannot use a proxy or a file of certificates that the
environment names, such as a SOCKS proxy without the package ``socksio``."""

SETUP_REMEDY = "check the variables HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE"


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's own.

    Addresses count in every form that sockets accept, such as ``127.1``, ``0x7f.1``,
    ``2130706433`` and ``::ffff:127.0.0.1``. Other names are looked up only if there is a proxy.
    """
    name = host.strip("[]").rstrip(".").lower()
    if (address := _numeric_address(name)) is not None:
        # Requests to 0.0.0.0, on which a server listens, stay on the machine, too.
        return address.is_loopback or address.is_unspecified
    if name == "localhost" or name.endswith(".localhost"):
        return True
    return bool(getproxies()) and _resolves_to_loopback(name)


def _numeric_address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with suppress(ValueError):
        address = ipaddress.ip_address(name)
        return getattr(address, "ipv4_mapped", None) or address
    with suppress(OSError, ValueError):
        return ipaddress.IPv4Address(socket.inet_aton(name))
    return None


def _resolves_to_loopback(name: str) -> bool:
    try:
        found = {info[4][0] for info in socket.getaddrinfo(name, None)}
    except (OSError, ValueError):
        return False
    return all(is_loopback(str(address)) for address in found)


def read_bounded(response: Any, deadline: float) -> None:
    """Read the body of a response, so that neither its length nor its duration is the server's.

    Args:
        response: A response of ``httpx`` or ``httpx2`` whose body is unread, as their event hooks
            get it.
        deadline: When to give up, as a time of the monotonic clock.

    Raises:
        LLMError: The body is longer than :data:`MAX_BODY`, or compressed.
        httpx.ReadTimeout, httpx2.ReadTimeout: The deadline has passed, or that of the present
            call, see :data:`DEADLINE`.
    """
    package = import_module(type(response).__module__.partition(".")[0])
    # A few bytes can unpack to gigabytes. Servers compress only what a client asks for.
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise LLMError(
            f"The server at {response.url.host} sent a compressed answer, which is not read: let "
            "it send answers as they are."
        )
    body, call = bytearray(), DEADLINE.get()
    with closing(response.stream) as stream:
        for piece in stream:
            body += piece
            if len(body) > MAX_BODY:
                raise LLMError(
                    f"The server at {response.url.host} sent an answer of more than "
                    f"{MAX_BODY // 10**6} MB: check that it is a server of language models."
                )
            if monotonic() > deadline or (call is not None and call.is_over):
                raise package.ReadTimeout("the answer is incomplete", request=response.request)
    response.stream = package.ByteStream(bytes(body))


def without_system(messages: Sequence[Message]) -> list[Message]:
    """Put the system messages in front of the first user message, or make a user message of them.

    Returns:
        The messages in their order, the first from the user if there was a system message.
    """
    system = [message["content"] for message in messages if message["role"] == "system"]
    others = [message for message in messages if message["role"] != "system"]
    if system and (not others or others[0]["role"] != "user"):
        others.insert(0, {"role": "user", "content": ""})
    if system:
        content = "\n\n".join(text for text in (*system, others[0]["content"]) if text)
        others[0] = {**others[0], "content": content}
    return others


def reason_of(body: object, secret: str = "") -> str:
    """Extract the reason from the body of an error response.

    Args:
        body: The body, or a part of it. Some servers pass on another server's JSON as a string.
        secret: Text that the reason must not show; it is replaced by ``***``.

    Returns:
        One line of at most 300 characters; ``NO_REASON`` if the body is empty.
    """
    if isinstance(body, str):
        with suppress(json.JSONDecodeError):
            body = json.loads(body)
    for key in _REASON_KEYS:
        if isinstance(body, dict):
            body = body.get(key, body)
    reason = " ".join(str(body or NO_REASON).split())
    return (reason.replace(secret, "***") if secret else reason)[:_MAX_REASON]


def list_names(names: Sequence[str]) -> str:
    """List what a server has, with at most 20 names of at most 60 characters."""
    shown = [cut_middle(name, 60) for name in names[:_MAX_LISTED]]
    more = len(names) - len(shown)
    return ", ".join([*shown, *([f"{more} more"] if more else [])]) or "none"


def retry(
    request: Callable[[float], _T], is_transient: Callable[[Exception], bool], deadline: float
) -> _T:
    """Return the result of ``request``, retrying transient errors up to two times.

    Args:
        request: Called with the remaining seconds, above 0.
        is_transient: Whether an error may go away by itself, so that a retry makes sense.
        deadline: When to give up, as a time of the monotonic clock.

    Raises:
        Exception: Whatever the last attempt raised. From the second attempt on, a note on it says
            how many there were: see :func:`attempts_of`.
    """
    n_attempts = 0
    while True:
        n_attempts += 1
        try:
            return request(max(deadline - monotonic(), 0.001))
        except Exception as error:
            pause = _PAUSES[n_attempts - 1]
            if not is_transient(error) or deadline - monotonic() <= pause:
                if n_attempts > 1:
                    error.add_note(f"tried {n_attempts} times")
                raise
        sleep(pause)


def attempts_of(error: Exception) -> str:
    """Return ``", tried 3 times"`` if :func:`retry` repeated the request, else no text."""
    return "".join(f", {note}" for note in getattr(error, "__notes__", ()))

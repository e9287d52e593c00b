"""Shared parts of the clients for model servers: messages, retries, error reasons, addresses."""

from __future__ import annotations

import ipaddress
import json
import math
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from time import sleep
from typing import TypeVar

from optuna_metallmix.llm.protocol import Message


NO_REASON = "no reason given"

_T = TypeVar("_T")

# In characters: a proxy may answer with a whole page.
_MAX_REASON = 300

# Keys under which servers put the reason: OpenAI and Ollama, vLLM before 0.10, FastAPI itself.
_REASON_KEYS = ("error", "message", "detail")

# Seconds before the second and the third attempt; there is no fourth.
_PAUSES = (1.0, 3.0, math.inf)

SETUP_ERRORS = (ImportError, OSError, ValueError)
"""What an HTTP client raises if it cannot use a proxy or a file of certificates that the
environment names, such as a SOCKS proxy without the package ``socksio``."""

SETUP_REMEDY = "check the variables HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE"


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's own."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


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

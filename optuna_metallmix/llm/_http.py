"""what all model servers have in common: is it this machine, and why does it refuse?"""

from __future__ import annotations

import ipaddress
import json
from contextlib import suppress


# Characters: a proxy may answer with a whole page.
_LONGEST_REASON = 300

# Where servers put the sentence: OpenAI and Ollama, vLLM before 0.10, FastAPI itself.
_REASON_KEYS = ("error", "message", "detail")


def is_loopback(name: str) -> bool:
    """Whether a host's name or address is this machine's own."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def reason_of(body: object, secret: str = "") -> str:
    """Unwrap a refusal's body to one line of at most 300 characters, ``secret`` struck out."""
    if isinstance(body, str):
        with suppress(json.JSONDecodeError):
            body = json.loads(body)
    for key in _REASON_KEYS:
        if isinstance(body, dict):
            body = body.get(key, body)
    reason = " ".join(str(body or "no reason given").split())
    return (reason.replace(secret, "***") if secret else reason)[:_LONGEST_REASON]

"""what all model servers have in common: is it this machine, and why does it refuse?"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from time import sleep
from typing import TypeVar


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


_T = TypeVar("_T")

_PAUSES = (1.0, 3.0)
"""Seconds before the second and the third try; there is no fourth."""


class Tries:
    """Tries of one thing, within one bound on their time.

    Attributes:
        count: How often it was tried so far.
    """

    def __init__(self, seconds: float) -> None:
        """Start the clock: all tries and pauses together take at most ``seconds``."""
        self.count = 0
        self._end = monotonic() + seconds

    def run(self, call: Callable[[float], _T], is_passing: Callable[[Exception], bool]) -> _T:
        """Return what ``call`` returns, at the third try at the latest.

        Args:
            call: Is given the seconds that are left, above 0.
            is_passing: Whether what it raised may be gone in a moment.

        Raises:
            Exception: What the last try raised.
        """
        for pause in _PAUSES:
            try:
                return self._try(call)
            except Exception as error:
                if not is_passing(error) or self._left() <= pause:
                    raise
            sleep(pause)
        return self._try(call)

    def _try(self, call: Callable[[float], _T]) -> _T:
        self.count += 1
        return call(max(self._left(), 0.001))

    def _left(self) -> float:
        return self._end - monotonic()


def becomes_true(look: Callable[[], bool], pauses: Sequence[float]) -> bool:
    """Look until it is true: once, and once more after each of ``pauses``, in seconds."""
    for pause in pauses:
        if look():
            return True
        sleep(pause)
    return look()

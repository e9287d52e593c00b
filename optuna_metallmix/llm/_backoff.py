"""a thing that may go well in a moment -> tried again, a few times, with growing pauses."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from time import monotonic
from time import sleep
from typing import TypeVar


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

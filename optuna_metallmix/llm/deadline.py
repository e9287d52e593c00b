"""Let a backend know how long its answer may take, and whether it is still wanted.

A :class:`TimeBudget` sets the deadline around each call of a model, and the backend reads it. It
is a context variable, because threads may share a model.
"""

from __future__ import annotations

import math
from contextvars import ContextVar
from dataclasses import dataclass
from dataclasses import field
from threading import Event
from time import monotonic


# Seconds, for a backend that is called without a budget and without a limit of its own.
_DEFAULT_TIMEOUT = 120.0

# Seconds that stand for "no limit", because sockets do not accept infinity: a day.
_NO_LIMIT = 86_400.0


@dataclass(frozen=True)
class Deadline:
    """When the answer to a call must be complete.

    Attributes:
        time: A time of the monotonic clock; infinite without a limit.
        cancelled: Set when nobody waits for the answer any more.
    """

    time: float = math.inf
    cancelled: Event = field(default_factory=Event)

    @property
    def seconds_left(self) -> float:
        """The seconds until ``time``; at most 0 if it has passed."""
        return self.time - monotonic()

    @property
    def is_over(self) -> bool:
        """Whether the answer is not wanted any more."""
        return self.cancelled.is_set() or self.seconds_left <= 0


DEADLINE: ContextVar[Deadline | None] = ContextVar("DEADLINE", default=None)
"""The deadline of the present call; None without a budget."""


def time_limit(timeout: float | None) -> tuple[float, str]:
    """Return how long a request may take, and which setting says so.

    Args:
        timeout: The backend's own limit in seconds; None for the budget's, or 120 without one.

    Returns:
        Seconds, above 0, and ``"timeout"`` or ``"llm_timeout"``. What the budget leaves is rounded
        up, so that a request which takes all of it ends after the budget.
    """
    deadline = DEADLINE.get()
    if deadline is None:
        return timeout or _DEFAULT_TIMEOUT, "timeout"
    left = min(max(deadline.seconds_left, 0.01), _NO_LIMIT)
    left = float(math.ceil(left)) if left > 10 else math.ceil(100 * left) / 100  # for the log
    return (left, "llm_timeout") if timeout is None or left < timeout else (timeout, "timeout")

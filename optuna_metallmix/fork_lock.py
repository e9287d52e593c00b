"""A lock that works in a forked child process, whatever the parent's threads held."""

from __future__ import annotations

import os
import threading
from weakref import WeakSet


class ForkLock:
    """A :class:`threading.Lock` that is free again in a forked child process.

    An ordinary lock that another thread holds while the process forks, as data loaders do, stays
    locked in the child for ever: the thread that would release it is not there.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _LOCKS.add(self)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def acquire(self, timeout: float = -1) -> bool:
        """Return whether the lock was acquired within ``timeout`` seconds; -1 is no limit."""
        return self._lock.acquire(timeout=timeout)

    def __reduce__(self) -> tuple[type[ForkLock], tuple[()]]:
        """A copy, as of a sampler that is sent to another process, is a free lock of its own."""
        return ForkLock, ()

    def renew(self) -> None:
        """Replace the lock; only for a child process, which has a single thread."""
        self._lock = threading.Lock()


_LOCKS: WeakSet[ForkLock] = WeakSet()


def _renew_all() -> None:
    for lock in list(_LOCKS):
        lock.renew()


if hasattr(os, "register_at_fork"):  # there is no fork on Windows
    os.register_at_fork(after_in_child=_renew_all)

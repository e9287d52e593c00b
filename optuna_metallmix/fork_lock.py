"""Let a process fork at any time: what the parent's other threads held is free in the child."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any
from typing import Generic
from typing import TypeVar
from weakref import WeakSet


_T = TypeVar("_T")

NO_FORK = threading.RLock()
"""Held where the process must not fork, for seconds at most; a fork in another thread waits. If
that thread is just importing a module, the import system's lock stays locked in the child."""


def import_modules(*names: str) -> None:
    """Import modules before they are needed, and let no thread fork meanwhile."""
    with NO_FORK:
        for name in names:
            import_module(name)


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


class cached_property(Generic[_T]):  # noqa: N801
    """:func:`functools.cached_property` without the lock that it has in Python 3.11."""

    def __init__(self, function: Callable[[Any], _T]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: type | None = None) -> _T:
        value = instance.__dict__[self._function.__name__] = self._function(instance)
        return value


_LOCKS: WeakSet[ForkLock] = WeakSet()


def _renew_all() -> None:
    for lock in list(_LOCKS):
        lock.renew()


if hasattr(os, "register_at_fork"):  # there is no fork on Windows
    os.register_at_fork(after_in_child=_renew_all)
    os.register_at_fork(
        before=NO_FORK.acquire,
        after_in_parent=NO_FORK.release,
        after_in_child=NO_FORK.release,
    )

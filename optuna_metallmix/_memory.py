"""key -> what was computed for it before: for what is slow and follows from its key alone.

One process often starts one study after another on the same past. What is kept lives in the
process and in no object of the person's, so that nothing of it is pickled.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Hashable
from typing import Any
from typing import Generic
from typing import TypeVar


_T = TypeVar("_T")


class Memory(Generic[_T]):
    """What was computed last, for all threads.

    Args:
        size: Most values kept; those asked for longest ago go first.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, _T] = OrderedDict()

    def recall(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """Return the value kept for ``key``, else what ``make`` returns; errors are not kept.

        Threads that ask at once may each make it: none waits for another's work.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = make()
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return value


class Same:
    """A key that is equal for the very same object only, and keeps it alive."""

    def __init__(self, it: Any) -> None:
        self._it = it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self._it is other._it

    def __hash__(self) -> int:
        return id(self._it)

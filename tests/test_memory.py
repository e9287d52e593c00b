from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from optuna_metallmix._memory import Memory
from optuna_metallmix._memory import Same


def test_what_is_known_is_not_made_again() -> None:
    memory: Memory[object] = Memory(2)
    first = memory.recall("a", object)
    assert memory.recall("a", object) is first
    assert memory.recall("b", object) is not first


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    memory: Memory[object] = Memory(2)
    a, b = memory.recall("a", object), memory.recall("b", object)
    assert memory.recall("a", object) is a
    memory.recall("c", object)
    assert memory.recall("a", object) is a
    assert memory.recall("b", object) is not b


def test_errors_are_not_kept() -> None:
    memory: Memory[int] = Memory(2)
    with pytest.raises(ZeroDivisionError):
        memory.recall("a", lambda: 1 // 0)
    assert memory.recall("a", lambda: 1) == 1


def test_threads_do_not_wait_for_each_other() -> None:
    memory: Memory[int] = Memory(2)
    both = threading.Barrier(2, timeout=10)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: memory.recall("a", both.wait) >= 0, range(2))) == [True] * 2


def test_same_is_one_object_and_no_other() -> None:
    one, other = [1], [1]
    assert Same(one) == Same(one)
    assert hash(Same(one)) == hash(Same(one))
    assert Same(one) != Same(other)
    assert Same(one) != one

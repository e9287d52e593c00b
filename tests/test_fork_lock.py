from __future__ import annotations

import copy
import os
import pickle
import threading

import pytest

from optuna_metallmix.fork_lock import ForkLock


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_can_acquire_a_lock_that_another_thread_held():
    lock, held, done = ForkLock(), threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:  # an ordinary lock: SIGALRM ends the child
        import signal

        signal.alarm(20)
        with lock:
            os._exit(7)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    done.set()
    thread.join()
    assert status == 7


def test_it_is_released_by_an_error():
    lock = ForkLock()
    with pytest.raises(ValueError, match="broken"), lock:
        raise ValueError("broken")
    with lock:
        pass


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda lock: pickle.loads(pickle.dumps(lock))]
)
def test_a_copy_is_a_free_lock_of_its_own(duplicate):
    lock = ForkLock()
    with lock, duplicate(lock):
        pass

"""a wait -> a line in the log now and then, so that a cold start is not silence."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager

import optuna


MOMENTS = (2.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Seconds after which a wait is told: a short one never, a long one rarely."""

_logger = optuna.logging.get_logger("optuna.metallmix")


@contextmanager
def waiting(what: str, moments: Sequence[float] = MOMENTS) -> Iterator[None]:
    """Say ``Waiting for WHAT ... 2 s`` at level INFO for as long as the body takes.

    Nothing is said, and no thread started, where the logger ``optuna.metallmix`` lets no INFO
    through.

    Args:
        what: What is waited for, and in brackets why it may take long.
        moments: Seconds from the start, ascending, at which to say so.
    """
    if not _logger.isEnabledFor(logging.INFO):
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_tell, args=(what, moments, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _tell(what: str, moments: Sequence[float], over: threading.Event) -> None:
    before = 0.0
    for moment in moments:
        if over.wait(moment - before):
            return
        _logger.info(f"Waiting for {what} ... {moment:g} s")
        before = moment

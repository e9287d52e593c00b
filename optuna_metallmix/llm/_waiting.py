"""a wait -> a line on the terminal, or one in the log now and then: a cold start is no silence."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager

import optuna

from optuna_metallmix._progress import line


MOMENTS = (2.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Seconds after which a wait is told: a short one never, a long one rarely."""

_logger = optuna.logging.get_logger("optuna.metallmix")


@contextmanager
def waiting(what: str, moments: Sequence[float] = MOMENTS) -> Iterator[None]:
    """Show ``Waiting for WHAT ... 00:02`` on a terminal for as long as the body takes.

    Where there is none, the same goes to the log at a few moments, at level INFO. Nothing is
    said, and no thread started, where the logger ``optuna.metallmix`` lets no INFO through.

    Args:
        what: What is waited for, and in brackets why it may take long.
        moments: Seconds from the start, ascending, at which the log says so.
    """
    with line(f"Waiting for {what}") as is_shown:
        if is_shown or not _logger.isEnabledFor(logging.INFO):
            yield
        else:
            with _logging(what, moments):
                yield


@contextmanager
def _logging(what: str, moments: Sequence[float]) -> Iterator[None]:
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

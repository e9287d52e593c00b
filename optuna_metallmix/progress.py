"""something long -> a line on the terminal for as long as it lasts.

A log file gets none of it: a line is for eyes, so it is shown on a terminal only, and only where
the logger ``optuna.metallmix`` lets INFO through (``optuna.logging.set_verbosity``). tqdm draws
it: Optuna depends on it already, it leaves other bars in their place, and it goes quiet by itself
where the terminal is closed meanwhile.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from typing import TypeVar

import optuna
from tqdm import tqdm


_T = TypeVar("_T")

_PATIENCE = 1.0
"""Seconds before a line appears, and between its ticks: what is quick does not flicker."""

_ABOVE: ContextVar[tqdm[Any] | None] = ContextVar("line", default=None)
"""The line that this thread has on the terminal already."""

_logger = optuna.logging.get_logger("optuna.metallmix")


def is_shown() -> bool:
    """Tell whether there is a terminal to write to, and a person who wants to read."""
    try:
        is_terminal = sys.stderr.isatty()
    except (AttributeError, ValueError):  # no stream at all (pythonw), or a closed one
        return False
    return is_terminal and _logger.isEnabledFor(logging.INFO)


def counted(items: Sequence[_T], what: str, unit: str) -> Iterator[_T]:
    """Yield ``items`` and show how many of them are done.

    Args:
        items: What is gone through.
        what: What is done, such as ``"Reading past studies"``.
        unit: What one of them is called.
    """
    yield from tqdm(items, desc=what, unit=unit, delay=_PATIENCE, **_options())


@contextmanager
def line(what: str, patience: float = _PATIENCE) -> Iterator[bool]:
    """Show ``WHAT ... 00:03`` for as long as the body takes; within another, in its place.

    Args:
        what: What is done or waited for.
        patience: Seconds before it appears, and between its ticks.

    Yields:
        Whether it is shown; where not, no thread is started either.
    """
    if not is_shown():
        yield False
        return
    if (above := _ABOVE.get()) is not None:
        with _renamed(above, what):
            yield True
        return
    with (
        tqdm(desc=what, bar_format="{desc} ... {elapsed}", delay=patience, **_options()) as bar,
        _ticking(bar, patience),
    ):
        yield True


@contextmanager
def stage(seconds: dict[str, float], name: str, what: str) -> Iterator[None]:
    """Add the seconds that the body takes to ``seconds[name]``, and show ``what`` meanwhile."""
    start = time.perf_counter()
    try:
        with line(what):
            yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start


def _options() -> dict[str, Any]:
    return {
        "disable": not is_shown(),
        "leave": False,
        "file": sys.stderr,
        "dynamic_ncols": True,
    }


@contextmanager
def _ticking(bar: tqdm[Any], patience: float) -> Iterator[None]:
    """Draw the line anew at each tick, and keep it out of the way of the log."""
    over, aside = threading.Event(), _Aside(bar)
    thread = threading.Thread(target=_tick, args=(bar, patience, over), daemon=True)
    handlers = list(logging.getLogger("optuna").handlers)
    for handler in handlers:
        handler.addFilter(aside)
    thread.start()
    above = _ABOVE.set(bar)
    try:
        yield
    finally:
        _ABOVE.reset(above)
        over.set()
        thread.join()
        for handler in handlers:
            handler.removeFilter(aside)
        bar.clear()  # close() takes a bar that was never updated for one that was never drawn


@contextmanager
def _renamed(bar: tqdm[Any], what: str) -> Iterator[None]:
    before = bar.desc
    bar.set_description_str(what, refresh=False)  # at the next tick
    try:
        yield
    finally:
        bar.set_description_str(before, refresh=False)


def _tick(bar: tqdm[Any], patience: float, over: threading.Event) -> None:
    while not over.wait(patience):
        bar.refresh()


class _Aside(logging.Filter):
    """Takes the line away before Optuna's log writes where it stands; the next tick redraws it."""

    def __init__(self, bar: tqdm[Any]) -> None:
        super().__init__()
        self._bar = bar

    def filter(self, record: logging.LogRecord) -> bool:
        self._bar.clear()
        return True


MOMENTS = (2.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Seconds after which a wait is told: a short one never, a long one rarely."""


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

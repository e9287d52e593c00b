"""Show the progress of long steps, and time the steps of a suggestion.

Progress is shown on a terminal only, so that log files stay clean, and only while the logger
``optuna.metallmix`` lets INFO through (see ``optuna.logging.set_verbosity``).
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TypeVar

import optuna
from tqdm import tqdm


_T = TypeVar("_T")

_logger = optuna.logging.get_logger("optuna.metallmix")


def progress_bar(items: Sequence[_T], description: str, unit: str) -> Iterable[_T]:
    """Iterate over ``items`` behind a progress bar, which appears after a second."""
    if not _is_shown():
        return items
    return tqdm(items, description, unit=unit, delay=1, leave=False, dynamic_ncols=True)


@contextmanager
def status_line(description: str) -> Iterator[None]:
    """Show ``description`` while the body runs."""
    if not _is_shown():
        yield
        return
    # The carriage return lets a log record overwrite the line instead of continuing it.
    with tqdm(desc=description, bar_format="{desc} ...\r", leave=False, dynamic_ncols=True):
        yield


@contextmanager
def timed_stage(seconds: dict[str, float], name: str, description: str) -> Iterator[None]:
    """Show ``description`` while the body runs, and add its seconds to ``seconds[name]``."""
    start = time.perf_counter()
    try:
        with status_line(description):
            yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start


def _is_shown() -> bool:
    try:
        is_terminal = sys.stderr.isatty()
    except (AttributeError, ValueError):  # no stream at all (pythonw), or a closed one
        return False
    return is_terminal and _logger.isEnabledFor(logging.INFO)

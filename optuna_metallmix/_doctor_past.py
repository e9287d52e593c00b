"""where the studies are -> findings: what can be learned from which. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from optuna_metallmix._finding import Finding
from optuna_metallmix._history import History
from optuna_metallmix._history import read_history
from optuna_metallmix._source import open_source


_MOST_LINES = 20
"""Most studies to name; a storage can have hundreds of unfit ones."""


def check_past(source: str | None) -> Iterator[Finding]:
    """Read the past as a study would.

    Args:
        source: A file or a URL; None where nothing was named.

    Raises:
        HistoryError: It cannot be read.
    """
    if source is None:
        yield Finding("ok", "past", "not looked at; name it: `--storage sqlite:///hpo.db`")
        return
    history = read_history(open_source(source))
    yield _summary(history)
    for name, reason in islice(history.left_out.items(), _MOST_LINES):
        text = f"study {name!r} is left out: {reason}. Nothing to do, unless you count on it."
        yield Finding("warning", "past", text)
    if (more := len(history.left_out) - _MOST_LINES) > 0:
        yield Finding("warning", "past", f"{more} more studies are left out: look into the first.")


def _summary(history: History) -> Finding:
    n = len(history.studies)
    n_all = n + len(history.left_out)
    if not n:
        text = f"none of {n_all} studies can be learned from: store a finished search there first."
        return Finding("warning", "past", text)
    names = ", ".join(f"{one.name!r}" for one in history.studies[:_MOST_LINES])
    more = ", ..." if n > _MOST_LINES else ""
    text = f"{n} of {n_all} studies can be learned from, {history.n_trials} configurations"
    return Finding("ok", "past", f"{text}: {names}{more}")

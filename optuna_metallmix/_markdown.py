"""text -> Markdown that shows it as text: what other people and models wrote acts on nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Sequence

from optuna_metallmix._wording import one_line


MAX_CELL = 160
"""Most characters of a cell: a name or choice can be a page long, and a table has many."""

_MARKS = re.compile(r"[\\|`*\[\]<>#~]|(?<!\w)_|_(?!\w)")  # an underscore within a word is plain


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table, its cells as text."""
    return raw_table(head, ([plain(cell, MAX_CELL) for cell in row] for row in rows))


def raw_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table whose cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plain(text: str, limit: int | None = None) -> str:
    """Show other people's text as text: one line, nothing that Markdown would act on.

    Args:
        text: What they wrote.
        limit: Most characters of it, from 2; the end gives way. ``None`` for all.
    """
    line = one_line(text)
    if limit is not None and len(line) > limit:
        line = line[: limit - 1] + "…"
    return _MARKS.sub(r"\\\g<0>", line)


def code(text: str | None) -> str:
    """Show other people's text as code."""
    return f"`{one_line(str(text)).replace('`', '')}`"


def link(text: str, address: str) -> str:
    """Show other people's text as a link to an address of ours."""
    return f"[{plain(text, MAX_CELL)}]({address})"

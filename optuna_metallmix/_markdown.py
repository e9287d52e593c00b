"""text -> Markdown that shows it as text: what other people and models wrote acts on nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Sequence

from optuna_metallmix._wording import one_line


_MARKS = re.compile(r"[\\|`*\[\]<>#~]|(?<!\w)_|_(?!\w)")  # an underscore within a word is plain


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table, its cells as text."""
    lines = [head, ["---"] * len(head), *([plain(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plain(text: str) -> str:
    """Show other people's text as text: one line, nothing that Markdown would act on."""
    return _MARKS.sub(r"\\\g<0>", one_line(text))


def code(text: str | None) -> str:
    """Show other people's text as code."""
    return f"`{one_line(str(text)).replace('`', '')}`"

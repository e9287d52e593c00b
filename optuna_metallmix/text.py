"""number -> decimals, as people and models read them: no exponent, and never without end.

PromptView ``2.39e-02``, small models write ``2.39e-0`` (measured while planning). A number whose
decimals would be mostly zeros (1e-300) is told as a power of ten instead of being cut short.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from html import escape
from typing import Any

import numpy as np


MAX_DIGITS = 24
"""Longest text of decimals: 2**63 and 1e-20 fit."""


def format_number(value: Any, digits: int = 4) -> str:
    """Write a number with ``digits`` significant digits (whole numbers with all)."""
    number = value.item() if isinstance(value, np.generic) else value
    if not (isinstance(number, int) or math.isfinite(number)):
        return str(number)
    if isinstance(number, int) or (abs(number) < 1e15 and number.is_integer()):
        whole = int(number)
        return str(whole) if abs(whole) < 10**MAX_DIGITS else _power(Decimal(whole), digits)
    text = np.format_float_positional(number, precision=digits, fractional=False, trim="-")
    return text if len(text) <= MAX_DIGITS else _power(Decimal(number), digits)


def format_exactly(value: float) -> str:
    """Write a finite number with all digits that tell it from every other."""
    text = np.format_float_positional(value, trim="-")
    return text if len(text) <= MAX_DIGITS else _power(Decimal(repr(float(value))))


def _power(value: Decimal, digits: int | None = None) -> str:
    written = f"{value:e}" if digits is None else f"{value:.{digits - 1}e}"
    mantissa, _, exponent = written.partition("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}x10^{int(exponent)}"


MAX_TEXT = 60
"""Most characters of one text."""

# Like control characters these cannot be seen, but Python calls them printable: joiners, fillers,
# variation selectors.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_OPENING = re.compile(r"[<＜](?=\S)|\[(?=[A-Za-z/|])")
"""How control tokens begin: ``<|im_start|>``, ``</s>``, ``<start_of_turn>``, ``[INST]``."""

_PLAIN = re.compile(r"-?[A-Za-z0-9_]+(?:[./-]+[A-Za-z0-9_]+){0,3}")
_MAX_WORDS = 5
"""A name with more words may be a sentence: it is quoted."""


def quote(text: object, limit: int = MAX_TEXT) -> str:
    """Return a text as quoted data."""
    return json.dumps(line(str(text), limit), ensure_ascii=False)


def name(text: str, limit: int = MAX_TEXT) -> str:
    """Leave a plain name or number as it is; quote the rest."""
    words = len(re.findall(r"[A-Za-z]+", text))
    plain = len(text) <= limit and words <= _MAX_WORDS and _PLAIN.fullmatch(text)
    return text if plain else quote(text, limit)


@lru_cache(maxsize=4096)
def line(text: str, limit: int) -> str:
    """Return a text as one line of at most ``limit`` characters; the middle gives way."""
    seen = "".join(c if c.isprintable() else " " for c in _INVISIBLE.sub(" ", text))
    clean = _OPENING.sub(r"\g<0> ", " ".join(seen.split()))
    if len(clean) <= limit:
        return clean
    tail = (limit - 1) // 2
    return f"{clean[: limit - 1 - tail]}…{clean[len(clean) - tail :]}"


def is_verbatim(text: str, limit: int = MAX_TEXT) -> bool:
    """Tell whether a text is shown as it stands, so that a model can write it."""
    return line(text, limit) == text


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


_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid #8888; padding: .25rem .6rem; text-align: left; }
blockquote { border-left: 4px solid #8888; margin-left: 0; padding-left: 1rem; }
img { max-width: 100%; background: #fff; }
"""


def to_html(markdown: str) -> str:
    """Return Markdown (with tables and struck-through text) as a fragment of HTML."""
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    return str(reader.render(markdown))


def page(title: str, markdown: str) -> str:
    """Return Markdown as a whole page that needs no other file."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{to_html(markdown)}</body>\n</html>\n"
    )


def one_line(text: str) -> str:
    """Return a text on one line, without what cannot be printed."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())

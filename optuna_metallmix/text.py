"""Format numbers, and escape untrusted text for prompts, Markdown and HTML.

* Numbers have no exponent and a bounded length: small models copy ``2.39e-02`` as ``2.39e-0``
  (measured 2026-11), and 1e-300 is too long as a decimal (it becomes ``1x10^-300``).
* Names, choices and notes of a study may contain anything. In a prompt they must not look like
  instructions or control tokens, and in Markdown they must not be markup.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from collections.abc import Sequence
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from html import escape
from string import ascii_letters
from string import digits
from typing import Any

import numpy as np
from optuna.exceptions import StorageInternalError


MAX_DIGITS = 24
"""Maximum length of a plain decimal: 2**63 and 1e-20 fit."""
MAX_TEXT = 60
"""Default maximum length of a string in a prompt, in characters."""
MAX_CELL = 160
"""Maximum length of a table cell, in characters: names and choices can be arbitrarily long."""

# Invisible, although `str.isprintable` accepts them: joiners, fillers and variation selectors.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_TOKEN_START = re.compile(r"[<＜](?=\S)|\[(?=[A-Za-z/|])")
"""Start of a control token: ``<|im_start|>``, ``</s>``, ``<start_of_turn>``, ``[INST]``."""
_SIMPLE_NAME = re.compile(r"-?[A-Za-z0-9_]+(?:[./-]+[A-Za-z0-9_]+){0,3}")
_MAX_WORDS = 5
"""A name with more words may be a sentence, and is quoted."""
_WORD = ascii_letters + digits
_MARKUP = re.compile(r"[\\|`*\[\]<>#~]|(?<!\w)_|_(?!\w)")
"""Characters that Markdown may interpret; an underscore inside a word is not among them."""
_WORD_OF_LINE = re.compile(r"[^\s|`]+")
_ADDRESS = re.compile(r"://|www\.|.@.", re.IGNORECASE)
"""What is in words that optuna-dashboard makes links of, without any markup and however their
characters are escaped: web and mail addresses. Code is never a link."""
_PASSWORDS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"((?<!\bhttp)(?<!\bhttps)://[^\s:/@]*:)"
        r"(?:\S*|(?!\d{2,5}[\s/?'\")])[^@\r\n]{0,80})(?=@)",
        r"(\bhttps?://[^\s:/@]*:)[^\s/@]*(?=@)",
        r"((?:password|passwd|pwd|passphrase|secret|token|api_?key)=['\"]?)[^\s&;'\"]+",
    )
)
"""Passwords in the addresses of databases, of web pages, and in options. In the first, SQLAlchemy
allows slashes, colons and spaces; a port is none."""
MAX_ERROR = 300
"""Maximum length of another program's error in a message, in characters."""
_MAX_READ = 4_000
_MAX_CACHED = 1_000
"""Maximum length of texts in the cache of :func:`sanitize`, in characters."""

_OBJECT = re.compile(
    r"<(?:class |function |built-in \w+ |module )?'?(?:[\w.<>]+\.)?<?(\w+)>?'?"
    r"(?: of [\w.]+)?(?: object)?(?: at 0x[0-9a-fA-F]+)?>| at 0x[0-9a-fA-F]+"
)
"""How Python writes objects within a text: ``<class 'torch.nn.modules.activation.ReLU'>``,
``<function f at 0x7f12>``, ``<__main__.Net object at 0x7f12>``."""

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid #8888; padding: .25rem .6rem; text-align: left; }
blockquote { border-left: 4px solid #8888; margin-left: 0; padding-left: 1rem; }
img { max-width: 100%; background: #fff; }
"""


def format_number(value: Any, digits: int | None = 4) -> str:
    """Format a number with ``digits`` significant digits; whole numbers keep all of them.

    With ``None``, the number has the fewest digits that identify it uniquely.
    """
    number = value.item() if isinstance(value, np.generic) else value
    if not (isinstance(number, int) or math.isfinite(number)):
        return str(number)
    if isinstance(number, int) or (abs(number) < 1e15 and number.is_integer()):
        text = str(int(number))
    else:
        text = np.format_float_positional(number, precision=digits, fractional=False, trim="-")
    if len(text) <= MAX_DIGITS:
        return text
    power = "e" if digits is None else f".{digits - 1}e"
    mantissa, _, exponent = format(Decimal(repr(number)), power).partition("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}x10^{int(exponent)}"


def format_value(value: Any) -> str:
    """Format any value: strings as they are, other JSON values as JSON, objects by their name.

    Members of an ``Enum`` are written as ``Color.RED``, those of an ``IntEnum`` or ``StrEnum`` as
    their values, which JSON keeps. No text has a memory address.
    """
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, str):
        return _encodable(str.__str__(value))
    if isinstance(value, float) and math.isfinite(value):
        return format_number(value, None)
    if not isinstance(value, int | float | list | tuple | dict | None):
        return _object_name(value)
    try:
        return json.dumps(value, default=_json_item)
    except (TypeError, ValueError, RecursionError):  # keys that are objects, circular references
        return _object_name(value)


def _json_item(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else _object_name(value)


def _object_name(value: Any) -> str:
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(format_value, value)))}}}"
    name = getattr(value, "__name__", None)  # of a class or function
    text = name if isinstance(name, str) else _OBJECT.sub(r"\1", str(value))
    return _encodable(one_line(text.strip("<>")))


def _encodable(text: str) -> str:
    """Escape surrogates, which neither CatBoost nor a file can hold."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def hide_passwords(text: str) -> str:
    """Replace the passwords of addresses in a text by ``***``."""
    for pattern in _PASSWORDS:
        text = pattern.sub(r"\1***", text)
    return text


def visible_error(error: BaseException) -> BaseException:
    """Return the error of a database driver, which Optuna and SQLAlchemy raise theirs from."""
    if isinstance(error, StorageInternalError):
        error = error.__cause__ or error
    original = getattr(error, "orig", None)  # without the statement and its parameters
    return original if isinstance(original, Exception) else error


def describe_error(error: BaseException) -> str:
    """Return another program's error for a message: its type and a bounded text on one line.

    It has no password; a text that cannot be had is left out.
    """
    error = visible_error(error)
    try:
        # Half of what is read is kept, so that no password is cut before its end.
        text = one_line(hide_passwords(str(error)[:_MAX_READ])[: _MAX_READ // 2])
    except Exception:  # any: a foreign class may define its text as it likes
        text = ""
    return type(error).__name__ + (f" ({cut_middle(text, MAX_ERROR)})" if text else "")


def cut_middle(text: str, limit: int) -> str:
    """Return a text of at most ``limit`` characters, at least 1: its start and its end."""
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return f"{text[: limit - 1 - tail]}…{text[len(text) - tail :]}"


def one_line(text: str) -> str:
    """Return a string as a single line without unprintable characters."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(text.split())


def sanitize(text: str, limit: int) -> str:
    """Return a string as a single line without invisible characters and control tokens.

    A string longer than ``limit`` characters is cut in the middle.
    """
    return (_sanitize_short if len(text) <= _MAX_CACHED else _sanitize)(text, limit)


def _sanitize(text: str, limit: int) -> str:
    return cut_middle(_TOKEN_START.sub(r"\g<0> ", one_line(_INVISIBLE.sub(" ", text))), limit)


_sanitize_short = lru_cache(maxsize=4096)(_sanitize)


def shorten(texts: Iterable[str], limit: int) -> dict[str, str]:
    """Return each text on one line of at most ``limit`` characters, as :func:`sanitize` does.

    If cutting them in the middle makes texts equal, those that are too long keep what tells them
    apart, instead of what they start and end with.
    """
    distinct = list(dict.fromkeys(texts))
    short = {text: sanitize(text, limit) for text in distinct}
    if len(set(short.values())) == len(distinct):
        return short
    long = [text for text in distinct if len(text) > limit]
    shared = _shared_start(long)
    start = len(shared.rstrip(_WORD))
    end = len(_shared_start([text[len(shared) :][::-1] for text in long]))
    for text in long:
        context = max(limit - 2 - (len(text) - start - end), 0) // 2
        first, last = max(start - context, 0), min(len(text) - end + context, len(text))
        short[text] = sanitize(
            f"{'…' * (first > 0)}{text[first:last]}{'…' * (last < len(text))}", limit
        )
    if len(set(short.values())) == len(distinct):
        return short
    return {text: f"#{i} {sanitize(text, limit)}" for i, text in enumerate(distinct, start=1)}


def _shared_start(texts: Sequence[str]) -> str:
    first, last = min(texts, default=""), max(texts, default="")  # they differ the earliest
    pairs = enumerate(zip(first, last, strict=False))
    return first[: next((i for i, (a, b) in pairs if a != b), min(len(first), len(last)))]


def is_verbatim(text: str, limit: int = MAX_TEXT) -> bool:
    """Return whether :func:`sanitize` leaves a string unchanged, so that a model can copy it."""
    return sanitize(text, limit) == text


def quote(text: object, limit: int = MAX_TEXT) -> str:
    """Return a sanitized string in double quotes, as data."""
    return json.dumps(sanitize(str(text), limit), ensure_ascii=False)


def quote_name(text: str, limit: int = MAX_TEXT) -> str:
    """Return a simple name or number unchanged, and anything else quoted."""
    words = len(re.findall(r"[A-Za-z]+", text))
    simple = len(text) <= limit and words <= _MAX_WORDS and _SIMPLE_NAME.fullmatch(text)
    return text if simple else quote(text, limit)


def join_words(words: Sequence[str]) -> str:
    """Join words as in ``"a, b and c"``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def escape_markdown(text: str, limit: int | None = None) -> str:
    """Return a string as a single line without Markdown markup; addresses are shown as code.

    Args:
        text: Any string.
        limit: Maximum length before escaping, at least 2; a longer string is cut at its end.
            ``None`` for no limit.
    """
    line = one_line(text)
    if limit is not None and len(line) > limit:
        line = line[: limit - 1] + "…"
    codes = (m.span() for m in _WORD_OF_LINE.finditer(line) if _ADDRESS.search(m[0]))
    escaped, end = "", 0
    for start, stop in codes:
        escaped += _MARKUP.sub(r"\\\g<0>", line[end:start]) + f"`{line[start:stop]}`"
        end = stop
    return escaped + _MARKUP.sub(r"\\\g<0>", line[end:])


def markdown_code(text: str | None) -> str:
    """Return a string as inline code."""
    return f"`{one_line(str(text)).replace('`', '')}`"


def markdown_link(text: str, address: str) -> str:
    """Return a link with escaped text; ``address`` must be trusted."""
    return f"[{escape_markdown(text, MAX_CELL)}]({address})"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of plain strings, which are escaped."""
    return raw_markdown_table(
        head, ([escape_markdown(cell, MAX_CELL) for cell in row] for row in rows)
    )


def raw_markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose cells are already Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown_to_html(markdown: str) -> str:
    """Convert Markdown, with tables and strikethrough, to an HTML fragment."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    return str(parser.render(markdown))


def html_page(title: str, markdown: str) -> str:
    """Convert Markdown to a self-contained HTML page."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{markdown_to_html(markdown)}</body>\n</html>\n"
    )

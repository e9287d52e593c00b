"""other people's text -> data: one line, bounded, quoted, with nothing in it that could act.

Study names, attributes and choices come from other people. What a chat template would take for
the end of a turn is broken up, since servers turn it into the real thing wherever it stands.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache


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

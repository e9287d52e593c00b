"""a model's answer -> the one JSON object in it.

Ollama and the embedded model are held to the schema and write the object alone. Other people's
models put thoughts before it, a code fence or a sentence around it: what was meant is clear as
long as there is one object that could be meant. Of two different ones none is guessed at, nor is
a key that is given twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any


_THOUGHTS = re.compile(r"^.*</think(?:ing)?>", re.DOTALL)


class _TwiceError(ValueError):
    """An object has a key twice."""


def read_object(answer: str, key: str) -> dict[str, Any]:
    """Return the object that an answer consists of, else the only one in it that has ``key``.

    Raises:
        ValueError: There is none, or no telling which; the sentence says so.
    """
    text = answer.strip().removeprefix("\ufeff").strip()
    if not text:
        raise ValueError("Invalid JSON: it is empty")
    try:
        return _object(_DECODER.decode(text))
    except RecursionError:
        raise ValueError("Invalid JSON: its brackets are nested too deep") from None
    except json.JSONDecodeError as error:
        return _only([one for one in _inside(_THOUGHTS.sub("", text)) if key in one], error)


def _only(found: Sequence[dict[str, Any]], error: json.JSONDecodeError) -> dict[str, Any]:
    if not found:
        raise ValueError(f"Invalid JSON: {error.msg} at character {error.pos}")
    if any(one != found[0] for one in found):
        raise ValueError(f"there are {len(found)} different ones, and one was asked for")
    return found[0]


def _inside(text: str) -> Iterator[dict[str, Any]]:
    """Give each JSON object in a text, those within another one left out."""
    place = text.find("{")
    while place >= 0:
        try:
            found, end = _DECODER.raw_decode(text, place)
        except json.JSONDecodeError:
            end = place + 1
        except RecursionError:  # what follows is nested as deep
            return
        else:
            yield found
        place = text.find("{", end)


def _object(found: object) -> dict[str, Any]:
    if not isinstance(found, dict):
        kinds = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
        raise ValueError(f"it is {kinds.get(type(found), 'a number')}")
    return found


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _TwiceError(f"{key[:40]!r} is given twice")
        found[key] = value
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_once, strict=False)  # line breaks within texts

"""a sentence -> the numbers it quotes, each with the precision it is quoted with.

Read are decimals with a point or a comma, thousands, powers of ten and per cent; digits that are
part of a word, a version or a date are left alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass


_NUMBER = re.compile(
    r"(?<![\w.,+])(?<![^\W\d_]-)(?<!\d[:/])(?P<sign>[+−-]?)(?=\.?\d)"
    r"(?P<whole>\d{1,3}(?:,\d{3})+(?![\d,])|\d*)(?:(?P<point>[.,])(?P<part>\d+))?"
    r"(?:[eE](?P<power>[+-]?\d{1,3}))?(?![\w/]|[.,:]\d)(?P<percent>\s?%)?"
)
_ROUGHLY = re.compile(
    r"(?:about|around|roughly|approximately|nearly|almost|close to|~|≈)\s*$", re.IGNORECASE
)
_ROUGH = 0.1
"""How far, relatively, "about" may be off."""
_COUNTS = re.compile(
    r"\s*(?:[a-z]+\s+)?(?P<what>trial|stud|candidate|parameter|class|line)(?:s|y|ies|es)?\b|\s+of\b",
    re.IGNORECASE,
)
_NUMBERS = re.compile(
    r"\b(?P<what>candidate|evidence|option)s?\s+(?:no\.?\s*|number\s+|#)?"
    r"(?:\d+\s*(?:,|and|or|to|&)+\s*)*$",
    re.IGNORECASE,
)
SMALL_COUNT = 10
"""Whole numbers up to this may just count or number things, as in "2 reasons"."""


@dataclass(frozen=True)
class Number:
    """A number as it is quoted.

    Attributes:
        text: As it stands.
        start, end: Where, in characters of its sentence.
        readings: What it may mean, each with how far what is meant may be from it.
        is_signed: Whether a sign stands before it.
        things: What it counts or names, such as ``"trial"`` or ``"candidate"``, ``"thing"`` where
            that is not said; empty for a number in its own right.
    """

    text: str
    start: int
    end: int
    readings: tuple[tuple[float, float], ...]
    is_signed: bool
    things: str

    def is_about(self, known: float) -> bool:
        """Tell whether this quotes a known number, to the precision it is quoted with."""
        meant = (known,) if self.is_signed else (known, abs(known))
        return any(
            abs(value - one) <= slack * (1 + 1e-9) + 1e-12 * abs(value)
            for value, slack in self.readings
            for one in meant
            if math.isfinite(value)
        )

    def is_any_of(self, known: Iterable[float]) -> bool:
        """Tell whether this quotes one of some known numbers."""
        return any(self.is_about(one) for one in known)

    @property
    def is_small_count(self) -> bool:
        """Whether it may just count or number things."""
        return self.text.isdecimal() and int(self.text) <= SMALL_COUNT


def find_numbers(text: str) -> list[Number]:
    """Return the numbers of a sentence, in order."""
    return [_number(text, found) for found in _NUMBER.finditer(text)]


def number_at(numbers: Sequence[Number], place: int) -> Number | None:
    """Return the number that begins at a place and does not count things, if any."""
    return next((one for one in numbers if one.start == place and not one.things), None)


def _number(text: str, found: re.Match[str]) -> Number:
    before = text[max(0, found.start() - 40) : found.start()]
    return Number(
        found.group().strip(),
        *found.span(),
        tuple(_readings(found, bool(_ROUGHLY.search(before)))),
        bool(found["sign"]),
        _things(text, found, before) if found.group().isdecimal() else "",
    )


def _things(text: str, found: re.Match[str], before: str) -> str:
    named = _NUMBERS.search(before) or _COUNTS.match(text, found.end())
    return (named["what"] or "thing").lower() if named else ""


def _readings(found: re.Match[str], is_rough: bool) -> list[tuple[float, float]]:
    whole, part = found["whole"].replace(",", ""), found["part"] or ""
    sign = "-" if found["sign"] in ("-", "−") else ""
    power = int(found["power"] or 0)
    plain = float(f"{sign}{whole or 0}.{part or 0}e{power}")
    readings = [(plain, _slack(plain, len(part) - power, is_rough))]
    first, _, rest = found["whole"].partition(",")
    if rest.strip("0,") and not part:  # a thousand and more, or 1.234 in many countries
        decimal = float(f"{sign}{first}.{rest.replace(',', '')}")
        readings += [(decimal, _slack(decimal, len(rest), is_rough))]
    if found["percent"]:
        readings += [(value / 100, slack / 100) for value, slack in readings]
    return readings


def _slack(value: float, digits: int, is_rough: bool) -> float:
    """Half a unit of the last digit, or a tenth of the whole after "about"."""
    half = float(f"0.5e{-digits}")  # never too large for a power
    return max(half, _ROUGH * abs(value)) if is_rough else half

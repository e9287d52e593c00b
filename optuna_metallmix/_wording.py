"""free text -> sentences, with the parameters, values and numbers that each names.

Nothing here knows what is true. What cannot be read with certainty is left alone, such as a name
that is an ordinary word and stands without a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

from optuna_metallmix._quoted_numbers import Number
from optuna_metallmix._quoted_numbers import find_numbers
from optuna_metallmix._quoted_numbers import number_at


_ALIASES = {"lr": "learning rate", "wd": "weight decay", "bs": "batch size"}
_ORDINARY = frozenset(
    re.findall(
        r"\w+",
        "all and any auto base best constant data dataset default false full good high kind large "
        "linear low max mean method min model no none normal not null off on other random same "
        "score size small standard step steps study task the trial true type uniform valid value "
        "yes",
    )
)
"""Names and choices that are read as such only with a value, or after their parameter's name."""

_SENTENCE = re.compile(r"(?<=[.!?;])(?<!vs\.)(?<!e\.g\.)(?<!i\.e\.)\s+|(?<=[。！？])")
_LINK = re.compile(
    r"(?:[\s=:`\"'(]|\b(?:is|are|was|were|of|at|to|value|values|range|around|about|near|set|from|"
    r"between|equals?|equal|roughly|approximately|being|in|the|a)\b|[~≈])*",
    re.IGNORECASE,
)
"""What may stand between a parameter and its value."""
_UP_TO = re.compile(r"\s*(?:to|-|–|and(?=\s*[\d.]))\s*", re.IGNORECASE)
_BOUND = re.compile(
    r"\s*(?:values?\s+)?(?:(?:that|which)\s+)?(?:is\s+|are\s+)?(?:"
    r"(?P<low>below|under|(?:less|smaller|lower) than|up to|at most|<=?|≤)|"
    r"(?P<high>above|over|(?:more|greater|larger|higher) than|at least|>=?|≥))\s*",
    re.IGNORECASE,
)
_HIGH = (
    r"high(?:er)?|larger?|big(?:ger)?|great(?:er)?|strong(?:er)?|deep(?:er)?|long(?:er)?|wider?"
)
_LOW = r"low(?:er)?|small(?:er)?|tiny|short(?:er)?|shallow(?:er)?|weak(?:er)?"
_GLUE = r"\s+(?:(?:the|a|an|its|values?|of)\s+)*$"
_SIDE_BEFORE = re.compile(
    rf"\b(?:(?P<high>{_HIGH}|more|(?:increas|rais)(?:e|ed|ing))|"
    rf"(?P<low>{_LOW}|little|less|fewer|(?:reduc|decreas)(?:e|ed|ing)|lower(?:ed|ing))){_GLUE}",
    re.IGNORECASE,
)
_SIDE_AFTER = re.compile(
    rf"\s+(?:values?\s+)?(?:that\s+)?(?:is\s+|are\s+)?(?:(?:too|very|so)\s+)?"
    rf"(?:(?P<high>{_HIGH})|(?P<low>{_LOW}))\b(?!\s+than)",
    re.IGNORECASE,
)
_VAGUE = re.compile(
    rf"\b(?:moderate|medium|middle|mid|intermediate|default|typical|other|another|different|some|"
    rf"certain|several|extreme|right|wrong|good|bad|better|best|worse|worst){_GLUE}",
    re.IGNORECASE,
)
"""Before a name: some of its values are meant, and there is no telling which."""
_MOVED = re.compile(
    rf"\b(?:increas|rais|reduc|decreas|lower|mov|chang)(?:e|ed|ing){_GLUE}", re.IGNORECASE
)
"""Before a name: from one value to another, neither of which is meant alone."""
_AVOIDED = re.compile(
    rf"\b(?:avoid(?:s|ed|ing)?|without|no|removing|dropping|excluding|not using)"
    rf"(?:\s+(?:any|such|using|{_HIGH}|{_LOW}))*{_GLUE}",
    re.IGNORECASE,
)
_CONTRAST = re.compile(
    rf"\b(?:instead of|rather than|than|over|versus|vs\.?|compared (?:to|with)|unlike|not)"
    rf"(?:\s+(?:{_HIGH}|{_LOW}))?{_GLUE}",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Mention:
    """A parameter that is named, with what is said of its value.

    Attributes:
        parameter: Its name.
        start, end: Where, in characters of the sentence, value included.
        numbers: Its value or the ends of a range; with ``side`` a bound.
        choice: The label of the choice named; ``None`` for none.
        side: 1 for high values, -1 for low ones, 0 where neither is said.
        is_vague: Whether only some of its values are meant, and it is not said which.
        is_avoided: Whether doing without it is meant.
        is_contrast: Whether it is only what something else is compared with.
    """

    parameter: str
    start: int
    end: int
    numbers: tuple[Number, ...] = ()
    choice: str | None = None
    side: int = 0
    is_vague: bool = False
    is_avoided: bool = False
    is_contrast: bool = False


@dataclass(frozen=True)
class Sentence:
    """A sentence, and what is named in it, in order."""

    text: str
    mentions: tuple[Mention, ...]
    numbers: tuple[Number, ...]


class Vocabulary:
    """The names that can be recognised.

    Args:
        choices: The labels of each parameter's choices, none for a number. Ids of evidence may
            stand among the parameters.
        others: Other names that may hold digits, such as those of studies.
    """

    def __init__(self, choices: Mapping[str, Sequence[str]], others: Iterable[str]) -> None:
        self._names = {name: _pattern(*_spellings(name, choices)) for name in choices}
        self._choices = {
            name: [(one, _pattern(one)) for one in sorted(labels, key=len, reverse=True)]
            for name, labels in choices.items()
        }
        listed = [one for labels in choices.values() for one in labels]
        self._alone = {
            one: (name, _pattern(one))
            for name, labels in choices.items()
            for one in labels
            if listed.count(one) == 1 and len(one) > 2 and not _is_ordinary(one)
        }
        self._others = [_pattern(one) for one in others if re.search(r"\d", one)]

    def read(self, text: str) -> list[Sentence]:
        """Split a text into sentences, and read each."""
        lines = (one_line(one) for one in text.splitlines())
        parts = (one.strip() for line in lines for one in _SENTENCE.split(line))
        return [self._sentence(one) for one in parts if one]

    def _sentence(self, text: str) -> Sentence:
        named = self._named(text)
        hidden = [(start, end) for start, end, _, _ in named]
        hidden += [found.span() for one in self._others for found in one.finditer(text)]
        numbers = [one for one in find_numbers(text) if not _overlaps(one.start, one.end, hidden)]
        mentions: list[Mention] = []
        for one in (self._mention(text, numbers, *one) for one in named):
            is_value = mentions and one.start < mentions[-1].end  # of the name before it
            if not is_value and (_has_value(one) or not _is_ordinary(one.parameter)):
                mentions.append(one)
        inside = [(one.start, one.end) for one in mentions if one.choice is not None]
        numbers = [one for one in numbers if not _overlaps(one.start, one.end, inside)]
        return Sentence(text, tuple(mentions), tuple(numbers))

    def _named(self, text: str) -> list[tuple[int, int, str, str | None]]:
        """Find names, and choices that stand alone; the longer of two that overlap."""
        kept: list[tuple[int, int, str, str | None]] = []
        names = [(name, None, one) for name, one in self._names.items()]
        alone = [(name, label, one) for label, (name, one) in self._alone.items()]
        for group in (names, alone):
            found = [
                (*span.span(), name, label)
                for name, label, pattern in group
                for span in pattern.finditer(text)
            ]
            for one in sorted(found, key=lambda one: one[0] - one[1]):
                if not _overlaps(one[0], one[1], [(start, end) for start, end, _, _ in kept]):
                    kept.append(one)
        return sorted(kept, key=lambda one: one[0])

    def _mention(
        self,
        text: str,
        numbers: Sequence[Number],
        start: int,
        end: int,
        name: str,
        label: str | None,
    ) -> Mention:
        before = text[max(0, start - 40) : start]
        is_avoided = bool(_AVOIDED.search(before))
        mention = Mention(
            name,
            start,
            end,
            choice=label,
            is_vague=bool(_VAGUE.search(before)),
            is_avoided=is_avoided,
            is_contrast=not is_avoided and bool(_CONTRAST.search(before)),
        )
        return mention if label else self._with_value(mention, text, numbers, before)

    def _with_value(
        self, mention: Mention, text: str, numbers: Sequence[Number], before: str
    ) -> Mention:
        place = _end(_LINK, text, mention.end)
        if (bound := _BOUND.match(text, mention.end)) and (at := number_at(numbers, bound.end())):
            return replace(mention, numbers=(at,), side=_side(bound), end=at.end)
        if values := _values(text, numbers, place):
            is_moved = len(values) == 2 and bool(_MOVED.search(before))
            is_vague = mention.is_vague or is_moved
            return replace(mention, numbers=values, end=values[-1].end, is_vague=is_vague)
        for label, pattern in self._choices[mention.parameter]:
            if found := pattern.match(text, place):
                return replace(mention, choice=label, end=found.end())
        if values := _just_before(text, numbers, mention.start):
            return replace(mention, numbers=values, start=values[0].start)
        if side := _SIDE_BEFORE.search(before):
            return replace(mention, side=_side(side))
        if side := _SIDE_AFTER.match(text, mention.end):
            return replace(mention, side=_side(side), end=side.end())
        return mention


def one_line(text: str) -> str:
    """Return a text on one line, without what cannot be printed."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _values(text: str, numbers: Sequence[Number], place: int) -> tuple[Number, ...]:
    """Return the value at a place, or the two ends of a range."""
    first = number_at(numbers, place)
    if first is None:
        return ()
    second = number_at(numbers, _end(_UP_TO, text, first.end))
    return (first, second) if second else (first,)


def _just_before(text: str, numbers: Sequence[Number], place: int) -> tuple[Number, ...]:
    """Return the decimal right before a name, as in "a 0.001 learning rate"."""
    return tuple(
        one
        for one in numbers
        if one.end <= place and not text[one.end : place].strip() and not one.text.isdecimal()
    )


def _spellings(name: str, names: Iterable[str]) -> list[str]:
    """Return a name, and what it is short for or its short form where no other name is that."""
    plain = " ".join(re.split(r"[\s_-]+", name.lower()))
    short = {long: one for one, long in _ALIASES.items()}
    other = _ALIASES.get(plain) or short.get(plain)
    return [name, other] if other and other not in names else [name]


def _pattern(*spellings: str) -> re.Pattern[str]:
    """Match names as whole words: spaces, dashes and underscores alike, long ones in any case."""
    return re.compile(rf"(?<!\w)(?<!\w-)(?:{'|'.join(map(_spelled, spellings))})(?!\w|-\w)")


def _spelled(name: str) -> str:
    parts = [re.escape(one) for one in re.split(r"[\s_-]+", name) if one]
    pattern = r"[\s_-]+".join(parts) or re.escape(name)
    return rf"(?i:{pattern}s?)" if len(name) > 2 else pattern


def _is_ordinary(name: str) -> bool:
    return name.lower() in _ORDINARY or not re.search(r"[^\W\d_]", name)


def _has_value(mention: Mention) -> bool:
    return mention.choice is not None or bool(mention.numbers)


def _side(found: re.Match[str]) -> int:
    return 1 if found["high"] else -1


def _overlaps(start: int, end: int, spans: Iterable[tuple[int, int]]) -> bool:
    return any(start < last and first < end for first, last in spans)


def _end(pattern: re.Pattern[str], text: str, place: int) -> int:
    found = pattern.match(text, place)
    return found.end() if found else place

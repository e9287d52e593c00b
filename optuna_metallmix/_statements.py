"""a sentence -> what it states: that a parameter helped or hurt, or how much it mattered.

English only, and only what is plainly said of a parameter that is named: the nearest one before
the verb, or the one after "by". Other prose states nothing here. Understood are negations ("does
not hurt"), doing without ("avoiding depth 6 helps"), comparisons ("adam instead of sgd helps"),
lists ("lr and depth helped") and ranks ("lr matters most").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass

from optuna_metallmix._quoted_numbers import Number
from optuna_metallmix._quoted_numbers import number_at
from optuna_metallmix._wording import Mention
from optuna_metallmix._wording import Sentence


_GOOD = r"(?:scores?|accurac(?:y|ies)|performance|results?|quality|auc|f1|generali[sz]ation)"
_BAD = r"(?:loss(?:es)?|errors?|error rate|overfitting)"
_UP = r"(?:rais|increas|lift|enhanc)(?:e|es|ed|ing)"
_DOWN = r"(?:lower(?:s|ed|ing)?|(?:reduc|decreas)(?:e|es|ed|ing)|drop(?:s|ped)?)"
_OF = r"\s+(?:(?:the|its|our|expected|validation|test|training|overall|final)\s+){0,3}"
_IS = (
    r"(?:is|are|was|were|be|been|works?|worked|performs?|performed|does|did|looks?|seems?)"
    r"\s+(?:(?:the|a|an|very|quite|more|most|generally|usually|clearly|to be)\s+)*"
)
_HELPS = (
    r"help(?:s|ed|ing|ful)?|improv(?:e|es|ed|ing)|boost(?:s|ed|ing)?|benefi(?:t|ts|ted|cial)|"
    rf"favou?rable|advantageous|{_UP}{_OF}{_GOOD}|{_DOWN}{_OF}{_BAD}|"
    r"(?:positive|beneficial) (?:\w+ )?(?:effect|impact|influence|contribution)|"
    rf"{_IS}(?:good|well|best|useful)"
)
_HURTS = (
    r"hurt(?:s|ing|ful)?|harm(?:s|ed|ful|ing)?|worsen(?:s|ed|ing)?|degrad(?:e|es|ed|ing)|"
    r"damag(?:e|es|ed|ing)|impair(?:s|ed)?|detrimental|unfavou?rable|disadvantageous|"
    rf"{_DOWN}{_OF}{_GOOD}|{_UP}{_OF}{_BAD}|"
    r"(?:negative|adverse|detrimental) (?:\w+ )?(?:effect|impact|influence|contribution)|"
    rf"{_IS}(?:bad|badly|poor|poorly|worst)"
)
_NOTHING = (
    r"(?:has|had|have|makes?|made) (?:almost |nearly )?no (?:real |clear )?"
    r"(?:effect|impact|influence|difference)|(?:does|do|did)(?: not|n't) matter|"
    r"(?:is|are|was|were) (?:irrelevant|unimportant)"
)
_VERB = re.compile(
    rf"\b(?:(?P<helps>{_HELPS})|(?P<hurts>{_HURTS})|(?P<nothing>{_NOTHING}))\b(?!\s+less\b)",
    re.IGNORECASE,
)
_BREAK = re.compile(
    r"[;?]|,(?!\s*(?:which|and|that)\b)|\b(?:but|while|whereas|because|since|although|though|so|"
    r"when|if|whether|unless|where|what|as|avoid\w*|risk|danger|far|away|outside|out of|beyond|"
    r"opposite|others?|less|unlike)\b",
    re.IGNORECASE,
)
"""Between a parameter and a verb: the verb is then about something else."""
_MOST_WORDS_BETWEEN = 8
_NEGATION = re.compile(
    r"\b(?:not(?! only)|never|cannot|neither|nor|hardly|rarely|no|fail(?:s|ed)? to|unlikely)\b|"
    r"n['’]t\b",
    re.IGNORECASE,
)
_RELATIVE = re.compile(r"\b(?:that|which|who)\b", re.IGNORECASE)
_STILL_DENIED = re.compile(r"\s*(?:or|nor)\s*")
_PASSIVE = re.compile(r"\b(?:is|are|was|were|be|been|being)\s+(?:\w+ly\s+)?$", re.IGNORECASE)
_QUALIFIED = (
    r"(?:(?:the|a|an|its|using|with|values?|of|high(?:er)?|low(?:er)?|larger?|small(?:er)?)\s+)*"
)
_AGENT = re.compile(rf"\s+(?:\w+\s+){{0,3}}?(?:by|from)\s+{_QUALIFIED}", re.IGNORECASE)
_AND = re.compile(rf"\s*(?:(?:,|\(|&|and\b|plus\b|or\b)\s*)+{_QUALIFIED}", re.IGNORECASE)
_AMOUNT = re.compile(
    rf"(?:\s+(?:it|them|the|its|{_GOOD}|most|much|by|with an effect of|about|around|roughly))*"
    r"\s*[:(=]?\s*",
    re.IGNORECASE,
)
_WEIGHTY = r"(?:important|influential|decisive|relevant|impactful|significant)"
_EFFECT = r"(?:\w+ )?(?:effect|impact|influence|importance|contribution)"
_ORDER = r"(?:(?P<order>second|third|2nd|3rd)[ -])?"
_RANK = re.compile(
    rf"\b(?:(?P<least>least {_WEIGHTY}|matter(?:s|ed)? (?:the )?least|"
    rf"(?:smallest|weakest|lowest|least) {_EFFECT})|{_ORDER}(?:most {_WEIGHTY}|"
    rf"(?:largest|biggest|strongest|greatest|highest|most) {_EFFECT})|"
    r"(?:matter(?:s|ed)?|help(?:s|ed)?|hurts?) (?:the )?most|dominat(?:es|ed))\b",
    re.IGNORECASE,
)
_OWNER_BEFORE = re.compile(
    r"\s+(?:(?:is|was|are|were|has|had|by far|clearly|the|a|single|values?|one of|among)\s+)*",
    re.IGNORECASE,
)
_OWNER_AFTER = re.compile(
    r"\s*(?:(?:\w+ )?(?:parameter|factor|setting)s?\s*|hyperparameters?\s*)?"
    rf"(?:(?:is|was|are|were|has|had|comes? from|came from|of)\s+|:\s*){_QUALIFIED}",
    re.IGNORECASE,
)
_THAN = re.compile(
    rf"\s+(?:matter(?:s|ed)?|is|was|help(?:s|ed)?|hurts?|has|had)\s+(?:(?:an?|much)\s+)*"
    rf"(?:more(?: {_WEIGHTY})?|(?:larger|bigger|stronger|greater) {_EFFECT})\s+than\s+"
    rf"{_QUALIFIED}",
    re.IGNORECASE,
)
_PLACES = {"second": 2, "2nd": 2, "third": 3, "3rd": 3}


@dataclass(frozen=True)
class Effect:
    """That a parameter, or a value of it, did something to the score.

    Attributes:
        about: The parameter.
        sign: 1 for helped, -1 for hurt, 0 for nothing.
        is_denied: Whether it is said not to have.
        amount: How much, where that is said.
    """

    about: Mention
    sign: int
    is_denied: bool = False
    amount: Number | None = None


@dataclass(frozen=True)
class Rank:
    """How much a parameter matters among all.

    Attributes:
        about: The parameter.
        place: From 1 for the most, -1 for the least.
        sign: 1 for helping, -1 for hurting, 0 for mattering either way.
        is_one_of: Whether it is only said to be one of the most important.
        over: What it is said to matter more than; ``None`` for all.
    """

    about: Mention
    place: int = 1
    sign: int = 0
    is_one_of: bool = False
    over: Mention | None = None


def effects(sentence: Sentence) -> Iterator[Effect]:
    """Give each statement that a parameter helped, hurt or did nothing."""
    start = 0
    for verb in _VERB.finditer(sentence.text):
        if any(one.start < verb.end() and verb.start() < one.end for one in sentence.mentions):
            continue
        sign = 1 if verb["helps"] else -1 if verb["hurts"] else 0
        amount = number_at(sentence.numbers, _past(_AMOUNT, sentence.text, verb.end()))
        for about, gap in _subjects(sentence, verb, start):
            turned = about.is_avoided and not _RELATIVE.search(gap)
            is_denied = bool(sign and _NEGATION.search(gap))
            yield Effect(about, -sign if turned else sign, is_denied, None if turned else amount)
        start = verb.end()


def ranks(sentence: Sentence) -> Iterator[Rank]:
    """Give each statement of how much a parameter matters."""
    for found in _RANK.finditer(sentence.text):
        if (about := _owner(sentence, found)) is None:
            continue
        told = found.group().lower()
        helps, hurts = (
            ("help" in told or "positive" in told),
            ("hurt" in told or "negative" in told),
        )
        place = -1 if found["least"] else _PLACES.get((found["order"] or "").lower(), 1)
        is_one_of = re.search(
            r"\b(?:one of|among)\b", sentence.text[: found.start()], re.IGNORECASE
        )
        yield Rank(about, place, int(helps) - int(hurts), bool(is_one_of))
    for one in sentence.mentions:
        other = _mention_at(sentence, _past(_THAN, sentence.text, one.end))
        if other is not None and _THAN.match(sentence.text, one.end):
            yield Rank(one, over=other)


def _subjects(
    sentence: Sentence, verb: re.Match[str], start: int
) -> Iterator[tuple[Mention, str]]:
    """Give what a verb is about, each with what stands between."""
    text, verb_text = sentence.text, verb.group().lower()
    is_passive = _PASSIVE.search(text[: verb.start()]) and re.search(r"(?:ed|hurt)$", verb_text)
    before = [one for one in sentence.mentions if one.end <= verb.start() and not one.is_contrast]
    if is_passive or verb_text.startswith("benefit") or not before:
        agent = _mention_at(sentence, _past(_AGENT, text, verb.end()))
        if agent is not None and _AGENT.match(text, verb.end()):
            yield agent, ""
        if agent is not None or is_passive or not before:
            return
    gap = text[before[-1].end : verb.start()]
    if _BREAK.search(gap) or len(gap.split()) > _MOST_WORDS_BETWEEN:
        return
    if start > before[-1].end and not _STILL_DENIED.fullmatch(text[start : verb.start()]):
        gap = text[start : verb.start()]
    for one in _listed(text, before):
        if not one.is_vague:
            yield one, gap


def _listed(text: str, before: Sequence[Mention]) -> Iterator[Mention]:
    """Give the last of some mentions, and those that are listed with it."""
    yield before[-1]
    for first, second in zip(before[-2::-1], before[:0:-1], strict=False):
        if not _AND.fullmatch(text, first.end, second.start):
            return
        yield first


def _owner(sentence: Sentence, phrase: re.Match[str]) -> Mention | None:
    """Return the parameter that a rank is given to."""
    text = sentence.text
    if _OWNER_AFTER.match(text, phrase.end()):
        after = _mention_at(sentence, _past(_OWNER_AFTER, text, phrase.end()))
        if after is not None:
            return after
    before = [one for one in sentence.mentions if one.end <= phrase.start()]
    if before and _OWNER_BEFORE.fullmatch(text, before[-1].end, phrase.start()):
        return before[-1]
    return None


def _mention_at(sentence: Sentence, place: int) -> Mention | None:
    return next((one for one in sentence.mentions if one.start == place), None)


def _past(pattern: re.Pattern[str], text: str, place: int) -> int:
    found = pattern.match(text, place)
    return found.end() if found else place

"""proposal -> which of its claims are false: of what it cites, and of what it says in free text.

Citations are exact: the evidence bears on the values chosen and points the right way, and each
change has a reason. Free text is read for what can be read with certainty, see
:mod:`_statements` and :mod:`_quoted_numbers`: signs, ranks and numbers of parameters that are
known by name. It is held against :class:`Facts`; the rest is prose, and stays the model's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from optuna.distributions import BaseDistribution

from optuna_metallmix._candidates import Candidate
from optuna_metallmix._evidence import bearing
from optuna_metallmix._facts import Facts
from optuna_metallmix._meta_dataset import Config
from optuna_metallmix._proposal import Proposal
from optuna_metallmix._question import Question
from optuna_metallmix._quoted_numbers import Number
from optuna_metallmix._quoted_numbers import find_numbers
from optuna_metallmix._quoted_numbers import number_at
from optuna_metallmix._search_space import choices_of
from optuna_metallmix._search_space import is_number
from optuna_metallmix._search_space import label_of
from optuna_metallmix._statements import effects
from optuna_metallmix._statements import ranks
from optuna_metallmix._wording import Mention
from optuna_metallmix._wording import Sentence
from optuna_metallmix._wording import Vocabulary


_ID = re.compile(r"\bE\d+\b")
_EXPECTED = re.compile(
    r"\b(?:expected|predicted|score[sd]?)(?:\s+(?:to|be|score|of|is|at|a|the|about))*\s*[:=]?\s*",
    re.IGNORECASE,
)
_COMPARED = re.compile(r"\b(?:compared|than|over|versus|vs|unlike)\b", re.IGNORECASE)
_HAS = re.compile(r"\s+(?:has|uses|used|sets|keeps|takes)\s+(?:(?:the|a|an)\s+)*", re.IGNORECASE)


@dataclass(frozen=True)
class FalseClaim:
    """A sentence of a model that is not true.

    Attributes:
        quote: The sentence, on one line.
        truth: What speaks against it.
    """

    quote: str
    truth: str

    @property
    def sentence(self) -> str:
        """The claim and what speaks against it, in one sentence."""
        return f'Not true: "{self.quote}" ({self.truth}).'


def false_citations(proposal: Proposal, question: Question) -> list[str]:
    """Check each cited evidence against the values, and each change against what is cited."""
    if question.explanation is None:
        return []
    space, params = question.space, proposal.params
    cited = [one for one in question.explanation.evidence if one.id in proposal.evidence]
    speaking = {one.id: bearing(one, space, params) for one in cited}
    failures = []
    for one in cited:
        if speaking[one.id] == 0:
            failures.append(
                f"{one.id} is about {one.parameter}, which the chosen configuration does not have."
            )
        elif speaking[one.id] < 0:
            value = label_of(space[one.parameter], params[one.parameter])
            failures.append(
                f"{one.id} ({one.sentence}) speaks against {one.parameter}={value}, which was "
                "chosen."
            )
    reasoned = {one.parameter for one in cited if speaking[one.id] > 0}
    failures += [
        f"{name} was changed, but no evidence is cited for the new value."
        for name in proposal.changes
        if name not in reasoned
    ]
    return failures


def false_claims(
    texts: Iterable[str], question: Question, params: Config
) -> tuple[FalseClaim, ...]:
    """Return the sentences of free texts that what was shown speaks against.

    Without evidence the model was asked for what it knows itself, and nothing is checked.
    """
    explanation = question.explanation
    if explanation is None or not explanation.evidence:
        return ()
    facts = Facts(question, explanation, params)
    vocabulary = _vocabulary(question)
    found = []
    for sentence in (one for text in texts for one in vocabulary.read(text)):
        if reasons := list(dict.fromkeys(_against(sentence, facts, question, params))):
            found.append(FalseClaim(sentence.text, "; ".join(reasons)))
    return tuple(found)


def _vocabulary(question: Question) -> Vocabulary:
    explanation = question.explanation
    evidence = explanation.evidence if explanation else ()
    nearest = explanation.nearest if explanation else ()
    names: dict[str, Sequence[str]] = {one.id: () for one in evidence}
    for name, distribution in question.space.items():
        names[name] = [label_of(distribution, one) for one in choices_of(distribution)]
    features = [*question.meta_features, *question.meta_features.values()]
    others = [one.name for one in nearest] + [str(one) for one in features if isinstance(one, str)]
    return Vocabulary(names, others)


def _against(
    sentence: Sentence, facts: Facts, question: Question, params: Config
) -> Iterator[str]:
    """Give what speaks against a sentence, claim by claim."""
    judged = list(effects(sentence))
    told = [*map(facts.against_effect, judged), *map(facts.against_rank, ranks(sentence))]
    yield from (one for one in told if one)
    yield from _misquoted(sentence, facts)
    yield from _of_candidates(sentence, question, params)
    about = list(dict.fromkeys(facts.parameter_of(one.parameter) for one in sentence.mentions))
    attached = {number.start for one in sentence.mentions for number in one.numbers}
    for mention in sentence.mentions:
        is_judged = any(one.about is mention for one in judged)
        for number in mention.numbers:
            if not facts.stands_beside(number, mention.parameter, is_judged=is_judged):
                yield f"{number.text} stands nowhere beside {mention.parameter}"
    for number in sentence.numbers:
        if number.start not in attached and not _stands(number, about, facts, question):
            yield f"{number.text} stands nowhere in what was shown"


def _stands(number: Number, about: Sequence[str], facts: Facts, question: Question) -> bool:
    """Tell whether a number that is no parameter's value has a place in what was shown."""
    if number.things in ("trial", "stud"):
        return facts.is_count(number, about)
    if number.things in ("candidate", "option"):
        return number.text in {str(one.number) for one in question.candidates}
    if number.things == "evidence":
        return facts.parameter_of(f"E{number.text}") != f"E{number.text}"
    return number.is_small_count or facts.stands(number, about)


def _misquoted(sentence: Sentence, facts: Facts) -> Iterator[str]:
    """Give what is wrong with the ids of evidence that a sentence names."""
    for found in _ID.finditer(sentence.text):
        if not any(one.start <= found.start() < one.end for one in sentence.mentions):
            yield f"there is no evidence {found.group()}"
    for first, second in pairwise(sentence.mentions):
        name, parameter = first.parameter, facts.parameter_of(second.parameter)
        is_id = parameter != second.parameter
        beside = sentence.text[first.end : second.start].strip() == "("
        if is_id and beside and facts.parameter_of(name) == name != parameter:
            yield f"{second.parameter} is about {parameter}"


def _of_candidates(sentence: Sentence, question: Question, params: Config) -> Iterator[str]:
    """Give what is wrong with what a sentence says of one candidate."""
    numbered = {str(one.number): one for one in question.candidates}
    named = [one for one in sentence.numbers if one.things == "candidate" and one.text in numbered]
    if len(named) != 1 or _COMPARED.search(sentence.text[: named[0].start]):
        return
    candidate = numbered[named[0].text]
    told = [one for one in (candidate.predicted, candidate.spread) if one is not None]
    for found in _EXPECTED.finditer(sentence.text):
        number = number_at(sentence.numbers, found.end())
        if number and told and not number.is_any_of([*told, *(round(one, 2) for one in told)]):
            yield f"candidate {candidate.number} is expected to score {told[0]:.2f}"
    has = _HAS.match(sentence.text, named[0].end)
    for one in sentence.mentions if has else ():
        if has and one.start == has.end() and one.parameter in question.space:
            new = _new_value(one.parameter, question, params)
            yield from _wrong_value(one, candidate, new, question.space[one.parameter])


def _new_value(name: str, question: Question, params: Config) -> list[Any]:
    """Return the value proposed for a parameter, where no candidate has it: it was put in."""
    known = [one.params[name] for one in question.candidates if name in one.params]
    return [params[name]] if name in params and params[name] not in known else []


def _wrong_value(
    mention: Mention, candidate: Candidate, new: Sequence[Any], distribution: BaseDistribution
) -> Iterator[str]:
    """Give what a candidate has, where something else is said of it."""
    name = mention.parameter
    if mention.side or not (mention.numbers or mention.choice is not None):
        return
    values = [*new, *([candidate.params[name]] if name in candidate.params else [])]
    labels = [label_of(distribution, one) for one in values]
    if mention.choice in labels:
        return
    if not any(map(partial(_is_written, mention.numbers), labels, values)):
        truth = f"{name} = {labels[-1]}" if name in candidate.params else f"no {name}"
        yield f"candidate {candidate.number} has {truth}"


def _is_written(numbers: Sequence[Number], label: str, value: Any) -> bool:
    """Tell whether numbers quote a value, as it is or as it was shown."""
    known = [value for one in find_numbers(label) for value, _ in one.readings]
    known += [float(value)] if is_number(value) else []
    return any(one.is_any_of(known) for one in numbers)

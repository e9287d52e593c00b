"""question -> what its past says: which numbers stand in it, and what is untrue of a statement.

Everything is held against what the model was shown: evidence, candidates, nearest studies,
meta-features, search space, own trials. A statement is untrue only where that speaks against it:
for "lr helped" without a value it is enough that some evidence on lr says so, and for a value that
no evidence is about, that evidence on other values says the opposite.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from optuna_metallmix._evidence import Evidence
from optuna_metallmix._explanation import Explanation
from optuna_metallmix._meta_dataset import Config
from optuna_metallmix._numbers import format_number
from optuna_metallmix._question import Question
from optuna_metallmix._quoted_numbers import Number
from optuna_metallmix._search_space import choices_of
from optuna_metallmix._search_space import is_number
from optuna_metallmix._search_space import is_ordered
from optuna_metallmix._search_space import label_of
from optuna_metallmix._search_space import to_unit
from optuna_metallmix._statements import Effect
from optuna_metallmix._statements import Rank
from optuna_metallmix._wording import Mention


_TIE = 0.005
"""Effects are shown with two decimals: those that differ by less share a rank."""


class Facts:
    """What a question's past says.

    Args:
        question: What was asked.
        explanation: Its explanation.
        params: The configuration proposed, whose values may be named, too.
    """

    def __init__(self, question: Question, explanation: Explanation, params: Config) -> None:
        self._space = question.space
        self._evidence = explanation.evidence
        self._importance = explanation.importance
        configs = [
            params,
            *(one.params for one in question.candidates),
            *(one.best for one in explanation.nearest),
            *(tried for tried, _ in question.tried),
        ]
        self._values = {
            name: _values_of(name, question.space[name], configs) for name in self._space
        }
        self._others = _shown(_other_numbers(question, explanation))
        self._counts = [
            len(explanation.configs),
            len(explanation.nearest),
            len(question.candidates),
        ]
        self._counts += [len(self._space), len(self._evidence)]
        self._counts += [one.n_trials for one in explanation.nearest]

    def parameter_of(self, name: str) -> str:
        """Return the parameter that a name or an evidence's id is about."""
        return next((one.parameter for one in self._evidence if one.id == name), name)

    def numbers_of(self, name: str) -> list[float]:
        """Return the numbers that may be named beside a parameter: values, effects, counts."""
        own = self._about(name)
        told = [n for one in own for n in (one.effect, one.n_trials, one.n_studies)]
        told += [n for one in own for n in (one.low, one.high) if n is not None]
        told += [self._importance[name]] if name in self._importance else []
        return _shown(told) + self._values.get(self.parameter_of(name), [])

    def stands_beside(self, number: Number, name: str, *, is_judged: bool) -> bool:
        """Tell whether a number belongs to a parameter.

        Of a value that is said to help or hurt it is enough to lie in a range of evidence.
        """
        inside = is_judged and any(_is_inside(number, one) for one in self._about(name))
        return inside or number.is_any_of(self.numbers_of(name))

    def stands(self, number: Number, about: Sequence[str]) -> bool:
        """Tell whether a number was shown; one with a sign is an effect, of one of ``about``."""
        names = about if about and number.is_signed else [*self._space]
        own = (n for name in names for n in self.numbers_of(name))
        return number.is_any_of(self._others) or number.is_any_of(own)

    def is_count(self, number: Number, about: Sequence[str]) -> bool:
        """Tell whether so many trials or studies were told of, beside a parameter of its own."""
        own = [one for name in about for one in self._about(name)] or self._evidence
        told = [n for one in own for n in (one.n_trials, one.n_studies)]
        return number.is_any_of(told + self._counts) or (not about and number.is_small_count)

    def against_effect(self, said: Effect) -> str | None:
        """Return what is untrue of a statement that something helped or hurt, if anything."""
        own = self._about(said.about.parameter)
        meant = self._meant(said.about, own)
        if said.sign == 0 or said.is_denied:
            is_true = not meant or not all(_agrees(one, said.sign) for one in meant)
        elif meant:
            is_true = any(_agrees(one, said.sign) for one in meant)
        else:
            is_true = any(_agrees(one, -said.sign) for one in own)
        if not is_true:
            return _told(meant or own, said.about.parameter)
        if said.amount is not None and not said.amount.is_any_of(
            _shown(one.effect for one in meant or own)
        ):
            return f"{said.amount.text} is not its effect: {_told(meant or own, '')}"
        return None

    def against_rank(self, said: Rank) -> str | None:
        """Return what is untrue of a statement that something matters most, if anything."""
        name = self.parameter_of(said.about.parameter)
        if said.is_one_of:
            return None if self._about(name) else _told([], name)
        if said.over is not None:
            other = self.parameter_of(said.over.parameter)
            fits = any(one.get(name, 0.0) >= one.get(other, 0.0) - _TIE for one in self._sizes())
        elif said.sign:
            fits = self._leads(said)
        else:
            fits = any(_has_place(one, name, said.place) for one in self._sizes())
        return None if fits else self._told_order(said.sign)

    def _about(self, name: str) -> list[Evidence]:
        return [one for one in self._evidence if name in (one.parameter, one.id)]

    def _meant(self, about: Mention, own: Sequence[Evidence]) -> list[Evidence]:
        """Return the evidence on the values that are named; all of it where none are."""
        if about.choice is not None:
            return [one for one in own if one.choice == about.choice]
        if about.side:
            return [one for one in own if self._side(about, one) == about.side]
        values = [one for one in about.numbers if not _is_effect(one, own)]
        if not values:
            return list(own)
        whole = [one for one in own if all(_is_inside(number, one) for number in values)]
        return whole or [one for one in own if any(_is_inside(number, one) for number in values)]

    def _side(self, about: Mention, one: Evidence) -> int:
        """Return on which side of a bound, or of the middle of its range, evidence lies."""
        distribution = self._space.get(one.parameter)
        if one.low is None or one.high is None or distribution is None:
            return 0
        if not is_ordered(distribution):
            return 0
        low, high = (to_unit(distribution, end) for end in (one.low, one.high))
        middle, bound = (low + high) / 2, 0.5
        if about.numbers:
            bound = to_unit(distribution, about.numbers[0].readings[0][0])
        return int(middle > bound) - int(middle < bound)

    def _sizes(self) -> Iterator[Mapping[str, float]]:
        """Give how much each parameter matters, by both measures that may be meant."""
        yield self._importance
        largest: dict[str, float] = dict.fromkeys(self._space, 0.0)
        for one in self._evidence:
            largest[one.parameter] = max(largest.get(one.parameter, 0.0), abs(one.effect))
        yield largest

    def _leads(self, said: Rank) -> bool:
        meant = self._meant(said.about, self._about(said.about.parameter))
        own = [one.effect * said.sign for one in meant]
        return (
            bool(own) and max(own) >= max(one.effect * said.sign for one in self._evidence) - _TIE
        )

    def _told_order(self, sign: int) -> str:
        ordered = sorted(
            self._evidence, key=lambda one: -one.effect * sign if sign else -abs(one.effect)
        )
        return "the largest effect is " + _told(ordered[:1], "")


def _has_place(sizes: Mapping[str, float], name: str, place: int) -> bool:
    """Tell whether a parameter has a place by size, ties counted for it."""
    if name not in sizes:
        return False
    above = sum(size > sizes[name] + _TIE for size in sizes.values())
    below = sum(size < sizes[name] - _TIE for size in sizes.values())
    return below == 0 if place < 0 else above < place <= len(sizes) - below


def _agrees(evidence: Evidence, sign: int) -> bool:
    """Tell whether evidence is of that sign; of sign 0 none is, for each has an effect."""
    return sign == 0 or (evidence.effect > 0) == (sign > 0)


def _is_inside(number: Number, evidence: Evidence) -> bool:
    """Tell whether evidence is about a value, to the precision it is quoted with."""
    if evidence.low is None or evidence.high is None:
        choice = _number(evidence.choice)
        return choice is not None and number.is_about(choice)
    low, high = evidence.low, evidence.high
    return any(low - slack <= value <= high + slack for value, slack in number.readings)


def _is_effect(number: Number, own: Sequence[Evidence]) -> bool:
    is_effect = number.is_any_of(_shown(one.effect for one in own))
    return is_effect and not any(_is_inside(number, one) for one in own)


def _told(evidence: Sequence[Evidence], name: str) -> str:
    if not evidence:
        return f"no evidence is about {name}"
    return "; ".join(f"{one.id} says {one.sentence}" for one in evidence[:2])


def _shown(numbers: Iterable[float]) -> list[float]:
    """Return numbers as they are, and as they may have been shown: with fewer digits."""
    plain = [float(one) for one in numbers if is_number(one)]
    return [
        *plain,
        *(round(one, 2) for one in plain),
        *(float(format_number(one)) for one in plain),
    ]


def _values_of(name: str, distribution: Any, configs: Iterable[Config]) -> list[float]:
    """Return the numbers that were shown as values of a parameter, the ends of its range too."""
    values = [config[name] for config in configs if name in config]
    values += choices_of(distribution) or [distribution.low, distribution.high]
    labels = [_number(label_of(distribution, one)) for one in values]
    return _shown([one for one in labels if one is not None] + [v for v in values if is_number(v)])


def _other_numbers(question: Question, explanation: Explanation) -> Iterator[float]:
    """Give the numbers that belong to no parameter."""
    yield from (0.0, 1.0, 100.0)  # the ends of the score, and the whole in per cent
    for candidate in question.candidates:
        yield from (one for one in (candidate.predicted, candidate.spread, candidate.cost) if one)
    for study in explanation.nearest:
        yield study.n_trials
        yield from [study.distance] if study.distance is not None else []
    yield from (float(one) for one in question.meta_features.values() if is_number(one))
    yield from (value for _, value in question.tried)
    yield explanation.base
    yield from [explanation.quality] if explanation.quality is not None else []


def _number(label: str | None) -> float | None:
    try:
        return float(label or "")
    except ValueError:
        return None

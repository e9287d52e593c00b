"""the same question, its candidates and evidence in other orders -> does a model read?

A model that reads takes the same configuration wherever it stands; one that does not takes the
same place whatever stands there. SmolLM2-135M takes what stands first (measured while planning):
its choices look as good as the order in which it is shown the candidates, and are no use of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import Literal

import numpy as np

from optuna_metallmix.errors import ProposalError
from optuna_metallmix.judge import read_answer
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import ask
from optuna_metallmix.prompt import PromptView
from optuna_metallmix.prompt import Question
from optuna_metallmix.prompt import prompt_view
from optuna_metallmix.prompt import suggestion_messages
from optuna_metallmix.prompt import suggestion_schema


Reading = Literal["yes", "in part", "no", "unclear", "not told"]

_MOSTLY = 0.8
"""Share of its answers from which a model is said to take one place, or one configuration."""
_PARTLY = 0.5
"""The same, to read in part. Evidence leaves ties: a script that adds it up takes the same
configuration in 58 % of its answers (HPOBench, 6 candidates in 6 orders, 2026-11)."""
_LEAST_ORDERS = 6
"""Answers below which nothing is said."""


@dataclass(frozen=True)
class Choice:
    """What a model chose in one order.

    Attributes:
        study: The study it was asked about.
        order: The candidates as they stood, by the numbers that they have when best stands first.
        place: Where its choice stood, from 1; ``None`` where it gave no usable answer.
        candidate: Which candidate that was; ``None`` as above.
    """

    study: str
    order: tuple[int, ...]
    place: int | None
    candidate: int | None


@dataclass(frozen=True)
class Habit:
    """What a model's choices have in common, over all orders.

    Attributes:
        n: Usable answers.
        place: The place it takes most often, from 1; ``None`` where it gave no usable answer.
        place_share: In what share of its answers, in [0, 1].
        candidate_share: In what share it takes the candidate that it takes most often in that
            study, in [0, 1].
    """

    n: int
    place: int | None
    place_share: float
    candidate_share: float

    @property
    def reading(self) -> Reading:
        """Whether it reads, as far as the shares tell."""
        if self.n < _LEAST_ORDERS:
            return "not told"
        if self.candidate_share >= _MOSTLY:
            return "yes"
        if self.place_share >= _MOSTLY:
            return "no"
        in_part = self.candidate_share >= _PARTLY and self.candidate_share > self.place_share
        return "in part" if in_part else "unclear"

    @property
    def sentence(self) -> str:
        """The habit in words."""
        if not self.n:
            return "gave no usable answer"
        verdict = {
            "yes": "reads",
            "in part": "reads in part",
            "no": "does not read",
            "unclear": "may read or not",
            "not told": f"was asked too seldom to tell (at least {_LEAST_ORDERS} answers)",
        }[self.reading]
        return (
            f"{verdict}: place {self.place} in {self.place_share:.0%} of {self.n} answers, the "
            f"same configuration in {self.candidate_share:.0%} of those about one study"
        )


def choose_in_orders(
    name: str, question: Question, llm: LLM, n_orders: int, rng: np.random.Generator
) -> Iterator[Choice]:
    """Ask the same question in ``n_orders`` orders; over all of them each candidate stands in as
    many places as there are, where there are as many orders."""
    for order in _orders(len(prompt_view(question).candidates), n_orders, rng):
        shown = _shuffled(question, order, rng)
        place = _place(shown, llm)
        yield Choice(name, order, place, None if place is None else order[place - 1])


def habit_of(choices: Iterable[Choice]) -> Habit:
    """Sum up what a model chose."""
    usable = [one for one in choices if one.place is not None]
    if not usable:
        return Habit(0, None, 0.0, 0.0)
    (place, n_place), *_ = Counter(one.place for one in usable).most_common(1)
    by_study: dict[str, list[Choice]] = {}
    for one in usable:
        by_study.setdefault(one.study, []).append(one)
    same = sum(_most([one.candidate for one in asked]) for asked in by_study.values())
    return Habit(len(usable), place, n_place / len(usable), same / len(usable))


def _most(choices: Sequence[Hashable]) -> int:
    return Counter(choices).most_common(1)[0][1]


def _orders(n: int, n_orders: int, rng: np.random.Generator) -> Iterator[tuple[int, ...]]:
    """Yield rotations of one random order, those furthest apart first where there are fewer."""
    start = rng.permutation(n).tolist()
    for i in range(n_orders):
        turn = round(i * n / min(n_orders, n)) % n
        yield tuple(one + 1 for one in start[turn:] + start[:turn])


def _shuffled(question: Question, order: Sequence[int], rng: np.random.Generator) -> PromptView:
    """Show what is shown of a question in another order; numbers tell nothing any more."""
    shown = prompt_view(question)
    candidates = [shown.candidates[one - 1] for one in order]
    renumbered = [replace(one, number=place) for place, one in enumerate(candidates, start=1)]
    explanation = shown.explanation
    if explanation is not None:
        evidence = [explanation.evidence[i] for i in rng.permutation(len(explanation.evidence))]
        named = tuple(replace(one, id=f"E{i}") for i, one in enumerate(evidence, start=1))
        explanation = replace(explanation, evidence=named)
    return prompt_view(
        replace(question, candidates=renumbered, explanation=explanation, ranked=False)
    )


def _place(shown: PromptView, llm: LLM) -> int | None:
    attempt = ask(llm, suggestion_messages(shown), suggestion_schema(shown, may_change=False))
    try:
        return read_answer(attempt.answer, shown).candidate
    except ProposalError:
        return None

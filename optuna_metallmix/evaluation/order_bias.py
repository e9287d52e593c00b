"""Ask the same question with candidates and evidence in other orders, to measure order bias.

A model that reads the prompt chooses the same configuration wherever it is listed. A model with
order bias chooses the same position whatever is listed there: SmolLM2-135M chooses the first
(measured 2026-11), so its choices are only as good as the order of the candidates.
"""

from __future__ import annotations

from collections import Counter
from collections import defaultdict
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


Verdict = Literal["yes", "in part", "no", "unclear", "untested"]

_MOSTLY = 0.8
"""Share of answers from which a model counts as choosing one position or configuration."""
_PARTLY = 0.5
"""The same for reading in part. Evidence has ties: a script that adds up its effects chooses the
same configuration in 58 % of its answers (HPOBench, 6 candidates in 6 orders, 2026-11)."""
_MIN_ANSWERS = 6
"""Minimum number of answers for a verdict."""


@dataclass(frozen=True)
class Choice:
    """The choice of a model in a single order.

    Attributes:
        study: Name of the study that the question is about.
        order: Numbers of the candidates in the order shown; number 1 is predicted best.
        position: Position of the chosen candidate, from 1; ``None`` without a usable answer.
        candidate: Number of the chosen candidate; ``None`` without a usable answer.
    """

    study: str
    order: tuple[int, ...]
    position: int | None
    candidate: int | None


@dataclass(frozen=True)
class OrderBias:
    """How the choices of a model depend on the order.

    Attributes:
        n: Number of usable answers.
        position: The position chosen most often, from 1; ``None`` without a usable answer.
        position_share: Share of the answers that choose it, in [0, 1].
        candidate_share: Share of the answers that choose the candidate chosen most often for
            their study, in [0, 1].
    """

    n: int
    position: int | None
    position_share: float
    candidate_share: float

    @property
    def reads(self) -> Verdict:
        """Whether the model reads the prompt."""
        if self.n < _MIN_ANSWERS:
            return "untested"
        if self.candidate_share >= _MOSTLY:
            return "yes"
        if self.position_share >= _MOSTLY:
            return "no"
        in_part = self.candidate_share >= _PARTLY and self.candidate_share > self.position_share
        return "in part" if in_part else "unclear"

    @property
    def sentence(self) -> str:
        """The verdict with its numbers, to follow the model's name."""
        if not self.n:
            return "gave no usable answer"
        verdict = {
            "yes": "reads the prompt",
            "in part": "reads the prompt in part",
            "no": "does not read the prompt",
            "unclear": "may or may not read the prompt",
            "untested": f"gave too few answers for a verdict (at least {_MIN_ANSWERS})",
        }[self.reads]
        return (
            f"{verdict}: position {self.position} in {self.position_share:.0%} of {self.n} "
            f"answers, the same configuration in {self.candidate_share:.0%} of those about a study"
        )


def ask_in_orders(
    study: str, question: Question, llm: LLM, n_orders: int, rng: np.random.Generator
) -> Iterator[Choice]:
    """Ask the question in ``n_orders`` candidate orders.

    With at least as many orders as candidates, each candidate appears in every position.
    """
    asked = prompt_view(question)
    for order in _rotations(len(asked.candidates), n_orders, rng):
        view = _reorder(asked, order, rng)
        attempt = ask(llm, suggestion_messages(view), suggestion_schema(view, may_change=False))
        try:
            position = read_answer(attempt.answer, view).candidate
        except ProposalError:
            yield Choice(study, order, None, None)
        else:
            yield Choice(study, order, position, order[position - 1])


def order_bias(choices: Iterable[Choice]) -> OrderBias:
    """Measure the order bias of a model from its choices."""
    usable = [choice for choice in choices if choice.position is not None]
    if not usable:
        return OrderBias(0, None, 0.0, 0.0)
    (position, count), *_ = Counter(choice.position for choice in usable).most_common(1)
    by_study: dict[str, Counter[int | None]] = defaultdict(Counter)
    for choice in usable:
        by_study[choice.study][choice.candidate] += 1
    same = sum(max(counts.values()) for counts in by_study.values())
    return OrderBias(len(usable), position, count / len(usable), same / len(usable))


def _rotations(n: int, n_orders: int, rng: np.random.Generator) -> Iterator[tuple[int, ...]]:
    """Yield rotations of a random order of 1 to ``n``, as far apart as possible."""
    start = rng.permutation(n) + 1
    for i in range(n_orders):
        yield tuple(np.roll(start, -round(i * n / min(n_orders, n))).tolist())


def _reorder(view: PromptView, order: Sequence[int], rng: np.random.Generator) -> PromptView:
    """Show the same candidates and evidence in another order, with new numbers."""
    candidates = tuple(
        replace(view.candidates[number - 1], number=position)
        for position, number in enumerate(order, start=1)
    )
    explanation = view.explanation
    if explanation is not None:
        shown = [explanation.evidence[i] for i in rng.permutation(len(explanation.evidence))]
        renamed = tuple(replace(item, id=f"E{i}") for i, item in enumerate(shown, start=1))
        explanation = replace(explanation, evidence=renamed)
    question = replace(view.question, ranked=False)
    return replace(view, question=question, candidates=candidates, explanation=explanation)

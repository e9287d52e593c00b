"""Accept or reject a proposal, without ever editing it.

The checks run in this order and stop at the first rejection: code (every value is in the search
space and every citation supports the choice), the meta-learner (the proposal is not clearly worse
than the best candidate), and a language model with a rubric. The model's prose is not checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace

from optuna_metallmix.candidates import best_predicted
from optuna_metallmix.explain import evidence_sign
from optuna_metallmix.judge.llm_judge import Review
from optuna_metallmix.judge.llm_judge import review
from optuna_metallmix.judge.proposal import Proposal
from optuna_metallmix.llm import LLM
from optuna_metallmix.prompt import Question
from optuna_metallmix.space import contains
from optuna_metallmix.space import describe
from optuna_metallmix.space import label_of


MARGIN = 0.03
"""Maximum allowed gap between the best candidate's predicted score and the proposal's.

The unchanged candidate 1 is exempt. The margin bounds the damage of a bad model: on HPOBench, the
regret of the first pick is .146 without a model and .146 with a model that chooses at random or
the last candidate; with .05 or one standard deviation it is .148 and .161 (16 searches, 2026-11).
"""


@dataclass(frozen=True)
class Verdict:
    """The judge's decision on a proposal.

    Attributes:
        accepted: Whether the proposal may be used.
        failures: The reasons for a rejection, a sentence each, addressed to the model.
        refused_by: ``"code"``, ``"meta-learner"``, ``"model"`` or, if there was no time for the
            review, ``"time limit"``; ``None`` if accepted.
        predicted: The predicted score of the proposal, about [0, 1]; ``None`` without history.
        review: The language model's review; ``None`` if there was none.
    """

    accepted: bool
    failures: tuple[str, ...] = ()
    refused_by: str | None = None
    predicted: float | None = None
    review: Review | None = None

    @property
    def scores(self) -> Mapping[str, int]:
        """The language model's scores from 1 to 5 by criterion; empty without a review."""
        return self.review.scores if self.review else {}

    @property
    def summary(self) -> str:
        """The decision and the scores, if they count, on a single line."""
        text = "accepted" if self.accepted else f"rejected by the {self.refused_by}"
        if self.review and self.review.note:
            return f"{text}; the review was not counted"
        scores = ", ".join(f"{name} {score}" for name, score in self.scores.items())
        return f"{text}; {scores} of 5" if scores else text


def judge_proposal(proposal: Proposal, question: Question, reviewer: LLM | None) -> Verdict:
    """Judge a proposal.

    Args:
        proposal: The proposal.
        question: The question. Without a meta-learner only values and citations are checked.
        reviewer: The language model that reviews; ``None`` for no review.
    """
    failures = [*_check_values(proposal, question), *check_citations(proposal, question)]
    if failures:
        return Verdict(False, tuple(failures), "code")
    verdict = _check_prediction(proposal, question)
    if not verdict.accepted or reviewer is None:
        return verdict
    result = review(proposal, question, reviewer)
    if not result.failures:
        return replace(verdict, review=result)
    return Verdict(False, result.failures, "model", verdict.predicted, result)


def _check_values(proposal: Proposal, question: Question) -> list[str]:
    chosen = next(c for c in question.candidates if c.number == proposal.candidate)
    absent = [name for name in chosen.params if name not in proposal.params]
    outside = [
        f"{name}={value!r} is not a {describe(question.space[name])}."
        for name, value in proposal.params.items()
        if not contains(question.space[name], value)
    ]
    return [f"{name} has no value." for name in absent] + outside


def check_citations(proposal: Proposal, question: Question) -> list[str]:
    """Return the failures of the citations: each must support the choice, and each change needs
    a citation that supports it."""
    if question.explanation is None:
        return []
    space, params = question.space, proposal.params
    failures, supported = [], set()
    for item in question.explanation.evidence:
        if item.id not in proposal.evidence:
            continue
        name, sign = item.parameter, evidence_sign(item, space, params)
        if sign > 0:
            supported.add(name)
        elif sign == 0:
            failures.append(
                f"{item.id} is about {name}, which the chosen configuration does not have."
            )
        else:
            failures.append(
                f"{item.id} ({item.sentence}) speaks against "
                f"{name}={label_of(space[name], params[name])}, which was chosen."
            )
    failures += [
        f"{name} was changed, but no evidence is cited for the new value."
        for name in proposal.changes
        if name not in supported
    ]
    return failures


def _check_prediction(proposal: Proposal, question: Question) -> Verdict:
    if question.learner is None:
        return Verdict(True)
    predicted = float(question.learner.predict_mean([proposal.params])[0])
    best = best_predicted(question.candidates)
    best_score = best.predicted or 0.0
    is_first = dict(proposal.params) == dict(question.candidates[0].params)
    if predicted >= best_score - MARGIN or is_first:
        return Verdict(True, predicted=predicted)
    failure = (
        f"The past predicts a score of {predicted:.2f} for this configuration and "
        f"{best_score:.2f} for candidate {best.number}: choose a better candidate or change less."
    )
    return Verdict(False, (failure,), "meta-learner", predicted=predicted)

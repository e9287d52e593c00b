"""proposal -> verdict: accepts or refuses, never edits.

In this order, and no further than the first that refuses: code (every value present and in range,
every citation bearing on the choice), then the meta-learner (not clearly worse than the best
candidate), then a language model with a rubric. The model's own words are not checked: they are
shown as unverified.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace

from optuna_metallmix.candidates import Candidate
from optuna_metallmix.candidates import best_predicted
from optuna_metallmix.explain import bearing
from optuna_metallmix.judge.llm_judge import Review
from optuna_metallmix.judge.llm_judge import review
from optuna_metallmix.judge.proposal import Proposal
from optuna_metallmix.llm import LLM
from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.prompt import Question
from optuna_metallmix.space import contains
from optuna_metallmix.space import describe
from optuna_metallmix.space import label_of


MARGIN = 0.03
"""How much worse than the best predicted candidate a proposal may be predicted, in score units,
unless it is candidate 1 as it stands: the floor under a model that means harm. (HPOBench, regret
of the first pick without a model .146; with one that chooses at random, or the last it may, .146
and .146 at .03, .148 and .161 at .05 or one standard deviation; 16 searches, 2026-11.)"""


@dataclass(frozen=True)
class Verdict:
    """What the judge found.

    Attributes:
        accepted: Whether the proposal may be used.
        failures: What it was refused for, one sentence each, for the model to mend.
        refused_by: ``"code"``, ``"meta-learner"`` or ``"model"``; ``None`` where accepted.
        predicted: The score expected of the proposal, about [0, 1]; ``None`` without a past.
        review: The language model's review; ``None`` where it was not asked.
    """

    accepted: bool
    failures: tuple[str, ...] = ()
    refused_by: str | None = None
    predicted: float | None = None
    review: Review | None = None

    @property
    def scores(self) -> Mapping[str, int]:
        """The language model's scores, 1 to 5, by criterion; empty where it gave none."""
        return self.review.scores if self.review else {}

    @property
    def summary(self) -> str:
        """The verdict in one line: accepted, or refused by whom, and the scores."""
        parts = ["accepted" if self.accepted else f"refused by the {self.refused_by}"]
        if self.scores:
            scores = ", ".join(f"{one} {score}" for one, score in self.scores.items())
            parts += [
                f"{scores} of 5" + (" (not counted)" * bool(self.review and self.review.note))
            ]
        return "; ".join(parts)


def judge_proposal(proposal: Proposal, question: Question, reviewer: LLM | None) -> Verdict:
    """Judge a proposal; without a past only by what can be checked, without a reviewer by code.

    Args:
        proposal: What is judged.
        question: What was asked.
        reviewer: The language model that reviews; ``None`` for none.
    """
    failures = [*_values(proposal, question), *false_citations(proposal, question)]
    if failures:
        return Verdict(False, tuple(failures), "code")
    verdict = _expectation(proposal, question, question.learner)
    if verdict.accepted and reviewer is not None:
        return _reviewed(verdict, review(proposal, question, reviewer))
    return verdict


def _values(proposal: Proposal, question: Question) -> list[str]:
    chosen = next(one for one in question.candidates if one.number == proposal.candidate)
    absent = [name for name in chosen.params if name not in proposal.params]
    outside = [
        f"{name}={value!r} is not a {describe(question.space[name])}."
        for name, value in proposal.params.items()
        if not contains(question.space[name], value)
    ]
    return [f"{name} has no value." for name in absent] + outside


def _expectation(proposal: Proposal, question: Question, learner: MetaLearner | None) -> Verdict:
    if learner is None:
        return Verdict(True)
    predicted = float(learner.predict([proposal.params]).mean[0])
    best = best_predicted(question.candidates)
    expected = best.predicted or 0.0
    is_first = dict(proposal.params) == dict(question.candidates[0].params)
    if predicted >= expected - MARGIN or is_first:
        return Verdict(True, predicted=predicted)
    failure = _why_worse(predicted, best)
    return Verdict(False, (failure,), "meta-learner", predicted=predicted)


def _why_worse(predicted: float, best: Candidate) -> str:
    return (
        f"The past expects a score of {predicted:.2f} of this configuration and "
        f"{best.predicted or 0.0:.2f} of candidate {best.number}: choose or change so that less "
        "is lost."
    )


def _reviewed(verdict: Verdict, found: Review) -> Verdict:
    if not found.failures:
        return replace(verdict, review=found)
    return replace(
        verdict, accepted=False, failures=found.failures, refused_by="model", review=found
    )


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

"""proposal -> verdict: accepts or refuses, never edits.

In this order, and no further than the first that refuses: code (every value there and in range,
every claim true), then the meta-learner (not clearly worse than the best candidate), then a
language model with a rubric.

What is cited by number is part of the choice: a false citation always refuses. A false sentence in
the model's own words refuses as long as the model may answer again, and is then quoted back. On
its last answer it refuses no longer: the choice has been checked without those words, the smallest
models write nonsense in free text beside a sound choice, and to throw the choice away would not
make the sentence truer. So it is accepted, and every sentence that is not true is marked wherever
the words are shown (``Verdict.false_claims``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace

from optuna_metallmix._candidates import Candidate
from optuna_metallmix._claims import FalseClaim
from optuna_metallmix._claims import false_citations
from optuna_metallmix._claims import false_claims
from optuna_metallmix._meta_learner import MetaLearner
from optuna_metallmix._proposal import Proposal
from optuna_metallmix._question import Question
from optuna_metallmix._review import Review
from optuna_metallmix._review import review
from optuna_metallmix._search_space import contains
from optuna_metallmix._search_space import describe
from optuna_metallmix._trade import best_predicted
from optuna_metallmix.llm import LLM


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
        false_claims: What is not true in the model's own words, accepted or not.
        predicted: The score expected of the proposal, about [0, 1]; ``None`` without a past.
        review: The language model's review; ``None`` where it was not asked.
    """

    accepted: bool
    failures: tuple[str, ...] = ()
    refused_by: str | None = None
    false_claims: tuple[FalseClaim, ...] = ()
    predicted: float | None = None
    review: Review | None = None

    @property
    def scores(self) -> Mapping[str, int]:
        """The language model's scores, 1 to 5, by criterion; empty where it gave none."""
        return self.review.scores if self.review else {}

    @property
    def summary(self) -> str:
        """The verdict in one line: accepted or refused by whom, the scores, how much is false."""
        parts = ["accepted" if self.accepted else f"refused by the {self.refused_by}"]
        if self.scores:
            scores = ", ".join(f"{one} {score}" for one, score in self.scores.items())
            parts += [
                f"{scores} of 5" + (" (not counted)" * bool(self.review and self.review.note))
            ]
        if n := len(self.false_claims):
            parts += [f"{n} {'sentence' if n == 1 else 'sentences'} of its own words not true"]
        return "; ".join(parts)


def judge(
    proposal: Proposal, question: Question, reviewer: LLM | None, *, last: bool = False
) -> Verdict:
    """Judge a proposal; without a past only by what can be checked, without a reviewer by code.

    Args:
        proposal: What is judged.
        question: What was asked.
        reviewer: The language model that reviews; ``None`` for none.
        last: Whether the model may not answer again.
    """
    failures = [*_values(proposal, question), *false_citations(proposal, question)]
    words = [proposal.reasoning, proposal.why]
    untrue = false_claims(words, question, proposal.params)
    if failures or (untrue and not last):
        told = (*failures, *(one.sentence for one in untrue))
        return Verdict(False, told, "code", untrue)
    verdict = _expectation(proposal, question, question.learner)
    verdict = replace(verdict, false_claims=untrue)
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

"""proposal -> verdict: accepts or refuses, never edits.

In this order, and no further than the first that refuses: code (every value there and in range,
every claim true), then the meta-learner (not clearly worse than the best candidate), then a
language model with the paper's rubric: format, accuracy, completeness (arXiv 2509.09387).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Any

from optuna_metallmix._candidates import Candidate
from optuna_metallmix._errors import LLMError
from optuna_metallmix._explanation import Explanation
from optuna_metallmix._explanation import bearing
from optuna_metallmix._meta_dataset import Config
from optuna_metallmix._meta_learner import MetaLearner
from optuna_metallmix._prompt import CRITERIA
from optuna_metallmix._prompt import judge_messages
from optuna_metallmix._prompt import judge_schema
from optuna_metallmix._proposal import Proposal
from optuna_metallmix._search_space import SearchSpace
from optuna_metallmix._search_space import contains
from optuna_metallmix._search_space import describe
from optuna_metallmix._search_space import label_of
from optuna_metallmix._trade import best_predicted
from optuna_metallmix.llm import LLM


MARGIN = 0.03
"""How much worse than the best predicted candidate a proposal may be predicted, in score units,
unless it is candidate 1 as it stands: the floor under a model that means harm. (HPOBench, regret
of the first pick without a model .146; with one that chooses at random, or the last it may, .146
and .146 at .03, .148 and .161 at .05 or one standard deviation; 16 searches, 2026-11.)"""
LOWEST_SCORE = 2
"""A language model's score below this refuses: 1 means unusable."""


@dataclass(frozen=True)
class Verdict:
    """What the judge found.

    Attributes:
        accepted: Whether the proposal may be used.
        failures: What is wrong with it, one sentence each, for the model to mend.
        refused_by: ``"code"``, ``"meta-learner"`` or ``"model"``; ``None`` where accepted.
        predicted: The score expected of the proposal, about [0, 1]; ``None`` without a past.
        scores: The language model's scores, 1 to 5, by criterion; empty where it was not asked.
        remarks: Its sentence on each.
        note: Why the language model's review does not count, where it was asked for one.
    """

    accepted: bool
    failures: tuple[str, ...] = ()
    refused_by: str | None = None
    predicted: float | None = None
    scores: Mapping[str, int] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)
    note: str | None = None


def judge(
    proposal: Proposal,
    space: SearchSpace,
    candidates: Sequence[Candidate],
    learner: MetaLearner | None,
    explanation: Explanation | None,
    reviewer: LLM | None,
) -> Verdict:
    """Judge a proposal; without a past only by what can be checked, without a reviewer by code."""
    failures = _values(proposal, space, candidates) + _claims(proposal, space, explanation)
    if failures:
        return Verdict(False, tuple(failures), "code")
    verdict = Verdict(True)
    if learner is not None:
        verdict = _expectation(proposal, candidates, learner)
    if verdict.accepted and reviewer is not None:
        return _review(proposal, space, candidates, explanation, reviewer, verdict)
    return verdict


def _values(proposal: Proposal, space: SearchSpace, candidates: Sequence[Candidate]) -> list[str]:
    chosen = next(one for one in candidates if one.number == proposal.candidate)
    absent = [name for name in chosen.params if name not in proposal.params]
    outside = [
        f"{name}={value!r} is not a {describe(space[name])}."
        for name, value in proposal.params.items()
        if not contains(space[name], value)
    ]
    return [f"{name} has no value." for name in absent] + outside


def _claims(proposal: Proposal, space: SearchSpace, explanation: Explanation | None) -> list[str]:
    """Check each cited evidence against the values, and each change against what is cited."""
    if explanation is None:
        return []
    cited = [one for one in explanation.evidence if one.id in proposal.evidence]
    speaking = {one.id: bearing(one, space, proposal.params) for one in cited}
    failures = []
    for one in cited:
        if speaking[one.id] == 0:
            failures.append(
                f"{one.id} is about {one.parameter}, which the chosen configuration does not have."
            )
        elif speaking[one.id] < 0:
            value = label_of(space[one.parameter], proposal.params[one.parameter])
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


def _expectation(
    proposal: Proposal, candidates: Sequence[Candidate], learner: MetaLearner
) -> Verdict:
    predicted = float(learner.predict([proposal.params]).mean[0])
    best = best_predicted(candidates)
    expected = best.predicted or 0.0
    if predicted >= expected - MARGIN or dict(proposal.params) == dict(candidates[0].params):
        return Verdict(True, predicted=predicted)
    failure = (
        f"The past expects a score of {predicted:.2f} of this configuration and {expected:.2f} of "
        f"candidate {best.number}: choose or change so that less is lost."
    )
    return Verdict(False, (failure,), "meta-learner", predicted)


def _review(
    proposal: Proposal,
    space: SearchSpace,
    candidates: Sequence[Candidate],
    explanation: Explanation | None,
    reviewer: LLM,
    verdict: Verdict,
) -> Verdict:
    """Ask for the language model's scores.

    A review that cannot be had refuses nothing. Nor does one by a model that refuses what is
    known to be right, too: the smallest models give everything the same score (measured with
    SmolLM2-135M, 2026-11: 1 of 5 for all).
    """
    reasons = f"{proposal.reasoning} {proposal.why}"
    try:
        scores, remarks = _scores(proposal.params, reasons, space, explanation, reviewer)
        failures = _below(scores, remarks)
        if failures:
            best = best_predicted(candidates)
            known = _known_reasons(best, space, explanation)
            control, _ = _scores(best.params, known, space, explanation, reviewer)
            if _below(control, remarks):
                note = "its scores do not count: it refuses a proposal known to be right, too."
                return replace(verdict, scores=scores, remarks=remarks, note=note)
    except (LLMError, ValueError, RecursionError) as error:  # the last from nested brackets
        return replace(verdict, note=" ".join(f"there is no usable review: {error}".split()))
    return replace(
        verdict,
        accepted=not failures,
        failures=failures,
        refused_by="model" if failures else None,
        scores=scores,
        remarks=remarks,
    )


def _scores(
    params: Config,
    reasons: str,
    space: SearchSpace,
    explanation: Explanation | None,
    reviewer: LLM,
) -> tuple[dict[str, int], dict[str, str]]:
    messages = judge_messages(space, params, reasons, explanation)
    answer = _object(reviewer.generate(messages, schema=judge_schema()))
    scores = {one: _score(answer.get(f"{one}_score")) for one in CRITERIA}
    return scores, {one: str(answer.get(f"{one}_remark", "")) for one in CRITERIA}


def _below(scores: Mapping[str, int], remarks: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        f"{one}: {remarks[one]} ({score} of 5)"
        for one, score in scores.items()
        if score < LOWEST_SCORE
    )


def _known_reasons(
    candidate: Candidate, space: SearchSpace, explanation: Explanation | None
) -> str:
    """Write true reasons for the best candidate, by code."""
    if explanation is None:
        return f"Nothing is known of this task, so the start is the {candidate.origin}."
    speaking = [
        one.sentence for one in explanation.evidence if bearing(one, space, candidate.params) > 0
    ]
    return f"Candidate {candidate.number} is expected to do best. {'; '.join(speaking[:3])}."


def _object(text: str) -> dict[str, Any]:
    answer = json.loads(text)
    if not isinstance(answer, dict):
        raise ValueError("it is no JSON object")
    return answer


def _score(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 5:
        return value
    raise ValueError(f"{str(value)[:40]!r} is not a score from 1 to 5")

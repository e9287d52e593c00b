from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import pytest

from optuna_metallmix.candidates.selection import Candidate
from optuna_metallmix.judge.judge import MARGIN
from optuna_metallmix.judge.judge import Verdict
from optuna_metallmix.judge.judge import judge_proposal
from optuna_metallmix.judge.proposal import Proposal
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import ScriptedLLM
from optuna_metallmix.prompt.context import Question


if TYPE_CHECKING:
    from conftest import Handmade
    from conftest import Learned


def _propose(handmade: Handmade, candidate: int, *cited: str, **changes: Any) -> Proposal:
    params = {**handmade.candidates[candidate - 1].params, **changes}
    return Proposal("{}", cited, "It helped.", candidate, changes, "So it is best.", params)


def _judge(
    handmade: Handmade,
    proposal: Proposal,
    reviewer: LLM | None = None,
    *,
    past: bool = True,
) -> Verdict:
    explanation = handmade.explanation if past else None
    question = Question(handmade.space, {}, handmade.candidates, explanation)
    return judge_proposal(proposal, question, reviewer)


def _review(score: int, remark: str = "fine") -> str:
    return json.dumps(
        {
            f"{criterion}_{part}": value
            for criterion in ("format", "accuracy", "completeness")
            for part, value in (("remark", remark), ("score", score))
        }
    )


@pytest.mark.parametrize(
    ("candidate", "cited"),
    [
        (1, ("E1",)),
        (1, ("E1", "E2")),
        (1, ("E4",)),
        (2, ("E4",)),
        (3, ("E2",)),
        (3, ("E3",)),
        (2, ("E1",)),
        (3, ("E1",)),
        (2, ("E2",)),
        (1, ("E3",)),
        (2, ("E3",)),
        (1, ("E1", "E3")),
    ],
)
def test_citations_are_accepted_if_and_only_if_they_support_the_choice(
    handmade: Handmade, candidate: int, cited: tuple[str, ...]
) -> None:
    params = handmade.candidates[candidate - 1].params
    truth = {
        "E1": params["optimizer"] == "adam",
        "E2": 0.0005 <= params["lr"] <= 0.002,
        "E3": "momentum" in params and not 0.9 <= params["momentum"] <= 0.99,
        "E4": params["depth"] != 6,
    }
    verdict = _judge(handmade, _propose(handmade, candidate, *cited))
    assert verdict.accepted is all(truth[name] for name in cited)
    assert verdict.refused_by == (None if verdict.accepted else "code")
    assert len(verdict.failures) == sum(not truth[name] for name in cited)


def test_a_contradicting_citation_is_quoted_with_the_value(handmade: Handmade) -> None:
    (failure,) = _judge(handmade, _propose(handmade, 2, "E4")).failures
    assert failure.startswith("E4 (depth = 6 hurt: -0.03 (12 trials, 2 studies)) speaks against")
    assert "depth=6" in failure
    (failure,) = _judge(handmade, _propose(handmade, 1, "E3")).failures
    assert failure == "E3 is about momentum, which the chosen configuration does not have."


def test_change_needs_evidence_that_speaks_for_it(handmade: Handmade) -> None:
    accepted = _judge(handmade, _propose(handmade, 2, "E2", lr=0.001))
    assert accepted.accepted
    without = _judge(handmade, _propose(handmade, 2, "E2", lr=0.001, depth=3))
    assert without.failures == ("depth was changed, but no evidence is cited for the new value.",)
    against = _judge(handmade, _propose(handmade, 1, "E2", lr=0.05))
    assert not against.accepted
    assert "speaks against lr=0.05" in against.failures[0]


def test_evidence_that_hurt_speaks_for_a_change_away_from_it(handmade: Handmade) -> None:
    assert _judge(handmade, _propose(handmade, 2, "E4", depth=5)).accepted


@pytest.mark.parametrize("value", [0.5, -1.0, "x", None, True, float("nan")])
def test_value_outside_the_space_is_refused(handmade: Handmade, value: object) -> None:
    proposal = _propose(handmade, 1, "E1", lr=value)
    verdict = _judge(handmade, proposal)
    assert not verdict.accepted
    assert verdict.refused_by == "code"
    assert any(failure.startswith(f"lr={value!r}") for failure in verdict.failures)


def test_absent_value_is_refused(handmade: Handmade) -> None:
    proposal = _propose(handmade, 1, "E1")
    params = {name: value for name, value in proposal.params.items() if name != "depth"}
    verdict = _judge(handmade, replace(proposal, params=params))
    assert "depth has no value." in verdict.failures


def test_without_a_past_only_values_are_checked(handmade: Handmade) -> None:
    verdict = _judge(handmade, _propose(handmade, 2, lr=0.05), past=False)
    assert verdict == Verdict(True)


def _judge_learned(
    learned: Learned, proposal: Proposal, candidates: Sequence[Candidate] | None = None
) -> Verdict:
    explanation = replace(learned.explanation, evidence=())
    offered = candidates or learned.candidates
    question = Question(learned.space, {}, offered, explanation, learned.learner)
    return judge_proposal(proposal, question, None)


def test_best_candidate_is_accepted_with_its_prediction(learned: Learned) -> None:
    params = learned.candidates[0].params
    verdict = _judge_learned(learned, Proposal("{}", (), "", 1, {}, "", params))
    assert verdict.accepted
    assert verdict.predicted == pytest.approx(learned.candidates[0].predicted)


def test_clearly_worse_proposal_is_refused_with_both_predictions(learned: Learned) -> None:
    params = {**learned.candidates[0].params, "lr": 0.1}
    verdict = _judge_learned(learned, Proposal("{}", (), "", 1, {}, "", params))
    expected = learned.learner.predict([params]).mean[0]
    assert (verdict.accepted, verdict.refused_by) == (False, "meta-learner")
    assert f"a score of {expected:.2f} for this" in verdict.failures[0]
    assert f"and {learned.candidates[0].predicted:.2f} for candidate 1" in verdict.failures[0]


def test_proposal_is_compared_with_the_best_predicted_candidate_even_if_it_is_not_first(
    learned: Learned,
) -> None:
    best, *others = learned.candidates
    cheap = replace(others[-1], number=1, predicted=0.1)
    offered = (cheap, replace(best, number=2))

    def judged(params: Mapping[str, Any]) -> Verdict:
        return _judge_learned(learned, Proposal("{}", (), "", 1, {}, "", params), offered)

    assert judged(best.params).accepted
    refused = judged({**best.params, "lr": 0.1})
    assert refused.refused_by == "meta-learner"
    assert f"and {best.predicted:.2f} for candidate 2" in refused.failures[0]


def test_the_unchanged_first_candidate_is_never_refused_for_its_prediction(
    learned: Learned,
) -> None:
    """It may be the cheapest of equals, or the best of a past study with a lower prediction."""
    best, *others = learned.candidates
    first = replace(others[-1], number=1)
    assert (first.predicted or 0.0) < (best.predicted or 0.0) - MARGIN
    proposal = Proposal("{}", (), "", 1, {}, "", first.params)
    offered = (first, replace(best, number=2))
    assert _judge_learned(learned, proposal, offered).accepted
    offered = (replace(best, number=1), replace(first, number=2))
    refused = _judge_learned(learned, proposal, offered)
    assert refused.refused_by == "meta-learner"


def test_review_can_refuse_and_its_scores_are_in_the_verdict(handmade: Handmade) -> None:
    reviewer = ScriptedLLM([_review(1, "no reason"), _review(5)])
    verdict = _judge(handmade, _propose(handmade, 1, "E1"), reviewer)
    assert (verdict.accepted, verdict.refused_by) == (False, "model")
    assert verdict.failures[0] == "format: no reason (1 of 5)"
    assert verdict.summary == ("rejected by the model; format 1, accuracy 1, completeness 1 of 5")
    verdict = _judge(handmade, _propose(handmade, 1, "E1"), ScriptedLLM([_review(4)]))
    assert verdict.summary == "accepted; format 4, accuracy 4, completeness 4 of 5"
    verdict = _judge(handmade, _propose(handmade, 1, "E1"), ScriptedLLM([_review(1)] * 2))
    assert verdict.accepted
    assert verdict.summary == "accepted; the review was not counted"
    assert _judge(handmade, _propose(handmade, 1, "E1")).scores == {}


def test_reviewer_is_not_asked_about_what_code_refuses(handmade: Handmade) -> None:
    reviewer = ScriptedLLM([_review(5)])
    assert not _judge(handmade, _propose(handmade, 2, "E1"), reviewer).accepted
    assert reviewer.calls == []


@pytest.mark.parametrize(("candidate", "cited"), [(1, "E1"), (2, "E1")])
def test_judge_never_edits(handmade: Handmade, candidate: int, cited: str) -> None:
    proposal = _propose(handmade, candidate, cited, lr=0.001)
    before = copy.deepcopy((proposal, handmade))
    _judge(handmade, proposal, ScriptedLLM([_review(1, "change lr to 5"), _review(5)]))
    assert (proposal, handmade.space, handmade.candidates) == (
        before[0],
        before[1].space,
        before[1].candidates,
    )

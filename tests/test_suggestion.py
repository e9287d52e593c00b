from __future__ import annotations

import json
import re
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_metallmix import Suggestion
from optuna_metallmix import suggest
from optuna_metallmix.candidates.pool import RANDOM
from optuna_metallmix.candidates.selection import Candidate
from optuna_metallmix.errors import LLMError
from optuna_metallmix.explain.explanation import evidence_sign
from optuna_metallmix.history.history import History
from optuna_metallmix.history.history import PastStudy
from optuna_metallmix.history.scores import PastTrial
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import Message
from optuna_metallmix.llm import ScriptedLLM
from optuna_metallmix.metalearner.dataset import MAX_STUDIES
from optuna_metallmix.space.search_space import contains


if TYPE_CHECKING:
    from conftest import Learned


def _good_answer(messages: Sequence[Message], schema: Mapping[str, Any]) -> str:
    """Take the first candidate, citing what stands first: what the smallest models do."""
    answer: dict[str, Any] = {"reasoning": "E1 helped.", "candidate": 1, "why": "It fits."}
    if "evidence" in schema["properties"]:
        answer["evidence"] = ["E1"]
    return json.dumps(answer)


def _review(score: int) -> str:
    criteria = ("format", "accuracy", "completeness")
    return json.dumps(
        {f"{c}_remark": "ok" for c in criteria} | {f"{c}_score": score for c in criteria}
    )


def _suggest(learned: Learned, llm: LLM | None, **options: Any) -> Suggestion:
    return suggest(learned.history, learned.space, {"modality": "CT"}, llm, **options)


@pytest.fixture(scope="module")
def by_model(learned: Learned) -> Suggestion:
    return _suggest(learned, ScriptedLLM([_good_answer]))


@pytest.fixture(scope="module")
def by_learner(learned: Learned) -> Suggestion:
    return _suggest(learned, None)


def test_accepted_answer_is_the_suggestion(learned: Learned, by_model: Suggestion) -> None:
    assert by_model.source == "llm"
    assert by_model.model == "scripted"
    assert by_model.params == by_model.candidates[0].params == learned.candidates[0].params
    assert by_model.reasons == ()
    assert by_model.verdict is not None
    assert by_model.verdict.accepted
    assert [one.failures for one in by_model.attempts] == [()]
    assert [one.id for one in by_model.cited] == ["E1"]
    assert set(by_model.seconds) == {"meta-learner", "candidates", "explanation", "model"}
    assert by_model.cited[0].sentence in by_model.why


def test_effects_and_base_add_up_to_what_is_predicted(by_model: Suggestion) -> None:
    assert by_model.explanation is not None
    assert by_model.predicted is not None
    assert set(by_model.effects) == set(by_model.space)
    total = by_model.explanation.base + sum(by_model.effects.values())
    assert total == pytest.approx(by_model.predicted, abs=1e-9)
    assert by_model.predicted == pytest.approx(by_model.candidates[0].predicted, abs=1e-9)


def test_without_a_model_the_best_candidate_is_suggested(by_learner: Suggestion) -> None:
    assert by_learner.source == "meta-learner"
    assert by_learner.params == by_learner.candidates[0].params
    assert (by_learner.model, by_learner.proposal, by_learner.attempts) == (None, None, ())
    assert by_learner.reasons == ()


def test_refused_answer_is_quoted_back_and_mended(learned: Learned) -> None:
    llm = ScriptedLLM(['{"candidate": 99}', _good_answer])
    suggestion = _suggest(learned, llm)
    assert suggestion.source == "llm"
    assert len(suggestion.attempts) == 2
    assert suggestion.attempts[1].failures == ()
    first, second = llm.calls
    assert len(second.messages) == len(first.messages) + 2
    assert second.messages[-2] == {"role": "assistant", "content": '{"candidate": 99}'}
    assert suggestion.attempts[0].failures[0] in second.messages[-1]["content"]
    assert "changes" in first.schema["properties"]
    assert "changes" not in second.schema["properties"]


def test_false_claim_is_refused_and_quoted_back(learned: Learned) -> None:
    best = learned.candidates[0].params
    evidence = learned.explanation.evidence
    against = [one.id for one in evidence if evidence_sign(one, learned.space, best) < 0]
    number = next(
        (one for one in evidence if one.parameter == "lr" and one.effect > 0), evidence[0]
    )
    lie = {
        "evidence": against[:1] or [number.id],
        "reasoning": "",
        "candidate": 1,
        "changes": {} if against else {"lr": 1e-5},
        "why": "",
    }
    llm = ScriptedLLM([json.dumps(lie), _good_answer])
    suggestion = _suggest(learned, llm)
    assert suggestion.source == "llm"
    assert "speaks against" in suggestion.attempts[0].failures[0]
    assert "speaks against" in llm.calls[1].messages[-1]["content"]


@pytest.mark.parametrize("n_attempts", [1, 3])
def test_rubbish_ends_on_the_meta_learner(
    learned: Learned, by_learner: Suggestion, n_attempts: int
) -> None:
    llm = ScriptedLLM(["?"] * n_attempts)
    suggestion = _suggest(learned, llm, n_attempts=n_attempts)
    assert suggestion.source == "meta-learner"
    assert suggestion.params == by_learner.params
    assert len(llm.calls) == len(suggestion.attempts) == n_attempts
    assert len(suggestion.reasons) == n_attempts
    assert suggestion.reasons[0].startswith("Answer 1 of scripted was not used: ")


def test_model_that_fails_is_not_asked_again(learned: Learned) -> None:
    llm = ScriptedLLM([LLMError("The server is gone: start it."), _good_answer])
    suggestion = _suggest(learned, llm)
    assert suggestion.source == "meta-learner"
    assert len(llm.calls) == 1
    assert "The server is gone: start it." in suggestion.reasons[0]
    assert suggestion.attempts[0].answer == ""


def test_bug_in_a_model_is_not_swallowed(learned: Learned) -> None:
    with pytest.raises(ZeroDivisionError):
        _suggest(learned, ScriptedLLM([ZeroDivisionError()]))


def test_reviewer_can_refuse(learned: Learned) -> None:
    reviewer = ScriptedLLM([_review(1), _review(5), _review(4)])
    suggestion = _suggest(learned, ScriptedLLM([_good_answer] * 2), reviewer=reviewer)
    assert suggestion.source == "llm"
    assert suggestion.attempts[0].failures == tuple(
        f"{one}: ok (1 of 5)" for one in ("format", "accuracy", "completeness")
    )
    assert suggestion.verdict is not None
    assert set(suggestion.verdict.scores.values()) == {4}


def _small(*answers: Any, n_parameters: int = 270_000_000) -> ScriptedLLM:
    llm = ScriptedLLM(answers)
    llm.n_parameters = n_parameters
    return llm


def _cite(messages: Sequence[Message], schema: Mapping[str, Any]) -> str:
    """Choose candidate 1, and cite the first evidence that is listed for it."""
    cited = re.findall(r"^1\. .*?for (E\d+)", messages[0]["content"], re.MULTILINE)
    return json.dumps({"evidence": cited, "candidate": 1})


def test_small_model_is_asked_a_short_question(learned: Learned) -> None:
    llm = _small(_cite)
    suggestion = _suggest(learned, llm, reviewer=llm)
    (call,) = llm.calls
    assert [message["role"] for message in call.messages] == ["user"]
    assert list(call.schema["properties"]) == ["candidate", "evidence"]
    assert suggestion.source == "llm"
    assert suggestion.params == suggestion.candidates[0].params
    assert suggestion.prompt_version.endswith(" short")
    assert suggestion.reasons == ()
    assert suggestion.cited
    assert suggestion.why.endswith(
        f"; cited: {suggestion.cited[0].sentence} (written by code from the evidence that the "
        "model cited)"
    )


def test_cited_evidence_that_hurt_is_avoided(by_model: Suggestion) -> None:
    assert by_model.explanation is not None
    assert by_model.proposal is not None
    hurt = next(item for item in by_model.explanation.evidence if item.effect < 0)
    proposal = replace(by_model.proposal, evidence=("E1", hurt.id))
    suggestion = replace(by_model, proposal=proposal)
    assert suggestion.citations[hurt.id] == f"{hurt.sentence}, avoided here"
    assert suggestion.citations["E1"] == suggestion.cited[0].sentence
    assert f"{hurt.sentence}, avoided here" in suggestion.why


def test_aliases_are_those_of_a_history_that_was_read_with_them(
    learned: Learned, by_learner: Suggestion
) -> None:
    space = {"rate" if name == "lr" else name: dist for name, dist in learned.space.items()}
    suggestion = suggest(learned.history, space, {}, None, aliases={"lr": "rate"})
    assert suggestion.params["rate"] == by_learner.params["lr"]
    assert suggestion.reasons == ()
    (reason,) = suggest(learned.history, space, {}, None, aliases={"Lr": "rate"}).reasons
    assert "'Lr' (did you mean 'lr'?)" in reason
    with pytest.raises(ValueError, match="both a past and a present name"):
        suggest(learned.history, space, {}, None, aliases={"lr": "lr"})


def test_being_drawn_at_random_is_no_reason(by_model: Suggestion, by_learner: Suggestion) -> None:
    first = replace(by_learner.candidates[0], origin=RANDOM)
    for suggestion in (by_model, by_learner):
        drawn = replace(suggestion, candidates=(first, *suggestion.candidates[1:]))
        assert "random" not in drawn.why
        assert "predicted to be good from the results of 90 past trials, expected" in drawn.why
        without_past = replace(drawn, predicted=None)
        assert "chosen by the model from a sample of the space" in without_past.why


def test_model_of_unknown_or_usual_size_is_asked_the_full_question(
    learned: Learned, by_model: Suggestion
) -> None:
    for suggestion in (by_model, _suggest(learned, _small(_good_answer, n_parameters=8 * 10**9))):
        assert suggestion.prompt_version.endswith(" cot+shap")
        assert "written by code" not in suggestion.why


@pytest.mark.parametrize("prompt", ["plain", "cot"])
def test_controls_are_asked_as_they_are(learned: Learned, prompt: str) -> None:
    suggestion = _suggest(learned, _small(_good_answer), prompt=prompt)
    assert suggestion.source == "llm"
    assert suggestion.prompt_version.endswith(f" {prompt}")


def test_refused_short_answer_ends_on_the_meta_learner(
    learned: Learned, by_learner: Suggestion
) -> None:
    llm = _small("?", _cite)
    suggestion = _suggest(learned, llm, n_attempts=3)
    assert suggestion.source == "meta-learner"
    assert suggestion.params == by_learner.params
    assert len(llm.calls) == len(suggestion.reasons) == 1
    assert "written by code" not in suggestion.why


def test_another_reviewer_of_a_short_answer_is_not_asked_and_named(learned: Learned) -> None:
    reviewer = ScriptedLLM([])
    reviewer.name = "the judge"
    suggestion = _suggest(learned, _small(_cite), reviewer=reviewer)
    assert suggestion.source == "llm"
    assert reviewer.calls == []
    (reason,) = suggestion.reasons
    assert reason.startswith("the judge did not review the answer of scripted")


def test_another_reviewer_of_the_same_name_is_named(learned: Learned) -> None:
    suggestion = _suggest(learned, _small(_cite), reviewer=ScriptedLLM([]))
    (reason,) = suggestion.reasons
    assert reason.startswith("scripted did not review the answer of scripted")
    llm = _small(_cite)
    assert _suggest(learned, llm, reviewer=llm).reasons == ()


def test_reviewer_has_nothing_to_review_without_an_answer(learned: Learned) -> None:
    suggestion = _suggest(learned, _small("?"), reviewer=ScriptedLLM([]))
    (reason,) = suggestion.reasons
    assert reason.startswith("Answer 1 of scripted was not used")


def _poor(trials: Sequence[PastTrial], space: Mapping[str, Any]) -> History:
    return History((PastStudy("poor", space, tuple(trials), {}),)) if trials else History()


POOR = {
    "none": [],
    "few": [PastTrial({"x": i / 3}, i / 2, None, None) for i in range(3)],
    "constant": [PastTrial({"x": 0.5}, i / 9, None, None) for i in range(10)],
    "same score": [PastTrial({"x": i / 9}, 0.5, None, None) for i in range(10)],
    "other parameters": [PastTrial({"y": i / 9}, i / 9, None, None) for i in range(10)],
}


@pytest.mark.parametrize("past", POOR)
def test_poor_past_leaves_the_model_alone(past: str) -> None:
    space = {"x": FloatDistribution(0, 1), "k": CategoricalDistribution(["a", None])}
    history = _poor(POOR[past], {"x": space["x"]})
    suggestion = suggest(history, space, {}, ScriptedLLM([_good_answer]))
    assert suggestion.source == "llm"
    assert suggestion.params == {"x": 0.5, "k": "a"}
    assert (suggestion.learner, suggestion.predicted, suggestion.explanation) == (None, None, None)
    assert len(suggestion.reasons) == 1
    assert suggestion.why == "middle of the space"


@pytest.mark.parametrize("past", POOR)
def test_small_model_is_not_asked_without_evidence(past: str) -> None:
    space, llm = {"x": FloatDistribution(0, 1)}, _small()
    suggestion = suggest(_poor(POOR[past], space), space, {}, llm)
    assert suggestion.source == "base-sampler"
    assert llm.calls == []
    assert (suggestion.model, suggestion.attempts) == (None, ())
    assert suggestion.reasons[-1] == (
        "scripted was not asked: a model of its size can only compare evidence, and past studies "
        "give none."
    )


@pytest.mark.parametrize("past", POOR)
def test_poor_past_without_a_model_is_the_base_samplers(past: str) -> None:
    space = {"x": FloatDistribution(0, 1)}
    for llm in (None, ScriptedLLM(["?", "?"])):
        suggestion = suggest(_poor(POOR[past], space), space, {}, llm)
        assert suggestion.source == "base-sampler"
        assert suggestion.params == {}
        assert suggestion.reasons
        assert suggestion.why == "nothing is known yet"
        assert suggestion.value_for("x", space["x"]) is None


@pytest.mark.parametrize(
    ("name", "distribution"),
    [
        ("lr", FloatDistribution(0.05, 0.1)),
        ("lr", IntDistribution(1, 3)),
        ("lr", CategoricalDistribution(["fast", "slow"])),
        ("depth", IntDistribution(8, 64, step=8)),
        ("batch_size", CategoricalDistribution([8, 128])),
        ("batch_size", IntDistribution(1, 8)),
        ("optimizer", CategoricalDistribution(["lion", "sgd"])),
        ("optimizer", FloatDistribution(0, 1)),
        ("frozen", CategoricalDistribution([0, 1])),
        ("frozen", CategoricalDistribution(["yes"])),
    ],
)
def test_value_is_moved_into_the_objectives_own_range(
    by_learner: Suggestion, name: str, distribution: Any
) -> None:
    found = by_learner.value_for(name, distribution)
    assert found is not None
    used, wanted = found
    assert contains(distribution, used)
    assert wanted == by_learner.params[name]


def test_value_that_fits_is_kept(by_learner: Suggestion) -> None:
    for name, value in by_learner.params.items():
        assert by_learner.value_for(name, by_learner.space[name]) == (value, value)


def test_absent_choice_gives_way_to_the_one_the_past_likes_best(learned: Learned) -> None:
    suggestion = Suggestion(
        "meta-learner",
        {"frozen": True, "lr": 1e-3, "optimizer": "lion", "depth": 3},
        learned.space,
        {},
        learned.history,
        learner=learned.learner,
    )
    for choices in (["sgd", "adam"], ["lamb", "sgd", "adam", "adafactor"]):
        found = suggestion.value_for("optimizer", CategoricalDistribution(choices))
        assert found == ("adam", "lion")
    found = suggestion.value_for("optimizer", CategoricalDistribution(["lamb", "adafactor"]))
    assert found is not None
    assert found[0] in ("lamb", "adafactor")


def test_inactive_parameter_comes_from_the_best_candidate_that_has_it(
    by_learner: Suggestion,
) -> None:
    candidates = (
        Candidate(1, {"a": 1}, "x"),
        Candidate(2, {"a": 2, "b": 20}, "x"),
        Candidate(3, {"b": 30}, "x"),
    )
    suggestion = replace(by_learner, params={"a": 1}, candidates=candidates)
    assert suggestion.value_for("b", IntDistribution(0, 25)) == (20, 20)
    assert suggestion.value_for("c", IntDistribution(0, 25)) is None


def test_suggestion_repeats_with_its_seed(learned: Learned, by_learner: Suggestion) -> None:
    again = _suggest(learned, None)
    assert again.params == by_learner.params
    assert again.candidates == by_learner.candidates
    other = _suggest(learned, None, seed=1)
    assert other.candidates != by_learner.candidates


def test_the_same_past_is_learned_from_once(learned: Learned, by_learner: Suggestion) -> None:
    studies = tuple(replace(one, meta_features={"n": 1}) for one in learned.history.studies)
    again = suggest(History(studies), learned.space, {"n": 2}, None)
    assert again.learner is by_learner.learner
    assert _suggest(learned, None, seed=3).learner is not by_learner.learner
    copied = tuple(replace(one, trials=(*one.trials,)) for one in studies)
    assert suggest(History(copied), learned.space, {}, None).learner is not by_learner.learner


def test_own_trials_are_told_to_the_model(learned: Learned) -> None:
    llm = ScriptedLLM([_good_answer])
    history = replace(learned.history, tried=(({"lr": 0.02, "depth": 2}, 0.00004),))
    suggest(history, learned.space, {}, llm)
    content = llm.calls[0].messages[1]["content"]
    assert "Already tried on this task" in content
    assert "lr=0.02, depth=2: 0.00004" in content


def test_numbers_of_numpy_in_the_past_are_plain_in_the_suggestion(learned: Learned) -> None:
    rng = np.random.default_rng(0)
    space = {"x": FloatDistribution(0, 1), "n": IntDistribution(1, 9)}
    trials = tuple(
        PastTrial({"x": np.float64(x), "n": np.int64(3 + i % 3)}, 1 - i / 20, None, None)
        for i, x in enumerate(rng.random(20))
    )
    history = History((PastStudy("past", space, trials, {}),))
    params = suggest(history, space, {}, None).params
    assert {type(params["x"]), type(params["n"])} == {float, int}


def test_studies_beyond_the_limit_are_said_to_be_left_out(learned: Learned) -> None:
    past = learned.history.studies * (MAX_STUDIES // 3 + 2)
    studies = tuple(replace(study, name=f"s{i}") for i, study in enumerate(past))
    suggestion = suggest(History(studies), learned.space, {}, None)
    assert [study.name for study in suggestion.history.studies] == [
        f"s{i}" for i in range(len(studies) - MAX_STUDIES, len(studies))
    ]
    assert list(suggestion.history.left_out) == [f"{len(studies) - MAX_STUDIES} more studies"]
    assert suggestion.learner is not None
    assert suggestion.learner.studies == suggestion.history.studies

"""Answers are parsed into proposals inside the search space, or rejected with a sentence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from optuna_metallmix.candidates.selection import Candidate
from optuna_metallmix.errors import ProposalError
from optuna_metallmix.judge.proposal import Proposal
from optuna_metallmix.judge.proposal import parse_proposal
from optuna_metallmix.judge.proposal import readable_text
from optuna_metallmix.prompt.messages import MAX_REASONING
from optuna_metallmix.prompt.messages import MAX_WHY
from optuna_metallmix.space.search_space import contains


if TYPE_CHECKING:
    from conftest import Handmade

GOOD: dict[str, Any] = {
    "evidence": ["E1", "E2"],
    "reasoning": " adam helped ",
    "candidate": 1,
    "changes": {},
    "why": "It fits.",
}


def _parse(handmade: Handmade, answer: str) -> Proposal:
    return parse_proposal(answer, handmade.space, handmade.candidates, handmade.explanation)


def _answer(**other: Any) -> str:
    return json.dumps({**GOOD, **other})


def test_good_answer_is_a_proposal(handmade: Handmade) -> None:
    answer = _answer(changes={"depth": 4, "optimizer": "null", "lr": 0.01})
    proposal = _parse(handmade, answer)
    assert proposal == Proposal(
        answer=answer,
        evidence=("E1", "E2"),
        reasoning="adam helped",
        candidate=1,
        changes={"depth": 4, "optimizer": None, "lr": 0.01},
        why="It fits.",
        params={**handmade.candidates[0].params, "depth": 4, "optimizer": None, "lr": 0.01},
    )
    assert type(proposal.params["depth"]) is int


def test_whitespace_and_absent_changes_are_accepted(handmade: Handmade) -> None:
    answer = {name: value for name, value in GOOD.items() if name != "changes"}
    proposal = _parse(handmade, f"\n {json.dumps(answer, indent=4)}\n\n")
    assert proposal.changes == {}
    assert proposal.params == handmade.candidates[0].params


@pytest.mark.parametrize(
    "around",
    [
        "Sure! {}",
        "{} Hope this helps.",
        "```json\n{}\n```",
        "```\n{}\n```\nThis fits {{curly}} tasks.",
        "<think>Maybe {} or {{}}?</think>\n{}",
        '<think>{{"candidate": 2}}</think> {}',
        "\ufeff{}",
        "{{not JSON}} {}",
        "{}\n{}",
    ],
)
def test_a_single_object_is_read_whatever_surrounds_it(handmade: Handmade, around: str) -> None:
    answer = around.replace("{{", "\0").replace("{}", _answer()).replace("\0", "{")
    assert _parse(handmade, answer.replace("}}", "}")).params == handmade.candidates[0].params


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps(_answer()),
        json.dumps(json.dumps(_answer())),
        f"```json\n{json.dumps(_answer())}\n```",
        json.dumps(f"```json\n{_answer()}\n```"),
        f"'{_answer()}'",
        f"`{_answer()}`",
        f"\u201c{_answer()}\u201d",
        _answer(candidate="1"),
        _answer(candidate=" 1\n"),
        _answer(candidate=1.0),
        _answer(candidate="1.0"),
        _answer(evidence="E1,E2"),
        _answer(evidence="E1, E2"),
        _answer(evidence="E1 E2"),
        _answer(changes=None),
    ],
)
def test_what_can_mean_one_thing_only_is_read(handmade: Handmade, answer: str) -> None:
    proposal = _parse(handmade, answer)
    assert (proposal.evidence, proposal.candidate, proposal.changes) == (("E1", "E2"), 1, {})
    assert type(proposal.candidate) is int


def test_a_single_citation_is_read(handmade: Handmade) -> None:
    assert _parse(handmade, _answer(evidence="E2")).evidence == ("E2",)


def _parse_short(handmade: Handmade, **answer: Any) -> Proposal:
    asked = (handmade.space, handmade.candidates, handmade.explanation)
    return parse_proposal(json.dumps(answer), *asked, with_reasoning=False, is_short=True)


def test_a_short_answer_is_citations_and_a_choice(handmade: Handmade) -> None:
    proposal = _parse_short(handmade, evidence=["E2"], candidate=3)
    assert (proposal.evidence, proposal.candidate) == (("E2",), 3)
    assert (proposal.reasoning, proposal.changes, proposal.why) == ("", {}, "")
    assert proposal.params == handmade.candidates[2].params


def test_text_in_a_short_answer_is_not_kept(handmade: Handmade) -> None:
    proposal = _parse_short(handmade, evidence="E2", candidate="3", why="It fits.", changes=None)
    assert (proposal.evidence, proposal.candidate, proposal.why) == (("E2",), 3, "")


def test_a_change_in_a_short_answer_is_refused(handmade: Handmade) -> None:
    with pytest.raises(ProposalError, match=r"changes: no value may be changed"):
        _parse_short(handmade, evidence=["E2"], candidate=3, changes={"depth": 2})


def test_line_breaks_within_a_text_are_read(handmade: Handmade) -> None:
    assert _parse(handmade, _answer().replace("It fits.", "It\nfits.")).why == "It\nfits."


def test_long_words_are_kept_short(handmade: Handmade) -> None:
    proposal = _parse(handmade, _answer(reasoning="It " + "x" * 5_000, why="So " + "y" * 5_000))
    assert len(proposal.reasoning) <= MAX_REASONING
    assert len(proposal.why) <= MAX_WHY


def test_a_text_that_the_schema_cut_off_ends_with_a_whole_word(handmade: Handmade) -> None:
    why = (
        "A small learning rate such as 0.0012 helped most in the nearest past studies of chest "
        "images, and weight decay hardly mattered there, so I keep it at depth 0.00123456"
    )[:MAX_WHY]
    assert why.endswith("depth 0.00")
    assert _parse(handmade, _answer(why=why)).why.endswith("keep it at depth…")


PROMPT = """Evidence (SHAP effect on the score, 0 = worst and 1 = best trial of a study):
E1: optimizer = adam helped: +0.20 (40 trials, 3 studies)
E2: lr from 0.0005 to 0.002 helped: +0.12 (20 trials, 3 studies)

Candidates:
1. lr=0.001235, batch_size=32, depth=3, optimizer=adam, frozen=true | expected score 0.90 +- 0.02

Which configuration should be trained first?
3. "candidate": the number of the candidate you choose; 1 is expected to do best.
5. "why": one sentence for the person who will train it."""

UNREADABLE = [
    "",
    " \n",
    "E1",
    "1. ",
    "1.1.1.1.1.1.1",
    "0.0000000000000000001",
    "...",
    "1.1.1.1.1.1.1 a",
    "The the the the",
    "good good good bad bad",
    "Adam.",
    "string",
    "N/A",
    "x" * 300,
    "<|im_end|> <|im_start|>assistant",
    '"why": "It fits this task well."',
    '{"candidate": 1, "evidence": "E1"}',
    "adam adam adam",
    "The learning rate helped. The learning rate helped. The learning rate",
    "The model is a good model and the model is a good model and the model is a good model and",
    "最好最好最好最好最好",
    "E1: optimizer = adam helped: +0.20 (40 trials, 3 studies)",
    "E2: lr from 0.0005 to 0.002 helped: +0.12 (20 trials, 3 studies) optimizer = adam helped",
    "One sentence for the person who will train it.",
    "the number of the candidate you choose; 1 is expected to do best",
    "lr=0.001235, batch_size=32, depth=3, optimizer=adam, frozen=true",
]
READABLE = [
    "It fits.",
    "Candidate 1 is expected to do best.",
    "E1: optimizer = adam helped.",
    "adam helped most, and lr from 0.0005 to 0.002 helped too, so I choose candidate 1.",
    "The best optimizer is adam, and the best depth is 3, because the data set is small.",
    "I trust E1: optimizer = adam helped: +0.20 (40 trials, 3 studies), since this task has small "
    "images and few classes like most past ones.",
    "Eine kleine Lernrate half in den meisten der früheren Studien, deshalb wähle ich Kandidat 1.",
    "因为过去的研究中较小的学习率效果更好，所以我选择第一个候选。",
    "Малая скорость обучения помогла.",
]


@pytest.mark.parametrize("text", UNREADABLE)
def test_repeated_copied_or_wordless_text_is_left_out(text: str) -> None:
    assert readable_text(text, PROMPT, 200) == ""


@pytest.mark.parametrize("text", READABLE)
def test_a_sentence_is_kept(text: str) -> None:
    assert readable_text(f" {text}\n", PROMPT, 200) == text


@given(st.text(max_size=400), st.integers(2, 300))
def test_a_readable_text_is_bounded(text: str, limit: int) -> None:
    assert len(readable_text(text, PROMPT, limit)) <= limit


def test_unreadable_words_are_left_out_of_a_proposal(handmade: Handmade) -> None:
    answer = _answer(reasoning="1.1.1.1.1.1.1", why=PROMPT.splitlines()[-1])
    proposal = parse_proposal(
        answer, handmade.space, handmade.candidates, handmade.explanation, prompt=PROMPT
    )
    assert (proposal.reasoning, proposal.why, proposal.answer) == ("", "", answer)


def test_evidence_cited_twice_counts_once(handmade: Handmade) -> None:
    assert _parse(handmade, _answer(evidence=["E2", "E1", "E2"])).evidence == ("E2", "E1")


@pytest.mark.parametrize(
    "changes",
    [
        {"lr": 0.00123456},
        {"lr": 0.001235},
        {"batch_size": "32"},
        {"batch_size": 32},
        {"optimizer": "adam"},
        {"frozen": "true"},
        {"frozen": True},
        {"depth": 3},
        {"depth": 3.0},
    ],
)
def test_what_is_only_repeated_is_no_change(handmade: Handmade, changes: dict[str, Any]) -> None:
    proposal = _parse(handmade, _answer(changes=changes))
    assert proposal.changes == {}
    assert proposal.params == handmade.candidates[0].params


def test_rounded_bound_is_repeated_too() -> None:
    space = {"lr": FloatDistribution(0.0, 0.123456)}
    candidates = [Candidate(1, {"lr": 0.123456}, "best")]
    answer = json.dumps({**GOOD, "evidence": [], "changes": {"lr": 0.1235}})
    proposal = parse_proposal(answer, space, candidates, None)
    assert proposal.params == {"lr": 0.123456}


def test_choices_that_look_alike_are_distinguished() -> None:
    space = {"k": CategoricalDistribution([1, True, "1", None])}
    for label, value in (("true", True), ("1", 1), ("1 (str)", "1"), ("null", None)):
        answer = json.dumps({**GOOD, "evidence": [], "changes": {"k": label}})
        other = Candidate(1, {"k": "1" if value is not None and value != "1" else 1}, "best")
        params = parse_proposal(answer, space, [other], None).params
        assert (params["k"], type(params["k"])) == (value, type(value))


@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")
@pytest.mark.parametrize("raw", ["int", [64, 32], "[64, 32]", "float"])
def test_changed_choice_is_the_spaces_own_object(raw: object) -> None:
    choices = [int, (64, 32), float]
    space = {"k": CategoricalDistribution(choices)}
    answer = json.dumps({**GOOD, "evidence": [], "changes": {"k": raw}})
    others = [Candidate(1, {"k": str}, "best")]
    value = parse_proposal(answer, space, others, None).params["k"]
    assert value is choices[{"int": 0, "float": 2}.get(str(raw), 1)]


def test_none_put_into_a_parameter_that_was_not_active_is_a_change() -> None:
    space = {"k": CategoricalDistribution(["a", None]), "x": FloatDistribution(0, 1)}
    answer = json.dumps({**GOOD, "evidence": [], "changes": {"k": "null"}})
    proposal = parse_proposal(answer, space, [Candidate(1, {"x": 0.5}, "best")], None)
    assert proposal.params == {"k": None, "x": 0.5}


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "I choose candidate 1.",
        _answer()[:-1],
        "```json\n" + _answer()[:-1] + "\n```",
        _answer() + _answer(candidate=2),
        "Either " + _answer() + " or " + _answer(why="x"),
        _answer()[:-1] + ', "candidate": 2}',
        "The format is {} and no more.",
        "\ufeff",
        " \n\t",
        "null",
        "[]",
        "1",
        "[" * 100_000,
        '{"a":' * 100_000,
        _answer(extra=1),
        *[
            json.dumps({name: value for name, value in GOOD.items() if name != absent})
            for absent in ("reasoning", "candidate", "why")
        ],
        _answer(candidate="1.5"),
        _answer(candidate="1 or 2"),
        _answer(candidate="one"),
        _answer(candidate="\u0661"),
        _answer(candidate=1.5),
        _answer(candidate=float("inf")),
        _answer(candidate=True),
        _answer(candidate=None),
        _answer(candidate=[1]),
        _answer(candidate=float("nan")),
        _answer(evidence=[1]),
        _answer(evidence=1),
        _answer(evidence=None),
        _answer(reasoning=3),
        _answer(why=None),
        _answer(changes=[]),
        _answer(changes="none"),
        json.dumps(_answer() + _answer(candidate=2)),
        json.dumps("candidate 1"),
        '{"reasoning": "\ud800", "candidate": 1, "why": ""}',
    ],
)
def test_what_is_not_the_object_asked_for_is_refused(handmade: Handmade, answer: str) -> None:
    with pytest.raises(ProposalError, match="not the JSON object asked for: "):
        _parse(handmade, answer)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"lr": 0.5}, "changes.lr: 0.5 does not fit: number from 0.00001 to 0.1, log scale"),
        ({"lr": -1}, "changes.lr: -1 does not fit"),
        ({"lr": True}, "changes.lr: true does not fit"),
        ({"lr": "0.01"}, 'changes.lr: "0.01" does not fit'),
        ({"lr": None}, "changes.lr: null does not fit"),
        ({"lr": float("nan")}, "changes.lr: NaN does not fit"),
        ({"lr": float("inf")}, "changes.lr: Infinity does not fit"),
        ({"lr": [0.01]}, "changes.lr: [0.01] does not fit"),
        ({"lr": 10**400}, "changes.lr: 1000"),
        ({"depth": 2.5}, "changes.depth: 2.5 does not fit: whole number from 1 to 6"),
        ({"depth": 10**25}, "changes.depth: 1000"),
        ({"optimizer": "lion"}, 'changes.optimizer: "lion" does not fit: one of "adam"'),
        ({"optimizer": 1}, "changes.optimizer: 1 does not fit"),
        ({"optimizer": {"a": "b"}}, "changes.optimizer: "),
        ({"batch_size": 33}, "changes.batch_size: 33 does not fit"),
        ({"batch_size": True}, "changes.batch_size: true does not fit"),
        ({"frozen": 1}, "changes.frozen: 1 does not fit"),
        ({"dropout": 0.5}, "There is no parameter 'dropout' to change"),
        ({"": 0.5}, "There is no parameter '' to change"),
    ],
)
def test_change_outside_the_space_is_rejected(
    handmade: Handmade, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ProposalError) as caught:
        _parse(handmade, _answer(changes=changes))
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("number", [0, 4, -1, 10**30])
def test_unknown_candidate_is_rejected(handmade: Handmade, number: int) -> None:
    with pytest.raises(ProposalError, match="There is no candidate"):
        _parse(handmade, _answer(candidate=number))


@pytest.mark.parametrize(
    "cited", [["E5"], ["e1"], ["E1", "E99"], ["E1 "], [""], "E1 and E2", "E5"]
)
def test_unknown_evidence_is_rejected(handmade: Handmade, cited: list[str] | str) -> None:
    with pytest.raises(ProposalError, match=r"There is no evidence .*: cite the ids given"):
        _parse(handmade, _answer(evidence=cited))


def test_an_answer_without_citations_is_rejected(handmade: Handmade) -> None:
    with pytest.raises(ProposalError, match="No evidence is cited"):
        _parse(handmade, _answer(evidence=[]))


def test_without_a_past_there_is_nothing_to_cite(handmade: Handmade) -> None:
    space, candidates = handmade.space, handmade.candidates
    answer = json.dumps({"reasoning": "r", "candidate": 3, "why": "w"})
    assert parse_proposal(answer, space, candidates, None).evidence == ()
    with pytest.raises(ProposalError, match="There is no evidence 'E1'"):
        parse_proposal(_answer(), space, candidates, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
SPACE = {
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "k": CategoricalDistribution(["a", None, 1, True]),
}
CHOSEN = Candidate(1, {"lr": 0.01, "k": "a"}, "best")


@given(
    st.fixed_dictionaries(
        {
            "reasoning": st.just("r") | JSON,
            "candidate": st.just(1) | JSON,
            "why": st.just("w") | JSON,
            "changes": st.dictionaries(st.sampled_from(["lr", "k", "z"]), JSON) | JSON,
        }
    )
)
def test_any_json_is_a_proposal_inside_the_space_or_a_sentence(answer: dict[str, Any]) -> None:
    try:
        proposal = parse_proposal(json.dumps(answer), SPACE, [CHOSEN], None)
    except ProposalError:
        return
    assert set(proposal.params) == {"lr", "k"}
    assert all(contains(SPACE[name], value) for name, value in proposal.params.items())

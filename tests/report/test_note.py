"""The note of a suggestion: its contents, its markup and its place in a study's note."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from optuna_metallmix import MetaLLMiXError
from optuna_metallmix import Suggestion
from optuna_metallmix import suggest
from optuna_metallmix.candidates.selection import Candidate
from optuna_metallmix.candidates.selection import CostTradeoff
from optuna_metallmix.explain.explanation import Evidence
from optuna_metallmix.explain.explanation import NearestStudy
from optuna_metallmix.history.history import History
from optuna_metallmix.judge.judge import Verdict
from optuna_metallmix.judge.llm_judge import Review
from optuna_metallmix.judge.proposal import Proposal
from optuna_metallmix.llm import Message
from optuna_metallmix.llm import ScriptedLLM
from optuna_metallmix.llm.protocol import Attempt
from optuna_metallmix.report.dashboard import BEGIN
from optuna_metallmix.report.dashboard import END
from optuna_metallmix.report.dashboard import merge_note
from optuna_metallmix.report.dashboard import write_note
from optuna_metallmix.report.note import render_note


if TYPE_CHECKING:
    from conftest import Handmade
    from conftest import Learned

EVIL = "a|b `c` *d* _e_ [f](http://g) <h> #i \\ ![j](k)\n\n# title\n| x | y |\x00"


def _answer(messages: Sequence[Message], schema: Mapping[str, Any]) -> str:
    answer = {"evidence": ["E1"], "reasoning": "As E1 says.", "candidate": 1, "why": "It fits."}
    return json.dumps(answer)


@pytest.fixture(scope="module")
def suggestion(learned: Learned) -> Suggestion:
    return suggest(learned.history, learned.space, {}, ScriptedLLM(["?", _answer]))


def _evil(handmade: Handmade) -> Suggestion:
    """A suggestion in which every text has markup."""
    space = {EVIL: FloatDistribution(0, 1), "k": CategoricalDistribution([EVIL, "b"])}
    params = {EVIL: 0.5, "k": EVIL}
    evidence = (
        Evidence("E1", EVIL, "= 0.5", 0.5, 0.5, None, 0.2, 4, 2),
        Evidence("E2", "k", f"= {EVIL}", None, None, EVIL, -0.2, 4, 2),
    )
    explanation = replace(
        handmade.explanation, evidence=evidence, nearest=(NearestStudy(EVIL, 0.5, params, 3),)
    )
    return Suggestion(
        source="llm",
        params=params,
        space=space,
        meta_features={},
        history=History(left_out={EVIL: EVIL}),
        candidates=(Candidate(1, params, f"near one of the best of {EVIL!r}", 0.5, 0.1),),
        explanation=explanation,
        model=EVIL,
        proposal=Proposal(EVIL, ("E1", "E2"), EVIL, 1, {"k": EVIL}, EVIL, params),
        verdict=Verdict(
            True,
            review=Review(EVIL, {"format": 3}, {"format": EVIL}, note=EVIL),
        ),
        attempts=(Attempt(EVIL, (EVIL,)), Attempt(EVIL)),
        predicted=0.5,
        effects={EVIL: 0.1, "k": -0.1},
        reasons=(EVIL,),
    )


def _tables(note: str) -> list[list[str]]:
    """Return the tables of a note, each as its lines."""
    parts = re.findall(r"(?:^\|.*\n?)+", note, flags=re.MULTILINE)
    return [part.strip().split("\n") for part in parts]


def _n_cells(line: str) -> int:
    assert line.startswith("| ")
    assert line.endswith(" |")
    return len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) - 1


def test_past_ranges_are_not_cut(suggestion: Suggestion) -> None:
    note = render_note(suggestion, 0)
    explanation = suggestion.explanation
    assert explanation
    ranges = {e.values for e in explanation.parts or explanation.evidence if e.parameter == "lr"}
    shown = re.findall(r"from [^;|(]+(?= \([+-])", note.partition("| lr ")[2].partition("\n")[0])
    assert shown
    assert any(len(text) > 20 for text in shown)
    assert set(shown) <= ranges


def test_note_has_choice_reasons_past_and_verdict(suggestion: Suggestion) -> None:
    note = render_note(suggestion, 7)
    assert note.startswith("## How trial 7 was chosen")
    assert "language model `scripted` from 3 past studies with 90 trials" in note
    assert f"**{suggestion.predicted:.2f}**" in note
    for text in ("As E1 says.", "It fits.", "### Past studies", "accepted", "source: `llm`"):
        assert text in note
    for name in ("skin", "chest", "retina"):
        assert name in note
    assert "- answer 1 was rejected: " in note


def test_table_has_a_row_for_each_parameter_largest_effect_first(suggestion: Suggestion) -> None:
    table = _tables(render_note(suggestion, 0))[0]
    names = [line.split(" | ")[0].removeprefix("| ").replace("\\", "") for line in table[2:]]
    assert set(names) == set(suggestion.params)
    effects = [abs(suggestion.effects[name]) for name in names]
    assert effects == sorted(effects, reverse=True)
    assert {_n_cells(line) for line in table} == {6}
    assert set(table[1].split()) == {"|", "---"}


def test_largest_effect_comes_first_whatever_its_sign(handmade: Handmade) -> None:
    params = handmade.candidates[0].params
    effects = {"lr": 0.1, "depth": -0.3, "frozen": 0.2}
    hand = Suggestion(
        "meta-learner",
        params,
        handmade.space,
        {},
        History(),
        candidates=handmade.candidates,
        effects=effects,
    )
    rows = _tables(render_note(hand, 0))[0][2:]
    assert [row.split(" | ")[0] for row in rows[:3]] == ["| depth", "| frozen", "| lr"]
    assert "-0.300" in rows[0]


def test_each_value_says_where_it_comes_from(suggestion: Suggestion) -> None:
    assert suggestion.proposal is not None
    name, other = list(suggestion.params)[:2]
    proposal = replace(suggestion.proposal, changes={name: suggestion.params[name]})
    moved = {other: ("elsewhere", suggestion.params[other])}
    changed = replace(suggestion, proposal=proposal, moved=moved)
    lines = render_note(changed, 0).splitlines()
    cells = {line.split(" | ")[0]: line.split(" | ")[2] for line in lines if line[:2] == "| "}
    assert cells[f"| {name}"] == "changed by the model"
    assert cells[f"| {other}"] == "moved from elsewhere"
    others = [cells[f"| {name}"] for name in list(suggestion.params)[2:]]
    assert all(re.fullmatch(r"past study '\w+'|candidate 1", origin) for origin in others)
    assert "1 suggested value is not allowed by the objective, and was moved." in lines


def test_tables_stay_well_formed_whatever_the_names(handmade: Handmade) -> None:
    tables = _tables(render_note(replace(_evil(handmade), moved={"k": (EVIL, "b")}), 0))
    assert [len(table) for table in tables] == [4, 3]
    for table in tables:
        assert len({_n_cells(line) for line in table}) == 1


def test_other_peoples_text_is_no_markdown(handmade: Handmade) -> None:
    note = render_note(replace(_evil(handmade), moved={EVIL: (EVIL, EVIL)}), 0)
    assert "\x00" not in note
    assert note.count("title") >= 8
    bare = re.sub(r"`[^`\n]*`", "", re.sub(r"\\[\\`*_\[\]<>#|]", "", note))
    assert "`" not in bare
    for mark in ("`c`", "*d*", "[f]", "<h>", "![j]", "[//]"):
        assert mark not in bare
    assert not re.search(r"^# title", note, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("trade", "sentence"),
    [
        (
            CostTradeoff(0.3, 1.1, 0.01, 0.03),
            "about **0.30** times the median past training time. The candidate with the best "
            "predicted score would cost 1.10 and is expected to score 0.010 more, within the "
            "uncertainty of 0.030.",
        ),
        (CostTradeoff(0.3, 1.1, 0.04, 0.03), "score 0.040 more, beyond the uncertainty of 0.030."),
        (
            CostTradeoff(1.1, 1.1, 0.0, 0.03),
            "training time. No other candidate is expected to score higher.",
        ),
    ],
)
def test_note_describes_the_cost_tradeoff(
    suggestion: Suggestion, trade: CostTradeoff, sentence: str
) -> None:
    assert sentence in render_note(replace(suggestion, trade=trade), 0)
    assert "Cost:" not in render_note(suggestion, 0)


def test_models_words_are_left_out_where_there_are_none(suggestion: Suggestion) -> None:
    assert suggestion.proposal is not None
    wordless = replace(suggestion, proposal=replace(suggestion.proposal, reasoning="", why=""))
    note = render_note(wordless, 0)
    assert "own words" not in note
    assert "### The model's choice\n\nCandidate 1 of" in note
    assert "### The model's own words, unverified" in render_note(suggestion, 0)


def test_note_says_who_wrote_the_reasons_of_a_short_answer(suggestion: Suggestion) -> None:
    assert suggestion.proposal is not None
    assert "short question" not in render_note(suggestion, 0)
    short = replace(
        suggestion,
        prompt_version="4 short",
        proposal=replace(suggestion.proposal, reasoning="", why=""),
    )
    note = render_note(short, 0)
    assert "unchanged. The model was asked a short question: it cites evidence and" in note
    assert "prompt version 4 short" in note


def test_review_that_does_not_count_is_a_single_line(suggestion: Suggestion) -> None:
    scores = {"format": 1, "accuracy": 1, "completeness": 1}
    note = "its scores were ignored, because it also rejected a proposal known to be good."
    review = Review("other", scores, dict.fromkeys(scores, "Bad."), note=note)
    text = render_note(replace(suggestion, verdict=Verdict(True, review=review)), 0)
    assert f"- the reviewing model: {note}" in text
    assert "of 5" not in text
    assert "Bad." not in text


def test_counts_of_studies_have_the_right_number(suggestion: Suggestion) -> None:
    history = replace(suggestion.history, studies=suggestion.history.studies[:1])
    note = render_note(replace(suggestion, history=history), 0)
    assert "from 1 past study with 30 trials: candidate 1 of 6." in note


def test_note_of_the_other_steps_of_the_ladder(suggestion: Suggestion) -> None:
    lower = replace(
        suggestion, source="meta-learner", proposal=None, verdict=None, reasons=("No model: x.",)
    )
    note = render_note(lower, 0)
    assert (
        "Chosen by the meta-learner from 3 past studies with 90 trials, no answer of `scripted` "
        "was used: candidate 1 of 6." in note
    )
    alone = render_note(replace(lower, attempts=()), 0)
    assert "from 3 past studies with 90 trials: candidate" in alone
    assert "no language model was asked" in alone
    assert "prompt version" not in alone
    assert "No model: x." in note
    assert "own words" not in note
    empty = Suggestion("base-sampler", {}, {}, {}, History(), reasons=("There is no past.",))
    note = render_note(empty, 0)
    assert "no suggestion could be made" in note
    assert "There is no past." in note
    assert _tables(note) == []


def test_refused_verdict_says_by_whom(suggestion: Suggestion) -> None:
    verdict = Verdict(False, ("E1 is wrong.",), "code")
    note = render_note(replace(suggestion, proposal=None, verdict=verdict), 0)
    assert "rejected by the code" in note
    assert "- E1 is wrong." in note


def test_criterion_without_a_remark_ends_its_line(suggestion: Suggestion) -> None:
    review = Review("other", {"format": 4, "accuracy": 3}, {"format": "", "accuracy": "vague"})
    note = render_note(replace(suggestion, verdict=Verdict(True, review=review)), 0)
    assert "- format: 4 of 5.\n- accuracy: 3 of 5. vague\n" in note


def test_note_says_what_answers_and_review_took(suggestion: Suggestion) -> None:
    review = Review("other", attempts=(Attempt("{}", (), 2.0, 30, 4),), note="no review: gone")
    reviewed = replace(
        suggestion,
        attempts=(Attempt("?", ("no",), 1.0, 700, 90), Attempt("{}", (), 1.5, 800, 60)),
        verdict=Verdict(True, review=review),
    )
    note = render_note(reviewed, 0)
    assert "- the model's answers: 2.5 s, 1500 prompt tokens, 150 completion tokens" in note
    assert "- the review by `other`: 2.0 s, 30 prompt tokens, 4 completion tokens" in note
    assert "- the reviewing model: no review: gone" in note


@given(st.text(), st.text(), st.text())
def test_a_persons_note_is_kept_byte_for_byte(before: str, after: str, text: str) -> None:
    ours = f"{BEGIN}\n\nold\n\n{END}"
    merged = merge_note(before + ours + after, text)
    assert merged == f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


@given(st.text(), st.text(), st.text())
def test_a_note_without_our_section_gets_one_at_the_end(note: str, text: str, more: str) -> None:
    merged = merge_note(note, text)
    assert merged.startswith(note)
    assert merged.endswith(f"{BEGIN}\n\n{text}\n\n{END}")
    assert merge_note(merged, text) == merged
    assert merge_note(merge_note(merged, more), text) == merged


@pytest.mark.parametrize("stray", [END, BEGIN, f"{END} mine {BEGIN}", f"{BEGIN} mine"])
def test_stray_marker_of_a_person_costs_no_text(stray: str) -> None:
    note = f"first\n{stray}\nlast"
    once = merge_note(note, "text")
    twice = merge_note(once, "text")
    assert twice == once
    assert once.startswith(note)


@pytest.fixture
def study() -> optuna.Study:
    pytest.importorskip("optuna_dashboard")
    return optuna.create_study()


def test_note_is_written_where_the_dashboard_reads_it(study: optuna.Study) -> None:
    from optuna_dashboard import get_note
    from optuna_dashboard import save_note

    save_note(study, "Mine: *keep* | this\n")
    write_note(study, "ours")
    write_note(study, "ours again")
    assert get_note(study) == f"Mine: *keep* | this\n\n\n{BEGIN}\n\nours again\n\n{END}"


def test_absent_dashboard_is_named_with_the_command_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(MetaLLMiXError, match="pip install optuna-dashboard plotly"):
        write_note(optuna.create_study(), "ours")


def test_a_bug_of_ours_is_not_taken_for_the_dashboards(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(note: str, text: str) -> str:
        raise KeyError("a bug")

    monkeypatch.setattr("optuna_metallmix.report.dashboard.merge_note", broken)
    with pytest.raises(KeyError, match="a bug"):
        write_note(optuna.create_study(), "text")


def test_ranges_are_whole_and_words_of_the_table_short(suggestion: Suggestion) -> None:
    """A long word would push columns out of sight, and a cut number would be another one."""
    assert suggestion.explanation is not None
    long = "_".join(["choice"] * 20)
    parts = (
        Evidence("", "lr", "from 0.0009844 to 0.005204", 0.0009844, 0.005204, None, 0.2, 4, 2),
        Evidence("", "optimizer", f"= {long}", None, None, long, 0.2, 4, 2),
    )
    wide = replace(
        suggestion,
        space={**suggestion.space, "optimizer": CategoricalDistribution(["adam", long])},
        params={**suggestion.params, "optimizer": long},
        explanation=replace(suggestion.explanation, parts=parts),
    )
    table = _tables(render_note(wide, 0))[0]
    assert any("from 0.0009844 to 0.005204 (+0.20)" in line for line in table)
    assert max(len(word) for line in table for word in line.split()) <= 26


def test_only_studies_of_known_distance_are_called_nearest(suggestion: Suggestion) -> None:
    explanation, studies = suggestion.explanation, suggestion.history.studies
    assert explanation is not None
    for distances, n_past, head in (
        ((0.1, 0.2, None), 3, "Nearest past studies:"),
        ((None, None, None), 3, "All past studies:"),
        ((None, None, None), 6, "Past studies with the most trials (which are similar is not"),
    ):
        pairs = zip(explanation.nearest, distances, strict=True)
        nearest = [replace(study, distance=distance) for study, distance in pairs]
        history = replace(suggestion.history, studies=studies * (n_past // 3))
        told = replace(explanation, nearest=tuple(nearest), distance_basis="meta-features")
        note = render_note(replace(suggestion, explanation=told, history=history), 0)
        assert head in note
        assert ("Nearest" in note) is ("distance (0 = identical)" in note) is (distances[0] == 0.1)


@pytest.mark.parametrize(
    "name", [END, BEGIN, f"{END}\n{BEGIN}", "[//]: # [//]: # (optuna-metallmix end)"]
)
def test_a_name_like_a_marker_leaves_no_second_copy(suggestion: Suggestion, name: str) -> None:
    proposal = suggestion.proposal
    assert proposal is not None
    named = replace(
        suggestion,
        model=name,
        model_build=name,
        reasons=(name,),
        proposal=replace(proposal, why=name, reasoning=name),
    )
    mine = "My own words.\n"
    note = mine
    for _ in range(3):
        note = merge_note(note, render_note(named, 0))
    assert note == merge_note(mine, render_note(named, 0))
    assert note.count(BEGIN) == note.count(END) == 1
    assert note.startswith(mine)
    assert note.endswith(END)

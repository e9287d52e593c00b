"""Questions to train on: their answers follow from the evidence, and they differ."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import models as scored
from benchmarks.methods.reader import SIGNS
from benchmarks.methods.reader import read_candidates
from benchmarks.methods.reader import read_evidence
from benchmarks.paths import data_folder
from models import questions
from optuna_metallmix.pipeline import question_of
from optuna_metallmix.pipeline import suggest
from optuna_metallmix.prompt import SHORT
from optuna_metallmix.prompt import Question
from optuna_metallmix.prompt import prompt_view
from optuna_metallmix.space import merge_spaces


IDS = re.compile(r"E\d+")


@pytest.fixture(scope="module")
def question(history: Any) -> Question:
    space = merge_spaces(study.space for study in history.studies)
    return question_of(suggest(history, space, {"modality": "CT"}, None), SHORT)


@pytest.fixture(scope="module")
def rows(question: Question, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    path = tmp_path_factory.mktemp("models") / "new" / "questions.jsonl"
    counts = questions.write_questions([question], path, seed=0)
    found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len(found) == counts.total() > 20
    return found


def test_the_answer_has_most_support(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        effects = {id_: abs(line.effect) for id_, line in read_evidence(row["question"]).items()}
        numbers = list(read_candidates(row["question"]))
        assert len(numbers) == row["candidates"]
        sums = [
            sum(effects[id_] for id_ in IDS.findall(supporting))
            - sum(effects[id_] for id_ in IDS.findall(opposing))
            for supporting, opposing in SIGNS.findall(row["question"])
        ]
        support = dict(zip(numbers, sums, strict=True))
        best = support.pop(json.loads(row["answer"])["candidate"])
        assert best > max(support.values()) + 1e-9  # nor is another as good


def test_the_answer_cites_the_first_evidence_for_it(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        answer = json.loads(row["answer"])
        (line,) = re.findall(rf"^{answer['candidate']}\. .*$", row["question"], re.MULTILINE)
        supporting = re.search(r"\bfor ([E\d ]+) \| against", line)
        assert supporting is not None
        assert answer["evidence"] == IDS.findall(supporting[1])[:3] != []


def test_all_places_names_and_numbers_occur(rows: list[dict[str, Any]]) -> None:
    places = set()
    for row in rows:
        numbers = list(read_candidates(row["question"]))
        places.add(numbers.index(json.loads(row["answer"])["candidate"]))
    has_gap = [max(read_candidates(row["question"])) > row["candidates"] for row in rows]
    texts = [row["question"] for row in rows]
    assert places >= {0, 1}
    assert {row["candidates"] for row in rows} >= {2, 3}
    assert {True, False} == set(has_gap)
    assert len(set(texts)) > len(texts) / 2
    own = [("learning_rate" in text or "lr" in text) for text in texts]
    assert 0 < sum(own) < len(own)


def test_equals_have_no_answer(question: Question) -> None:
    first = question.candidates[0]
    twins = [first, replace(first, number=2)]
    view = prompt_view(replace(question, candidates=twins))
    assert questions.answer_of(replace(view, candidates=tuple(twins))) is None


def test_the_same_seed_gives_the_same_file(question: Question, tmp_path: Path) -> None:
    texts = []
    for seed in (0, 0, 1):
        questions.write_questions([question], tmp_path / "q", seed=seed)
        texts.append((tmp_path / "q").read_text("utf-8"))
    assert texts[0] == texts[1] != texts[2]


def test_a_variant_keeps_what_evidence_says(question: Question) -> None:
    rng = np.random.default_rng(0)
    effects = {item.effect for item in question.explanation.evidence}  # type: ignore[union-attr]
    for _ in range(20):
        variant = questions.vary(question, rng)
        assert {item.effect for item in variant.explanation.evidence} <= effects  # type: ignore[union-attr]
        assert all(set(c.params) <= set(variant.space) for c in variant.candidates)


def test_no_family_is_both_learned_and_scored() -> None:
    assert not set(questions.FAMILIES) & set(scored.FAMILIES.values())


def test_without_data_the_command_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("METALLMIX_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match="METALLMIX_DATA"):
        questions.main()


@pytest.mark.shared
def test_a_suggestion_is_asked_about() -> None:
    if not data_folder().is_dir():
        pytest.skip(f"no recorded data at {data_folder()}: set METALLMIX_DATA")
    searches = questions.lcbench.searches(questions.Options(quick=True))
    target = next(iter(searches.tasks.values()))
    question = questions._suggestion(searches, target, "random-3", 0)
    studies = {study.name for study in question.explanation.nearest}  # type: ignore[union-attr]
    assert studies
    assert target.name not in studies

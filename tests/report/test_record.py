"""The record of a suggestion comes back from every storage as it was written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from optuna_metallmix import Suggestion
from optuna_metallmix import read_record
from optuna_metallmix import suggest
from optuna_metallmix.judge.llm_judge import Review
from optuna_metallmix.llm import ForeignLLM
from optuna_metallmix.llm import Message
from optuna_metallmix.llm import ScriptedLLM
from optuna_metallmix.llm.protocol import Attempt
from optuna_metallmix.prompt import SHORT
from optuna_metallmix.report.record import as_json
from optuna_metallmix.report.record import as_record
from optuna_metallmix.report.record import record_missing
from optuna_metallmix.report.record import record_missing_note
from optuna_metallmix.report.record import restore_suggestion
from optuna_metallmix.report.record import write_record
from optuna_metallmix.trial_claim import settle


if TYPE_CHECKING:
    from conftest import Learned


def _answer(messages: Sequence[Message], schema: Mapping[str, Any]) -> str:
    return json.dumps(
        {"evidence": ["E1"], "reasoning": 'Größe, "日本語" \\ |', "candidate": 1, "why": "☃"}
    )


@pytest.fixture(scope="module")
def suggestion(learned: Learned) -> Suggestion:
    llm = ScriptedLLM(["not JSON", _answer])
    return suggest(learned.history, learned.space, {"modality": "CT"}, llm)


def _store(storage: BaseStorage | str | None, suggestion: Suggestion) -> FrozenTrial:
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    write_record(study._storage, trial._trial_id, suggestion)
    return study.trials[0]


@pytest.fixture(params=["memory", "sqlite", "journal"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> BaseStorage | str | None:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'hpo.db'}"
    if request.param == "journal":
        return JournalStorage(JournalFileBackend(str(tmp_path / "hpo.jsonl")))
    return None


def test_record_comes_back_as_it_was_written(
    suggestion: Suggestion, storage: BaseStorage | str | None
) -> None:
    assert suggestion.source == "llm"
    trial = _store(storage, suggestion)
    record = read_record(trial)
    assert record is not None
    assert record == json.loads(json.dumps(as_record(suggestion)))
    assert record["proposal"]["reasoning"] == 'Größe, "日本語" \\ |'
    assert record["params"] == dict(suggestion.params)
    assert record["past_studies"] == {"skin": 30, "chest": 30, "retina": 30}
    assert [attempt["failures"] == [] for attempt in record["attempts"]] == [False, True]
    assert record["verdict"]["accepted"] is True
    chunks = [v for k, v in trial.system_attrs.items() if k.startswith("metallmix:record:")]
    assert len(chunks) >= 2
    assert max(len(chunk) for chunk in chunks) <= 2045


def test_people_see_source_model_and_why(suggestion: Suggestion) -> None:
    trial = _store(None, suggestion)
    assert trial.user_attrs == {
        "metallmix:source": "llm",
        "metallmix:model": "scripted",
        "metallmix:why": suggestion.why,
        "metallmix:verdict": "accepted; answers: 2, 0.0 s",
    }


def test_people_see_what_the_verdict_was_and_what_the_answers_took(suggestion: Suggestion) -> None:
    assert suggestion.verdict is not None
    scores = {"format": 5, "accuracy": 4, "completeness": 3}
    review = Review("other", scores, attempts=(Attempt("{}", (), 1.0, 50, 5),))
    verdict = replace(suggestion.verdict, review=review)
    attempts = (Attempt("?", ("no",), 2.0, 800, 90), Attempt("{}", (), 0.5))
    seen = _store(None, replace(suggestion, verdict=verdict, attempts=attempts)).user_attrs
    assert seen["metallmix:verdict"] == (
        "accepted; format 5, accuracy 4, completeness 3 of 5; answers: 2, "
        "3.5 s, 850 prompt tokens, 95 completion tokens"
    )
    unread = _store(None, replace(suggestion, verdict=None, attempts=(Attempt("", ("gone",)),)))
    assert unread.user_attrs["metallmix:verdict"] == "no answer could be read; answers: 1, 0.0 s"


def test_the_kind_of_question_is_on_the_record(suggestion: Suggestion) -> None:
    short = replace(suggestion, prompt_version=SHORT.version)
    trial = _store(None, short)
    record = read_record(trial)
    assert record is not None
    assert record["prompt_version"].endswith(" short")
    assert "written by code from the evidence" in trial.user_attrs["metallmix:why"]
    study = optuna.create_study()
    study.add_trial(trial)
    restored = restore_suggestion(study)
    assert restored is not None
    assert restored.suggestion.why == short.why


def test_record_of_an_older_version_is_read(suggestion: Suggestion) -> None:
    """Until 2026-11 the verdict and the review also had a key ``false_claims``."""
    assert suggestion.verdict is not None
    review = Review("other", {"format": 5}, {"format": "good"})
    new = replace(suggestion, verdict=replace(suggestion.verdict, review=review))
    record = json.loads(as_json(new))
    record["verdict"]["false_claims"] = [["E1 hurt.", "E1 helped."]]
    record["verdict"]["review"]["false_claims"] = []
    for key in ("aliases", "distance_basis", "model_build", "moved", "other_names"):
        del record[key]
    study = optuna.create_study()
    trial = study.ask()
    study._storage.set_trial_system_attr(trial._trial_id, "metallmix:record:0", json.dumps(record))
    restored = restore_suggestion(study)
    assert restored is not None
    assert restored.suggestion.verdict == new.verdict
    assert restored.suggestion.proposal == new.proposal


def test_a_study_s_own_suggestion_comes_before_that_of_a_copied_trial(
    suggestion: Suggestion, storage: BaseStorage | str | None
) -> None:
    copied = _store(storage, replace(suggestion, model="copied"))
    copied.user_attrs["metallmix:projected"] = {"removed": "1 -> 2"}
    study = optuna.create_study()
    study.add_trial(copied)
    restored = restore_suggestion(study)
    assert restored is not None
    assert (restored.number, restored.suggestion.model) == (0, "copied")
    trial = study.ask()
    write_record(study._storage, trial._trial_id, suggestion)
    settle(study, study.trials[1])
    restored = restore_suggestion(study)
    assert restored is not None
    assert (restored.number, restored.suggestion.model) == (1, "scripted")


def test_verdict_review_and_costs_are_on_the_record(suggestion: Suggestion) -> None:
    assert suggestion.verdict is not None
    review = Review(
        "other", {"format": 2}, {"format": "so"}, attempts=(Attempt("{}", (), 1.0, 5),)
    )
    verdict = replace(suggestion.verdict, review=review)
    record = as_record(replace(suggestion, verdict=verdict))["verdict"]
    assert (record["accepted"], record["scores"]) == (True, {"format": 2})
    assert record["summary"] == "accepted; format 2 of 5"
    assert record["review"]["reviewer"] == "other"
    assert record["review"]["attempts"][0]["prompt_tokens"] == 5


def test_people_see_the_reasons_for_a_step_down(suggestion: Suggestion) -> None:
    lower = replace(suggestion, source="meta-learner", model=None, reasons=("No model.", "Why."))
    attributes = _store(None, lower).user_attrs
    assert attributes["metallmix:reason"] == "No model. Why."
    assert "metallmix:model" not in attributes


@given(st.text(max_size=6000))
@settings(max_examples=25, deadline=None)
def test_any_answer_of_a_model_survives(suggestion: Suggestion, answer: str) -> None:
    record = read_record(_store(None, replace(suggestion, attempts=(Attempt(answer),))))
    assert record is not None
    (attempt,) = record["attempts"]
    assert (attempt["answer"], attempt["failures"]) == (answer, [])


def test_lone_surrogate_survives_sqlite(suggestion: Suggestion, tmp_path: Path) -> None:
    broken = replace(suggestion, attempts=(Attempt("a\ud800b"),), reasons=("c\udfffd",))
    record = read_record(_store(f"sqlite:///{tmp_path / 'hpo.db'}", broken))
    assert record is not None
    assert record["attempts"][0]["answer"] == "a\ud800b"


def test_numbers_of_numpy_stay_numbers(suggestion: Suggestion) -> None:
    params = {"n": np.int64(3), "x": np.float32(0.5), "b": np.True_, "odd": (1, 2)}
    record = read_record(_store(None, replace(suggestion, params=params)))
    assert record is not None
    assert record["params"] == {"n": 3, "x": 0.5, "b": True, "odd": [1, 2]}


def test_trial_without_a_record_has_none() -> None:
    study = optuna.create_study()
    study.ask()
    assert read_record(study.trials[0]) is None


def test_missing_suggestion_and_note_are_on_the_trial() -> None:
    study = optuna.create_study()
    trial = study.ask()
    record_missing(study._storage, trial._trial_id, "no past")
    record_missing_note(study._storage, trial._trial_id, "no dashboard")
    assert study.trials[0].user_attrs == {
        "metallmix:source": "base-sampler",
        "metallmix:reason": "no past",
        "metallmix:note": "no dashboard",
    }


def test_moved_values_are_on_the_trial(suggestion: Suggestion) -> None:
    moved = {"lr": (0.5, 0.1), "optimizer": (None, "adam")}
    trial = _store(None, replace(suggestion, moved=moved))
    shown = {"lr": "0.5 -> 0.1", "optimizer": "null -> 'adam'"}
    assert trial.user_attrs["metallmix:projected"] == shown
    record = read_record(trial)
    assert record is not None
    assert record["moved"] == {"lr": [0.5, 0.1], "optimizer": [None, "adam"]}


def test_a_shorter_record_replaces_a_longer_one(suggestion: Suggestion) -> None:
    study = optuna.create_study()
    trial = study.ask()
    long = replace(suggestion, reasons=("x" * 10_000,))
    for stored in (long, suggestion):
        write_record(study._storage, trial._trial_id, stored)
    record = read_record(study.trials[0])
    assert record is not None
    assert record["reasons"] == list(suggestion.reasons)


def test_build_of_the_model_that_answered_is_kept(learned: Learned) -> None:
    class Built:
        build = "v7"

        def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
            return _answer(messages, schema)

    def built(llm: Any) -> object:
        made = suggest(learned.history, learned.space, {}, llm)
        return as_record(made)["model_build"]

    assert built(Built()) == "v7"
    assert built(ForeignLLM(Built())) == "v7"
    assert built(ScriptedLLM([_answer])) is None

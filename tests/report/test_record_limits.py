"""Every storage can hold what is written with a trial, whatever is suggested, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from optuna_metallmix import Suggestion
from optuna_metallmix import read_record
from optuna_metallmix import suggest
from optuna_metallmix.history import History
from optuna_metallmix.history import read_past
from optuna_metallmix.judge.judge import Verdict
from optuna_metallmix.llm.protocol import Attempt
from optuna_metallmix.report import describe_figures
from optuna_metallmix.report import record_missing
from optuna_metallmix.report import record_missing_note
from optuna_metallmix.report import render_note
from optuna_metallmix.report.dashboard import StudyReport
from optuna_metallmix.report.record import restore_suggestion
from optuna_metallmix.report.record import write_record
from optuna_metallmix.report.record_limits import MAX_RECORD
from optuna_metallmix.trial_claim import settle


MAX_TEXT = 65_535
"""Bytes of MySQL's type TEXT, which holds an attribute."""


def _past(space: Mapping[str, BaseDistribution], n_studies: int = 3) -> optuna.Study:
    """Return a new study in a storage with random past studies of a search space."""
    storage = optuna.storages.InMemoryStorage()
    for i in range(n_studies):
        sampler = optuna.samplers.RandomSampler(seed=i)
        study = optuna.create_study(storage=storage, study_name=f"past {i}", sampler=sampler)
        for _ in range(12):
            trial = study.ask(dict(space))
            digits = [[c for c in str(v) if c.isdigit()][:3] for v in trial.params.values()]
            study.tell(trial, float(sum(int("".join(d)) for d in digits[:5])))
    return optuna.create_study(storage=storage, study_name="target")


def _choices(length: int, n: int = 4, letter: str = "x") -> CategoricalDistribution:
    """Return choices of a length that differ in their middle only."""
    half = letter * (length // 2)
    return CategoricalDistribution([f"{half}{i}{half}" for i in range(n)])


def _suggest(study: optuna.Study, space: dict[str, BaseDistribution]) -> Suggestion:
    return suggest(read_past(study, None, None, {}), space, {}, None)


def _written(study: optuna.Study, suggestion: Suggestion) -> optuna.trial.FrozenTrial:
    """Write everything that a suggestion writes, and check its size."""
    trial = study.ask(dict(suggestion.space))
    for _ in range(2):  # the second replaces the first
        write_record(study._storage, trial._trial_id, suggestion)
    settle(study, study.trials[0])
    stored = study.trials[0]
    attributes = {**stored.user_attrs, **stored.system_attrs}
    assert max(len(json.dumps(value)) for value in attributes.values()) <= MAX_TEXT
    pieces = [v for k, v in stored.system_attrs.items() if k.startswith("metallmix:record")]
    assert len(json.dumps(pieces)) <= MAX_RECORD + 500
    return stored


def _check_study(study: optuna.Study) -> None:
    attributes = study._storage.get_study_system_attrs(study._study_id)
    assert max(len(json.dumps(value)) for value in attributes.values()) <= MAX_TEXT


@pytest.mark.parametrize("letter", ["x", "😀"])
@pytest.mark.parametrize("length", [1_000, 10_000])
def test_long_choices_of_many_parameters(length: int, letter: str) -> None:
    space: dict[str, BaseDistribution] = {
        f"p{i}": _choices(length, letter=letter) for i in range(40)
    }
    study = _past(space)
    suggestion = _suggest(study, space)
    trial = _written(study, suggestion)
    record = read_record(trial)
    assert record is not None
    assert record["is_cut"]
    assert record["labels"]
    for name, value in record["params"].items():
        choices = json.loads(record["space"][name])["attributes"]["choices"]
        assert len(set(choices)) == 4
        # The same choice: its number is in the middle of the text.
        assert choices.index(value) == space[name].choices.index(suggestion.params[name])  # type: ignore[attr-defined]
    assert record["n_omitted"] + len(record["params"]) == 40
    restored = restore_suggestion(study)
    assert restored is not None
    assert render_note(restored.suggestion, 0)
    describe_figures(restored.suggestion)


def test_long_choices_are_whole_again_in_what_is_restored() -> None:
    space: dict[str, BaseDistribution] = {f"p{i}": _choices(1_000) for i in range(16)}
    space["x"] = FloatDistribution(0.0, 1.0)
    study = _past(space)
    suggestion = _suggest(study, space)
    trial = _written(study, suggestion)
    record = read_record(trial)
    assert record is not None
    assert record["n_omitted"] == 0
    copy = optuna.create_study()
    copy.add_trial(optuna.trial.create_trial(
        value=1.0, params=dict(suggestion.params), distributions=dict(space),
        system_attrs=trial.system_attrs,
    ))  # fmt: skip
    restored = restore_suggestion(copy, study._storage)
    assert restored is not None
    assert restored.suggestion.learner is not None
    assert restored.suggestion.params == suggestion.params
    assert restored.suggestion.predicted == pytest.approx(suggestion.predicted)
    assert restored.suggestion.explanation is not None
    assert suggestion.explanation is not None
    assert restored.suggestion.explanation.evidence == suggestion.explanation.evidence
    assert len(describe_figures(restored.suggestion)) == len(describe_figures(suggestion))


def test_many_parameters_keep_those_with_effects() -> None:
    space: dict[str, BaseDistribution] = {
        f"a_parameter_of_a_module_{i}": FloatDistribution(0.0, 1.0) for i in range(300)
    }
    study = _past(space)
    suggestion = _suggest(study, space)
    record = read_record(_written(study, suggestion))
    assert record is not None
    assert 0 < record["n_omitted"] < 300
    assert record["n_omitted"] + len(record["params"]) == 300
    assert sum(record["effects"].values()) == pytest.approx(sum(suggestion.effects.values()))
    kept = min(abs(suggestion.effects[name]) for name in record["params"])
    left = [name for name in space if name not in record["params"]]
    assert all(abs(suggestion.effects[name]) <= kept for name in left)
    restored = restore_suggestion(study)
    assert restored is not None
    assert restored.suggestion.learner is None
    assert "cut to 64 kB" in render_note(restored.suggestion, 0)
    describe_figures(restored.suggestion)


def _ordinary() -> tuple[optuna.Study, Suggestion]:
    space: dict[str, BaseDistribution] = {
        "x": FloatDistribution(0.0, 1.0),
        "kind": CategoricalDistribution(["k1", "k2"]),
    }
    study = _past(space)
    return study, _suggest(study, space)


EMOJI = "😀" * 20_000
LONG: dict[str, dict[str, Any]] = {
    "a model's error": {"attempts": (Attempt("", ("e" * 2_000_000,)),), "model": "m"},
    "a model's answer": {"attempts": (Attempt("a" * 2_000_000),) * 3, "model": "m"},
    "a model's name": {"attempts": (Attempt("{}"),), "model": EMOJI, "model_build": EMOJI},
    "many attempts": {"attempts": (Attempt(EMOJI, (EMOJI,) * 5),) * 50, "model": "m"},
    "many reasons": {"reasons": (EMOJI,) * 20 + ("A reason.",) * 9_000},
    "a verdict": {"attempts": (Attempt("{}"),), "verdict": Verdict(False, (EMOJI,) * 9, EMOJI)},
    "meta-features": {"meta_features": {f"{EMOJI}{i}": EMOJI for i in range(50)}},
    "moved values": {"moved": {"x": (EMOJI, EMOJI + "b"), "kind": (EMOJI, "k1")}},
    "left-out studies": {
        "history": History(left_out={f"{i} {'s' * 500}": EMOJI[:90] for i in range(5_000)})
    },
    "renamed parameters": {
        "history": History(aliases={f"{EMOJI[:9_000]}{i}": EMOJI[:9_000] for i in range(50)})
    },
}  # fmt: skip


@pytest.mark.parametrize("what", LONG)
def test_long_texts(what: str) -> None:
    study, suggestion = _ordinary()
    long = replace(suggestion, **LONG[what])
    trial = _written(study, long)
    record = read_record(trial)
    assert record is not None
    assert record["is_cut"]
    assert set(record["params"]) == {"x", "kind"}
    assert record["n_omitted"] == 0
    restored = restore_suggestion(study)
    assert restored is not None
    assert StudyReport(study, 0, restored.suggestion).write(None) == []
    _check_study(study)


def test_everything_is_long() -> None:
    study, suggestion = _ordinary()
    everything: dict[str, Any] = {}
    for parts in LONG.values():
        everything.update(parts)
    record = read_record(_written(study, replace(suggestion, **everything)))
    assert record is not None
    assert record["params"].keys() <= {"x", "kind"}
    assert restore_suggestion(study) is not None


def test_names_of_parameters_that_no_record_can_hold_are_left_out() -> None:
    space: dict[str, BaseDistribution] = {
        "n" * 70_000: FloatDistribution(0.0, 1.0),
        "x": FloatDistribution(0.0, 1.0),
    }
    study = _past(space)
    record = read_record(_written(study, _suggest(study, space)))
    assert record is not None
    assert record["n_omitted"] == 1
    assert list(record["params"]) == ["x"]


def test_many_past_studies_are_counted() -> None:
    study, suggestion = _ordinary()
    (first, *_) = suggestion.history.studies
    names = [f"a past study with a name, number {i}" for i in range(5_000)]
    studies = tuple(replace(first, name=name) for name in names)
    many = replace(suggestion, history=replace(suggestion.history, studies=studies))
    record = read_record(_written(study, many))
    assert record is not None
    assert len(record["past_studies"]) + record["n_omitted_studies"] == 5_000
    restored = restore_suggestion(study)
    assert restored is not None
    note = render_note(restored.suggestion, 0)
    assert f"5000 past studies with {5_000 * len(first.trials)} trials" in note


def test_values_that_were_moved_differ_as_shown() -> None:
    study, suggestion = _ordinary()
    long = "c" * 500
    moved = {f"{long}{i}": (f"{long}1{long}", f"{long}2{long}") for i in range(30)}
    trial = study.ask()
    write_record(study._storage, trial._trial_id, replace(suggestion, moved=moved, params={}))
    shown = study.trials[0].user_attrs["metallmix:projected"]
    assert shown.pop("10 more")
    assert len(shown) == 20
    for text in shown.values():
        before, _, after = text.partition(" -> ")
        assert before != after


def test_reasons_are_cut_to_an_attribute() -> None:
    study = optuna.create_study()
    trial = study.ask()
    record_missing(study._storage, trial._trial_id, EMOJI)
    record_missing_note(study._storage, trial._trial_id, EMOJI)
    for name in ("metallmix:reason", "metallmix:note"):
        assert len(json.dumps(study.trials[0].user_attrs[name])) <= MAX_TEXT


def test_what_fits_is_not_changed() -> None:
    study, suggestion = _ordinary()
    long = replace(suggestion, reasons=("r" * 30_000,))
    record = read_record(_written(study, long))
    assert record is not None
    assert not record["is_cut"]
    assert record["reasons"] == ["r" * 30_000]

"""Fallback when past studies, the dashboard or the own storage are unusable, and bugs, which are
not hidden."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from end_to_end import N_TRIALS
from end_to_end import check_step_down
from end_to_end import choose
from end_to_end import fill_past
from end_to_end import memory_past
from end_to_end import new_study
from end_to_end import objective
from end_to_end import random_trials
from end_to_end import run
from end_to_end import suggested
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix import HistoryError
from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record
from optuna_metallmix.llm import ScriptedLLM


@pytest.fixture
def past() -> InMemoryStorage:
    return memory_past()


def test_only_failed_trials(logs):
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="crashed")
    failed = [
        create_trial(state=TrialState.FAIL, params=trial.params, distributions=trial.distributions)
        for trial in random_trials(12, seed=0)
    ]
    study.add_trials(failed)
    check_step_down(
        run(MetaLLMiXSampler(llm=False), storage),
        logs,
        "base-sampler",
        "'crashed' is left out: it has no complete trial",
    )


def test_only_a_study_of_two_trials(logs):
    storage = memory_past(n_studies=1, n_trials=2)
    study = run(MetaLLMiXSampler(llm=False), storage)
    check_step_down(study, logs, "base-sampler", "only 2 past trials")


def test_unfit_studies_beside_fit_ones(past, logs):
    optuna.create_study(storage=past, study_name="empty")
    optuna.create_study(storage=past, study_name="two", directions=["minimize", "maximize"])
    study = run(MetaLLMiXSampler(llm=False), past)
    record = read_record(study.trials[0])
    assert record is not None
    assert set(record["left_out"]) == {"empty", "two"}
    assert logs.warnings == []


def test_corrupted_journal_is_reported_at_construction(tmp_path):
    path = tmp_path / "past.jsonl"
    path.write_text("not a journal\n")
    with pytest.raises(HistoryError, match="journal"):
        MetaLLMiXSampler(source_storage=path)


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_journal_that_breaks_later(tmp_path, logs, damage):
    path = tmp_path / "past.jsonl"
    fill_past(JournalStorage(JournalFileBackend(str(path))), n_trials=4)
    sampler = MetaLLMiXSampler(source_storage=path, llm=False)
    if damage == "cut":
        path.write_text(path.read_text().replace("{", "", 1))
    else:
        path.unlink()
    study = run(sampler)
    check_step_down(study, logs, "base-sampler", str(path))


class BrokenStorage(InMemoryStorage):
    """Raises when it is read, once it is broken."""

    broken = ""

    def get_all_studies(self) -> Any:
        if self.broken == "studies":
            raise OSError("the disk is gone")
        return super().get_all_studies()

    def get_all_trials(self, *args: Any, **options: Any) -> Any:
        if self.broken == "trials":
            raise OSError("the disk is gone")
        return super().get_all_trials(*args, **options)


@pytest.mark.parametrize("broken", ["studies", "trials"])
def test_storage_that_raises(logs, broken):
    storage = BrokenStorage()
    fill_past(storage)
    storage.broken = broken
    study = run(MetaLLMiXSampler(source_storage=storage, llm=False))
    check_step_down(study, logs, "base-sampler", "the disk is gone")


def test_storage_that_raises_when_study_names_are_checked():
    storage = BrokenStorage()
    storage.broken = "studies"
    with pytest.raises(HistoryError, match="the disk is gone"):
        MetaLLMiXSampler(source_storage=storage, source_study_names=["a"])


def test_no_dashboard(past, logs, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    study = run(MetaLLMiXSampler(llm=False), past)
    first = study.trials[0]
    (warning,) = logs.warnings
    assert "pip install optuna-dashboard plotly" in warning
    assert "pip install optuna-dashboard plotly" in first.user_attrs["metallmix:note"]
    assert first.user_attrs["metallmix:source"] == "meta-learner"


def test_broken_dashboard(past, logs, monkeypatch):
    dashboard = pytest.importorskip("optuna_dashboard")

    def broken(*_: Any) -> None:
        raise AttributeError("another version")

    monkeypatch.setattr(dashboard, "save_note", broken)
    study = run(MetaLLMiXSampler(llm=False), past)
    (warning,) = logs.warnings
    assert "another version" in warning
    assert "another version" in study.trials[0].user_attrs["metallmix:note"]


STEPS = [
    "pipeline.fit_meta_learner",
    "pipeline.propose_candidates",
    "pipeline.explain",
    "judge.dialogue.suggestion_messages",
    "judge.dialogue.judge_proposal",
]


@pytest.mark.parametrize("step", STEPS)
def test_a_bug_is_not_swallowed(past, monkeypatch, step):
    def bug(*_: Any, **__: Any) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(f"optuna_metallmix.{step}", bug)
    study = new_study(MetaLLMiXSampler(llm=ScriptedLLM([choose()] * 2), judge=False, seed=0), past)
    with pytest.raises(KeyError, match="a bug"):
        study.optimize(objective, n_trials=2)
    study.optimize(objective, n_trials=2)  # it is raised once, and the study goes on
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, *[TrialState.COMPLETE] * 2]


def test_ctrl_c_while_the_model_is_asked_leaves_the_suggestion_to_the_next_trial(past):
    llm = ScriptedLLM([KeyboardInterruptAsAnswer(), choose(), choose()])
    study = new_study(MetaLLMiXSampler(llm=llm, seed=0), past)
    with pytest.raises(KeyboardInterrupt):
        study.optimize(objective, n_trials=2)
    study.optimize(objective, n_trials=2)
    assert [trial.number for trial in suggested(study)] == [1]
    assert study.trials[1].user_attrs["metallmix:source"] == "llm"


class KeyboardInterruptAsAnswer:
    def __call__(self, *_: Any) -> str:
        raise KeyboardInterrupt


def test_ctrl_c_in_the_training_keeps_the_suggestion_with_its_trial(past):
    def interrupted(trial: optuna.Trial) -> float:
        objective(trial)
        raise KeyboardInterrupt

    study = new_study(MetaLLMiXSampler(llm=False), past)
    with pytest.raises(KeyboardInterrupt):
        study.optimize(interrupted, n_trials=1)
    study.optimize(objective, n_trials=1)
    assert [trial.number for trial in suggested(study)] == [0]


def test_several_objectives_get_no_suggestion(logs):
    sampler = MetaLLMiXSampler(llm=False, source_storage=memory_past())
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    study.optimize(lambda trial: (objective(trial), 0.0), n_trials=N_TRIALS)
    check_step_down(study, logs, "base-sampler", "several objectives")


@pytest.fixture
def no_study_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(InMemoryStorage, "set_study_system_attr", refuse)


@pytest.mark.usefixtures("no_study_attributes")
def test_a_storage_that_refuses_study_attributes(past, logs):
    def narrow(trial: optuna.Trial) -> float:
        return float(trial.suggest_int("depth", 20, 40))

    llm = ScriptedLLM([choose()] * 2)
    study = new_study(MetaLLMiXSampler(llm=llm, judge=False, seed=0), past)
    study.optimize(narrow, n_trials=N_TRIALS)
    (warning,) = logs.warnings
    assert "PermissionError (read-only)" in warning
    assert suggested(study) == [study.trials[0]]
    assert study.trials[0].user_attrs["metallmix:note"] == warning
    assert len(llm.calls) == 1


@pytest.mark.usefixtures("no_study_attributes")
def test_a_storage_that_refuses_study_attributes_without_a_past(logs):
    study = run(MetaLLMiXSampler(llm=False))
    check_step_down(study, logs, "base-sampler", "PermissionError (read-only)")


@pytest.mark.usefixtures("no_study_attributes")
def test_a_storage_that_refuses_study_attributes_and_several_objectives(logs):
    sampler = MetaLLMiXSampler(llm=False, source_storage=memory_past())
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    study.optimize(lambda trial: (objective(trial), 0.0), n_trials=N_TRIALS)
    check_step_down(study, logs, "base-sampler", "PermissionError (read-only)")


@pytest.mark.usefixtures("no_study_attributes")
def test_a_new_study_of_the_same_name_gets_its_own_suggestion(past):
    sampler = MetaLLMiXSampler(llm=False, seed=0)
    for _ in range(2):
        study = run(sampler, past)
        assert suggested(study) == [study.trials[0]]
        optuna.delete_study(study_name="new", storage=past)


def test_every_record_is_json(past, tmp_path: Path):
    study = run(MetaLLMiXSampler(llm=ScriptedLLM([choose()] * 2), seed=0), past)
    record = read_record(study.trials[0])
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize("names", [None, ["gone"]])
def test_a_missing_past_is_logged_once(logs, monkeypatch, names):
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")  # nothing answers
    storage = InMemoryStorage()
    study = run(MetaLLMiXSampler(source_study_names=names), storage)
    (warning,) = logs.warnings
    assert "There are no past studies to learn from." in warning or names
    assert not [line for line in logs.infos if "ast studies" in line]
    assert study.trials[1].user_attrs["metallmix:source"] == "base-sampler"


def test_a_reason_that_is_new_at_a_later_trial_is_logged(logs, monkeypatch):
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
    study = new_study(MetaLLMiXSampler(llm="ollama:absent"))
    study.optimize(objective, n_trials=N_TRIALS)
    first, second = logs.warnings
    assert "There are no past studies to learn from." in first
    assert "no past studies" not in second
    assert "trial 1: no suggestion" in second
    assert "127.0.0.1:9" in second

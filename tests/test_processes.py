"""Many processes on one storage get one suggestion, also after one of them is killed."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from end_to_end import fill_past
from end_to_end import new_study
from end_to_end import objective
from end_to_end import suggested
from optuna.trial import TrialState
from storage_processes import FORKSERVER
from storage_processes import exit_codes
from storage_processes import start_process
from worker import CountedLLM
from worker import die_while_asking
from worker import die_while_training
from worker import open_storage
from worker import work

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import trial_claim


pytestmark = pytest.mark.slow
N_PROCESSES = 8
PLACES = ["hpo.db", "hpo.jsonl"]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def prepare(place: str, n_trials: int = 6) -> optuna.Study:
    storage = open_storage(place)
    fill_past(storage, n_trials=n_trials)
    return new_study(optuna.samplers.RandomSampler(), storage)


@pytest.mark.parametrize("name", PLACES)
def test_processes_started_together(tmp_path, name):
    place, calls = str(tmp_path / name), tmp_path / "calls"
    study = prepare(place)
    barrier = FORKSERVER.Barrier(N_PROCESSES)
    processes = [start_process(work, place, str(calls), barrier, 3) for _ in range(N_PROCESSES)]
    assert exit_codes(processes) == [0] * N_PROCESSES
    trials = study.trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3 * N_PROCESSES
    assert len(lines(calls)) == 1
    assert len(suggested(study)) == 1
    assert [trial.user_attrs.get("metallmix:source") for trial in trials].count("llm") == 1


@pytest.mark.parametrize("name", PLACES)
def test_killed_while_the_model_is_asked(tmp_path, name, monkeypatch):
    """The trial stays RUNNING. Once its claim has expired, the next trial is suggested."""
    place, calls = str(tmp_path / name), tmp_path / "calls"
    study = prepare(place)
    assert exit_codes([start_process(die_while_asking, place, str(calls))]) == [-signal.SIGKILL]
    study.sampler = MetaLLMiXSampler(llm=CountedLLM(calls), judge=False, seed=0)
    study.optimize(objective, n_trials=2)
    assert suggested(study) == []
    assert len(lines(calls)) == 1
    first, second = study.trials[1:]
    assert "Trial 0 had claimed the suggestion" in first.user_attrs["metallmix:reason"]
    assert "metallmix:reason" not in second.user_attrs  # once is enough
    later = time.monotonic() + trial_claim.LEASE
    monkeypatch.setattr(trial_claim, "time", SimpleNamespace(monotonic=lambda: later))
    study.optimize(objective, n_trials=2)
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.RUNNING, *[TrialState.COMPLETE] * 4]
    assert [trial.number for trial in suggested(study)] == [3]
    assert len(lines(calls)) == 2


def test_killed_and_then_marked_as_failed(tmp_path):
    """A heartbeat marks it as failed: the next trial does not wait for the claim to expire."""
    place, calls = str(tmp_path / "hpo.jsonl"), tmp_path / "calls"
    study = prepare(place)
    exit_codes([start_process(die_while_asking, place, str(calls))])
    study.tell(0, state=TrialState.FAIL)
    study.sampler = MetaLLMiXSampler(llm=CountedLLM(calls), judge=False, seed=0)
    study.optimize(objective, n_trials=2)
    assert [trial.number for trial in suggested(study)] == [1]


def test_killed_while_training(tmp_path):
    """The suggestion was tried: it stays with the killed trial, and the next trial says so."""
    place, calls = str(tmp_path / "hpo.jsonl"), tmp_path / "calls"
    study = prepare(place)
    assert exit_codes([start_process(die_while_training, place, str(calls))]) == [-signal.SIGKILL]
    study.sampler = MetaLLMiXSampler(llm=CountedLLM(calls), judge=False, seed=0)
    study.optimize(objective, n_trials=2)
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.RUNNING, *[TrialState.COMPLETE] * 2]
    assert [trial.number for trial in suggested(study)] == [0]
    assert len(lines(calls)) == 1
    assert "enqueue_trial" in study.trials[1].user_attrs["metallmix:reason"]
    assert "metallmix:reason" not in study.trials[2].user_attrs  # once is enough

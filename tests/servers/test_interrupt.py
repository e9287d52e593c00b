"""Ctrl-C leaves behind what it leaves with Optuna's own sampler, and no more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from end_to_end import fill_past
from end_to_end import new_study
from end_to_end import objective
from end_to_end import suggested
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from storage_processes import CountedLLM

from optuna_metallmix import MetaLLMiXSampler


pytestmark = [pytest.mark.servers, pytest.mark.slow]
TESTS = Path(__file__).resolve().parents[1]
SCRIPT = "import sys, interrupted_process; interrupted_process.main(*sys.argv[1:])"


def interrupt(folder: Path, kind: str, n_jobs: int) -> tuple[optuna.Study, int, list[str]]:
    """Interrupt a process; return its study, its exit code and the threads that it left."""
    url = f"sqlite:///{folder}/{kind}-{n_jobs}.db"
    fill_past(url)
    study = new_study(RandomSampler(), url)
    paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-c", SCRIPT, url, kind, str(n_jobs), str(folder / "calls")]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert "KeyboardInterrupt" in done.stderr
    return study, done.returncode, json.loads(done.stdout)


def check_restart(study: optuna.Study, calls: Path) -> None:
    """Check that the study has one suggestion that was evaluated, perhaps after a restart."""
    study.sampler = MetaLLMiXSampler(llm=CountedLLM(calls), judge=False, seed=0)
    study.optimize(objective, n_trials=3)
    (trial,) = [t for t in suggested(study) if t.state is TrialState.COMPLETE]
    assert trial.user_attrs["metallmix:source"] == "llm"


@pytest.mark.parametrize("kind", ["meta-learner", "answering", "interrupted while asked"])
def test_four_threads(tmp_path: Path, kind: str) -> None:
    tpe, tpe_code, tpe_threads = interrupt(tmp_path, "tpe", 4)
    assert {trial.state for trial in tpe.trials} == {TrialState.COMPLETE}
    assert tpe_code == -signal.SIGINT
    study, code, threads = interrupt(tmp_path, kind, 4)
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
    assert (code, threads) == (tpe_code, tpe_threads) == (-signal.SIGINT, [])
    assert len(suggested(study)) == 1


def test_while_the_model_is_asked(tmp_path: Path) -> None:
    """The process ends although the model never answers; its trial has failed, as with TPE."""
    study, code, threads = interrupt(tmp_path, "never answering", 1)
    assert code == -signal.SIGINT
    assert [thread for thread in threads if "renewal" in thread] == []
    assert [trial.state for trial in study.trials] == [TrialState.FAIL]
    check_restart(study, tmp_path / "calls")

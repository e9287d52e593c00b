"""Run the examples of a first study, whose past comes with the package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import optuna
import pytest


EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("example", "package", "study", "library"),
    [
        ("no_past_lightgbm", "lightgbm", "wine", "lightgbm"),
        ("no_past_sklearn", "sklearn", "digits", "svm"),
    ],
)
def test_first_trial_is_from_the_shipped_past(
    tmp_path: Path, example: str, package: str, study: str, library: str
) -> None:
    pytest.importorskip(package)
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{example}.py")],
        cwd=tmp_path,
        env={**os.environ, "OPTUNA_METALLMIX_MODEL": "none", "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    storage = f"sqlite:///{tmp_path / 'hpo.db'}"
    trials = optuna.load_study(study_name=study, storage=storage).trials
    assert len(trials) == 10
    assert trials[0].user_attrs["metallmix:source"] == "meta-learner"
    assert f"'{library}/" in trials[0].user_attrs["metallmix:why"]
    default, first, best = map(float, re.findall(r"(?:default|first|best) ([\d.]+)", done.stdout))
    assert first == pytest.approx(trials[0].value, abs=5e-4)
    # A constant prediction has a log loss of 1.09, and an accuracy of 0.1.
    assert min(default, first, best) > 0.5 if study == "digits" else max(default, first) < 0.5

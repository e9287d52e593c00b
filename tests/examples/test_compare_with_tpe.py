from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parents[2]

pytest.importorskip("sklearn", reason="the example tunes scikit-learn's classifier")
pytest.importorskip("plotly", reason="the example draws a figure")


@pytest.mark.slow
def test_both_samplers_run_and_what_is_saved_is_said(tmp_path: Path) -> None:
    words = ["--n-trials", "2", "--n-seeds", "2", "--llm", "none"]
    command = [sys.executable, str(ROOT / "examples" / "compare_with_tpe.py"), *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "| trials | metallmix | tpe |" in done.stdout
    assert "\nmetallmix reached the best value of tpe" in done.stdout.replace(
        "did not reach", "reached"
    )
    assert "compare-studies?ids=4,6,5,7" in done.stdout
    assert "Plotly.newPlot" in (tmp_path / "compare.html").read_text(encoding="utf-8")

"""Check the command `import`, from a CSV file to a suggestion."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest

from optuna_metallmix.cli import main


CSV = """\
run_id,status,start_time,end_time,metrics.accuracy,params.lr,params.opt
a,FINISHED,2026-03-01 12:00:00+00:00,2026-03-01 12:01:00+00:00,0.5,0.1,sgd
b,FINISHED,2026-03-01 12:01:00+00:00,2026-03-01 12:02:00+00:00,0.9,0.001,adam
c,FINISHED,2026-03-01 12:02:00+00:00,2026-03-01 12:03:00+00:00,0.7,0.01,adam
d,FAILED,2026-03-01 12:03:00+00:00,2026-03-01 12:04:00+00:00,,1.0,sgd
e,RUNNING,2026-03-01 12:04:00+00:00,,,0.002,adam
f,FINISHED,2026-03-01 12:05:00+00:00,2026-03-01 12:06:00+00:00,0.8,0.0005,adam
g,FINISHED,2026-03-01 12:06:00+00:00,2026-03-01 12:07:00+00:00,0.6,0.0001,sgd
h,FINISHED,2026-03-01 12:07:00+00:00,2026-03-01 12:08:00+00:00,0.85,0.002,adam
i,FINISHED,2026-03-01 12:08:00+00:00,2026-03-01 12:09:00+00:00,0.65,0.02,sgd
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "runs.csv"
    path.write_text(CSV)
    return str(path)


def test_dry_run(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = tmp_path / "past.db"
    words = ["import", file, "--direction", "maximize", "--storage", str(storage), "--dry-run"]
    assert main(words) == 0
    output = capsys.readouterr().out
    assert "parameter  lr (params.lr): number from 0.0001 to 1, log scale" in output
    assert "8 of 9 runs: 7 complete, 1 failed, 1 left out (not finished)." in output
    assert output.endswith("Nothing was written (--dry-run).\n")
    assert not storage.exists()


def test_from_a_file_to_a_suggestion(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = f"sqlite:///{tmp_path / 'past.db'}"
    words = [
        *("import", file, "--direction", "maximize", "--storage", storage, "--name", "mlflow"),
        *("--value", "metrics.accuracy", "--params", "params.lr,params.opt"),
        *("--alias", "opt=optimizer", "--meta-feature", "n=10", "--meta-feature", "kind=CT"),
    ]
    assert main(words) == 0
    assert f"Created study 'mlflow' in {storage}." in capsys.readouterr().out
    study = optuna.load_study(study_name="mlflow", storage=storage)
    assert study.user_attrs == {"n": 10, "kind": "CT"}
    assert study.best_params == {"lr": 0.001, "optimizer": "adam"}
    assert main(["suggest", "--storage", storage, "--study", "new", "--llm", "none"]) == 0
    assert "optimizer" in json.dumps(json.loads(capsys.readouterr().out))
    assert main(words) == 1
    assert "has a study 'mlflow' already" in capsys.readouterr().err


def test_study_is_named_as_the_file(file: str, tmp_path: Path) -> None:
    storage = str(tmp_path / "past.jsonl")
    assert main(["import", file, "--direction", "maximize", "--storage", storage]) == 0
    assert main(["suggest", "--storage", storage, "--study", "new", "--llm", "none"]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Pass --storage to create the study, or --dry-run to try."),
        (["--dry-run", "--value", "accuracy"], "Did you mean 'metrics.accuracy'?"),
        (["--dry-run", "--params", "param."], "(did you mean 'params.'?)"),
        (["--dry-run", "--params", "hp_"], "Common prefixes: 'params.'. The columns:"),
        (["--dry-run", "--params", "lr,deph"], "'lr' (did you mean 'params.lr'?), 'deph'"),
        (["--dry-run", "--alias", "lrs=x"], "Did you mean 'lr'?"),
        (["--storage", "past.csv"], "must be a URL"),
        (["--storage", "foo://past"], "The storage cannot be opened"),
    ],
)
def test_what_to_do(
    file: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", file, "--direction", "maximize", *words]) == 1
    assert message in capsys.readouterr().err


def test_file_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "no.csv", "--direction", "maximize", "--dry-run"]) == 1
    message = "no.csv cannot be read (No such file or directory). Pass a CSV file with a header"
    assert message in capsys.readouterr().err


def test_finished_runs_without_a_value(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(file).write_text(CSV.replace(",0.85,", ",,"))
    words = ["import", file, "--direction", "maximize", "--dry-run"]
    assert main(words) == 0
    assert "2 failed (1 finished without metrics.accuracy)" in capsys.readouterr().out
    assert main([*words, "--skip-without-value"]) == 0
    assert "1 failed, 1 left out (not finished), 1 left out (without m" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", [[], ["--direction", "up"], ["--direction", "maximize", "--alias", "x"]]
)
def test_wrong_usage(file: str, words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["import", file, *words])
    assert caught.value.code == 2

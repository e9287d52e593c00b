"""Check the program as a user starts it, in a separate process."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import optuna_metallmix
from optuna_metallmix.cli import main


ROOT = Path(__file__).resolve().parents[2]


def run_program(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "optuna_metallmix", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_version() -> None:
    done = run_program("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"optuna-metallmix {optuna_metallmix.__version__}\n"


def test_script_is_the_same_function() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, name = project["scripts"]["optuna-metallmix"].split(":")
    assert getattr(importlib.import_module(module), name) is main
    assert project["version"] == optuna_metallmix.__version__


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "required: COMMAND"),
        (["nurse"], "invalid choice: 'nurse'"),
        (["doctor", "--llm", "gpt"], "llm='gpt' names no language model"),
        (["doctor", "--llm", "openai:gpt-5"], "is not the address of an OpenAI-compatible server"),
        (["doctor", "--storage"], "expected one argument"),
        (["explain"], "the following arguments are required: --storage, --study"),
        (["suggest", "--storage", "x", "--study", "y", "--seed", "-1"], "must be an integer"),
        (["suggest", "--storage", "x", "--study", "y", "--llm", "gpt"], "names no language model"),
        (["doctor", "hpo.db"], "unrecognized arguments: hpo.db"),
    ],
)
def test_wrong_usage(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    output = capsys.readouterr().out
    assert all(
        command in output
        for command in ("doctor", "explain", "suggest", "compare", "compare-models", "import")
    )

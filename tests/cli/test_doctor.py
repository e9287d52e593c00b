"""What the doctor says of a machine and its studies, and that it leaves both as they were.

What it says of models stands in ``llm/test_doctor_model.py``.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend

from optuna_metallmix.cli import doctor as doctor_module
from optuna_metallmix.cli import main
from optuna_metallmix.cli.doctor import Finding
from optuna_metallmix.cli.doctor import look


ROOT = Path(__file__).resolve().parents[2]
AddStudy = Callable[..., optuna.Study]


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    monkeypatch.delenv("OPTUNA_METALLMIX_MODEL", raising=False)


def doctor(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "optuna_metallmix", "doctor", "--llm", "none", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def contents(folder: Path) -> dict[str, str]:
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in folder.iterdir()}


def fill(source: str, add_study: AddStudy) -> None:
    is_journal = source.endswith(".jsonl")
    storage = JournalStorage(JournalFileBackend(source)) if is_journal else get_storage(source)
    add_study(storage, "skin", n_trials=5)
    add_study(storage, "chest", n_trials=4)
    add_study(storage, "begun", n_trials=1)
    optuna.create_study(storage=storage, study_name="two", directions=["minimize", "maximize"])


@pytest.mark.parametrize("kind", ["sqlite url", "sqlite path", "journal"])
def test_past_studies_are_told_and_left_as_they_were(
    tmp_path: Path, add_study: AddStudy, kind: str
) -> None:
    path = tmp_path / ("past.jsonl" if kind == "journal" else "hpo.db")
    fill(str(path) if kind == "journal" else f"sqlite:///{path}", add_study)
    before = contents(tmp_path)
    done = doctor("--storage", f"sqlite:///{path}" if kind == "sqlite url" else str(path))
    lines = done.stdout.splitlines()
    summary = "2 of 4 studies can be learned from, 9 configurations: 'skin', 'chest'"
    assert f"ok       past: {summary}" in lines
    left_out = [line for line in lines if line.startswith("warning  past: study")]
    assert "'begun' is left out: it has only one complete trial" in left_out[0]
    assert "'two' is left out: it has 2 objectives" in left_out[1]
    assert lines[-1] == "no problem, 3 warnings."  # the third: no Ollama
    assert (done.returncode, done.stderr) == (0, "")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["hpo.db", "sqlite:///hpo.db", "past.jsonl"])
def test_missing_file_is_a_problem_and_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = doctor("--storage", name)
    assert "problem  past: source_storage: there is no file" in done.stdout
    assert (done.returncode, done.stderr) == (1, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"SQLite format 3\x00 broken" * 99, b"lr,acc\n", b"{no\n"])
def test_corrupt_file_is_a_problem_and_stays_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hpo.db"
    path.write_bytes(content * 2)
    done = doctor("--storage", str(path))
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("problem"))
    assert "past: source_storage" in line
    assert "hpo.db" in line
    assert (done.returncode, done.stderr) == (1, "")
    assert path.read_bytes() == content * 2


def test_storage_without_a_study_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    get_storage(f"sqlite:///{tmp_path / 'hpo.db'}")
    assert main(["doctor", "--llm", "none", "--storage", str(tmp_path / "hpo.db")]) == 0
    assert "warning  past: none of 0 studies can be learned from" in capsys.readouterr().out


def test_hundreds_of_unfit_studies_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "past.jsonl")))
    for number in range(25):
        optuna.create_study(storage=storage, study_name=f"unfit {number}")
    main(["doctor", "--llm", "none", "--storage", str(tmp_path / "past.jsonl")])
    told = capsys.readouterr().out
    assert told.count("is left out: it has no complete trial") == 20
    assert "warning  past: 5 more studies are left out" in told


def test_no_ollama_is_a_warning_and_no_model_is_as_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor", "--llm", "none"]) == 0
    told = capsys.readouterr().out
    assert "warning  Ollama: No Ollama server answers at http://127.0.0.1:1: start it" in told
    assert "ok       model: none, as you say" in told
    assert told.endswith("no problem, 1 warning.\n")
    assert "\033" not in told


def found(name: str) -> Finding:
    (finding,) = (one for one in doctor.check_packages() if one.subject == name)
    return finding


def test_whole_packages() -> None:
    assert found("optuna") == Finding("ok", "optuna", metadata.version("optuna"))


def pretend(monkeypatch: pytest.MonkeyPatch, name: str, version: object) -> None:
    real = metadata.version

    def read(asked: str) -> object:
        if asked != name:
            return real(asked)
        if isinstance(version, Exception):
            raise version
        return version

    monkeypatch.setattr(metadata, "version", read)


@pytest.mark.parametrize(
    ("name", "version", "level", "text"),
    [
        ("catboost", None, "problem", "broken, it has no version: run `pip install --force"),
        ("catboost", KeyError("Version"), "problem", "broken, it has no version"),
        ("catboost", "unknown", "problem", "broken, it has no version"),
        ("catboost", "0.1", "problem", "0.1 is not >=1.2.7: run `pip install --upgrade"),
        ("shap", "0.1", "warning", '0.1 is not >=0.46: run `pip install --upgrade "shap>=0.46"`.'),
    ],
)
def test_broken_or_old_package(
    monkeypatch: pytest.MonkeyPatch, name: str, version: object, level: str, text: str
) -> None:
    if isinstance(version, str) and name not in doctor_module._wanted():
        pytest.skip("not installed as a package")
    pytest.importorskip(name)
    pretend(monkeypatch, name, version)
    assert (found(name).level, found(name).text.startswith(text)) == (level, True)


@pytest.mark.parametrize(
    ("name", "level", "text"),
    [
        ("catboost", "problem", "not installed: run `pip install catboost`."),
        ("shap", "ok", 'not installed; `pip install "optuna-metallmix[shap]"` gives the plots'),
        ("xllamacpp", "ok", "not installed; `pip install xllamacpp && pip install --no-deps"),
    ],
)
def test_absent_package(monkeypatch: pytest.MonkeyPatch, name: str, level: str, text: str) -> None:
    pretend(monkeypatch, name, metadata.PackageNotFoundError(name))
    monkeypatch.setattr(doctor_module, "find_spec", lambda module: None)
    assert (found(name).level, found(name).text.startswith(text)) == (level, True)


def test_package_without_its_files(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor_module, "find_spec", lambda module: None)
    assert main(["doctor", "--llm", "none"]) == 1
    assert "problem  optuna: broken, it has no module: run" in capsys.readouterr().out


SMI = """#!/bin/sh
{}
"""


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for nvidia-smi")
@pytest.mark.parametrize(
    ("script", "level", "text"),
    [
        (
            'echo "NVIDIA H100 80GB HBM3, 81559 MiB, 81008 MiB"',
            "ok",
            "NVIDIA H100 80GB HBM3, 81559 MiB, 81008 MiB of it free",
        ),
        (
            'echo "Driver/library version mismatch"; exit 18',
            "warning",
            "`nvidia-smi` failed (Driver/library version mismatch). Mend the driver",
        ),
        ("exit 9", "warning", "`nvidia-smi` failed (status 9). Mend"),
    ],
)
def test_accelerator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, level: str, text: str
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(SMI.format(script))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    pretend(monkeypatch, "torch", "2.13.0+cpu")
    first, *more = doctor.check_accelerator()
    assert (first.level, first.text.startswith(text)) == (level, True)
    told = [one.text.partition(" will not")[0] for one in more]
    assert told == (["torch 2.13.0+cpu is built for CPUs and"] if level == "ok" else [])


def test_a_broken_part_is_a_line_and_a_bug_is_not() -> None:
    def check(error: Exception) -> list[Finding]:
        raise error

    (finding,) = look("disk", lambda: check(OSError("full")))
    assert finding == Finding("problem", "disk", "full")
    with pytest.raises(ZeroDivisionError):
        list(look("disk", lambda: check(ZeroDivisionError())))


def test_colour_is_for_terminals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(
        doctor_module, "examine", lambda *asked: [Finding("problem", "disk", "full")]
    )
    assert main(["doctor"]) == 1
    assert capsys.readouterr().out.startswith("\033[31mproblem \033[0m disk: full\n1 problem, no")
    monkeypatch.setenv("NO_COLOR", "1")
    main(["doctor"])
    assert capsys.readouterr().out.startswith("problem  disk: full\n")

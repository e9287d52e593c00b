"""Check the doctor's report on the installation, the GPU and past studies.

Its report on language models is checked in ``test_doctor_models.py``.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend

from optuna_metallmix.cli import main
from optuna_metallmix.history import study_reader


ROOT = Path(__file__).resolve().parents[2]
AddStudy = Callable[..., optuna.Study]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")
    monkeypatch.delenv("OPTUNA_METALLMIX_MODEL", raising=False)


def run_process(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "optuna_metallmix", "doctor", "--llm", "none", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def run_doctor(capsys: Capture, *words: str) -> tuple[int, str]:
    """Return the exit code and the output."""
    return main(["doctor", "--llm", "none", *words]), capsys.readouterr().out


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def fill(source: str, add_study: AddStudy) -> None:
    is_journal = source.endswith(".jsonl")
    storage = JournalStorage(JournalFileBackend(source)) if is_journal else get_storage(source)
    add_study(storage, "skin", n_trials=5)
    add_study(storage, "chest", n_trials=4)
    add_study(storage, "begun", n_trials=1)
    optuna.create_study(storage=storage, study_name="two", directions=["minimize", "maximize"])


@pytest.mark.parametrize("kind", ["sqlite url", "sqlite path", "journal"])
def test_past_studies_are_listed_and_unchanged(
    tmp_path: Path, add_study: AddStudy, kind: str
) -> None:
    path = tmp_path / ("past.jsonl" if kind == "journal" else "hpo.db")
    fill(str(path) if kind == "journal" else f"sqlite:///{path}", add_study)
    before = contents(tmp_path)
    done = run_process("--storage", f"sqlite:///{path}" if kind == "sqlite url" else str(path))
    lines = done.stdout.splitlines()
    assert "ok       past: 2 of 4 studies are usable, with 9 trials: 'skin', 'chest'" in lines
    left_out = [line for line in lines if line.startswith("warning  past: study")]
    assert "'begun' is left out: " in left_out[0]
    assert "'two' is left out: " in left_out[1]
    assert lines[-1] == "problems: 0, warnings: 3"  # the third: no Ollama
    assert (done.returncode, done.stderr) == (0, "")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["hpo.db", "sqlite:///hpo.db", "past.jsonl"])
def test_missing_file_is_a_problem_and_is_not_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, output = run_doctor(capsys, "--storage", name)
    assert "problem  past: --storage: " in output
    assert code == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"SQLite format 3\x00 broken" * 99, b"lr,acc\n", b"{no\n"])
def test_corrupt_file_is_a_problem_and_unchanged(
    tmp_path: Path, capsys: Capture, content: bytes
) -> None:
    path = tmp_path / "hpo.db"
    path.write_bytes(content * 2)
    code, output = run_doctor(capsys, "--storage", str(path))
    (line,) = (line for line in output.splitlines() if line.startswith("problem "))
    assert "past: --storage: " in line
    assert "hpo.db" in line
    assert code == 1
    assert path.read_bytes() == content * 2


def test_storage_without_a_study_is_a_warning(tmp_path: Path, capsys: Capture) -> None:
    get_storage(f"sqlite:///{tmp_path / 'hpo.db'}")
    code, output = run_doctor(capsys, "--storage", str(tmp_path / "hpo.db"))
    assert "warning  past: 0 of 0 studies are usable: finish a study" in output
    assert code == 0


def test_unusable_studies_are_counted(tmp_path: Path, capsys: Capture) -> None:
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "past.jsonl")))
    for number in range(25):
        optuna.create_study(storage=storage, study_name=f"unfit {number}")
    _, output = run_doctor(capsys, "--storage", str(tmp_path / "past.jsonl"))
    assert output.count("is left out: it has no complete trial") == 20
    assert "warning  past: 5 more studies are left out." in output


def test_studies_beyond_the_bounds_are_counted(
    tmp_path: Path, capsys: Capture, add_study: AddStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_reader, "MAX_STUDIES", 2)
    url = f"sqlite:///{tmp_path / 'past.db'}"
    for name in ("skin", "chest", "retina"):
        add_study(get_storage(url), name, n_trials=4)
    _, output = run_doctor(capsys, "--storage", url)
    assert "1 study is not used, as at most 2 past studies" in output
    assert "2 of 2 studies are usable, with 8 trials: 'chest', 'retina'" in output


def test_no_ollama_is_a_warning_and_no_model_is_as_requested(capsys: Capture) -> None:
    code, output = run_doctor(capsys)
    assert "warning  Ollama: No Ollama server answers at http://127.0.0.1:1" in output
    assert "ok       model: none, as requested" in output
    assert output.endswith("problems: 0, warnings: 1\n")
    assert code == 0


def test_installed_packages_are_listed(capsys: Capture) -> None:
    _, output = run_doctor(capsys)
    (line,) = (line for line in output.splitlines() if line.startswith("ok       packages: "))
    assert f"optuna-metallmix {metadata.version('optuna-metallmix')}, " in line
    assert f"optuna {metadata.version('optuna')}, " in line


def fake_version(monkeypatch: pytest.MonkeyPatch, name: str, version: object) -> None:
    original = metadata.version

    def read(asked: str) -> object:
        if asked != name:
            return original(asked)
        if isinstance(version, Exception):
            raise version
        return version

    monkeypatch.setattr(metadata, "version", read)


@pytest.mark.parametrize(
    ("name", "version", "line"),
    [
        (
            "catboost",
            metadata.PackageNotFoundError("catboost"),
            "problem  catboost: >=1.2.7 is needed, none is installed: "
            'run `pip install "catboost>=1.2.7"`.',
        ),
        ("catboost", KeyError("Version"), "problem  catboost: >=1.2.7 is needed, none"),
        ("catboost", None, "problem  catboost: >=1.2.7 is needed, none"),
        ("catboost", "unknown", "problem  catboost: >=1.2.7 is needed, none"),
        ("catboost", "0.1", "problem  catboost: >=1.2.7 is needed, 0.1 is installed: run"),
        ("shap", "0.1", "warning  shap: >=0.46 is needed, 0.1 is installed (extra 'shap', opt"),
    ],
)
def test_missing_or_old_package(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, name: str, version: object, line: str
) -> None:
    fake_version(monkeypatch, name, version)
    code, output = run_doctor(capsys)
    assert line in output
    assert code == line.startswith("problem")


def test_missing_optional_packages_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    original = metadata.version

    def read(asked: str) -> str:
        if asked in ("shap", "timm"):
            raise metadata.PackageNotFoundError(asked)
        return original(asked)

    monkeypatch.setattr(metadata, "version", read)
    code, output = run_doctor(capsys)
    (line,) = (line for line in output.splitlines() if "optional, not installed: " in line)
    assert line.startswith("ok       optional, not installed: ")
    assert line.endswith(" (see docs/install.md)")
    assert line.count("shap") == line.count("timm") == 1
    assert "none is installed" not in output
    assert code == 0


def test_the_past_comes_first(tmp_path: Path, add_study: AddStudy, capsys: Capture) -> None:
    fill(f"sqlite:///{tmp_path / 'hpo.db'}", add_study)
    _, output = run_doctor(capsys, "--storage", str(tmp_path / "hpo.db"))
    assert output.startswith("ok       past: 2 of 4 studies are usable")


def test_no_ollama_is_said_once(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("optuna_metallmix.llm.auto")
    monkeypatch.setattr(module, "is_embedded_installed", lambda: False)
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out
    assert output.count("No Ollama server answers at") == 1
    assert "ok       model: none; the meta-learner suggests alone. " in output


def test_source_tree_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    code, output = run_doctor(capsys)
    assert "warning  optuna-metallmix: not installed, so its requirements are not" in output
    assert code == 0


def test_markers_of_requirements_name_only_an_extra() -> None:
    """The doctor reads an extra's name from the requirement's marker."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    assert not any(";" in line for lines in [project["dependencies"], *extras] for line in lines)


SMI = """#!/bin/sh
{}
"""


@pytest.mark.skipif(os.name == "nt", reason="a shell script replaces nvidia-smi")
@pytest.mark.parametrize(
    ("script", "line"),
    [
        (
            'echo "NVIDIA H100 80GB HBM3, 81559 MiB, 81008 MiB"',
            "ok       GPU: NVIDIA H100 80GB HBM3, 81559 MiB, 81008 MiB free",
        ),
        (
            'echo "Driver/library version mismatch"; exit 18',
            "warning  GPU: `nvidia-smi` failed (Driver/library version mismatch): check the",
        ),
        ("exit 9", "exit status 9.): check the driver."),
    ],
)
def test_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, script: str, line: str
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(SMI.format(script))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    fake_version(monkeypatch, "torch", "2.13.0+cpu")
    code, output = run_doctor(capsys)
    assert line in output
    is_found = line.startswith("ok")
    assert ("warning  GPU: torch 2.13.0+cpu cannot use the GPU" in output) == is_found
    assert code == 0


def test_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    _, output = run_doctor(capsys)
    assert "ok       GPU: `nvidia-smi` is not installed" in output


def test_expected_error_is_a_problem_and_a_bug_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    module = importlib.import_module("optuna_metallmix.cli.doctor")

    def fail_with(error: Exception) -> None:
        def fail() -> bool:
            raise error

        monkeypatch.setattr(module, "is_embedded_installed", fail)

    fail_with(OSError("disk full"))
    code, output = run_doctor(capsys)
    assert "problem  embedded model: disk full" in output
    assert "ok       past: not checked" in output  # the later checks still run
    assert code == 1
    fail_with(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        run_doctor(capsys)

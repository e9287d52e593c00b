"""`run.py` installs with pip, and shows how that goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib.util import module_from_spec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest


RUN = Path(__file__).resolve().parent.parent / "run.py"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, with an environment of its own that runs this Python."""
    spec = spec_from_file_location("run", RUN)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ENVIRONMENT", tmp_path)
    monkeypatch.setattr(module, "python", lambda: Path(sys.executable))
    return module


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "tiny_thing-1.0-py3-none-any.whl"
    info = "tiny_thing-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("tiny_thing.py", "")
        file.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny_thing\nVersion: 1.0\n"
        )
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return path


def test_packages_are_installed_once_and_named(
    run: ModuleType, wheel: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "target"
    arguments = ["--no-index", "--target", str(target), str(wheel)]
    run.install(arguments, [])
    printed = capfd.readouterr().out.splitlines()
    assert printed[0].startswith(f"Installing into {tmp_path.name} (minutes, but once): ")
    assert str(wheel) in printed[0]
    assert printed[1].endswith(" s  starting pip")
    assert printed[-1].startswith("Installed after ")
    assert (target / "tiny_thing.py").exists()
    run.install(arguments, [])
    assert capfd.readouterr().out == ""


def test_what_cannot_be_installed_ends_the_run_and_is_tried_again(
    run: ModuleType, capfd: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        with pytest.raises(SystemExit, match=r"Failed: .* no-such-package-here"):
            run.install(["--no-index", "no-such-package-here"], [])
        assert "No matching distribution" in capfd.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="the interpreter below is a shell script")
@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], "-m pytest -n 2 --dist loadfile --no-loadscope-reorder"),
        (["tests/space", "-x"], "-m pytest tests/space -x"),
    ],
)
def test_two_processes_share_the_tests_unless_arguments_are_given(
    run: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    command: str,
) -> None:
    interpreter, commands = tmp_path / "python", tmp_path / "commands"
    interpreter.write_text(f'#!/bin/sh\necho "$@" >> "{commands}"\n')
    interpreter.chmod(0o755)
    monkeypatch.setattr(run, "python", lambda: interpreter)
    assert run.test(arguments) == 0
    assert commands.read_text().splitlines()[-1] == command


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("Collecting torch==2.13.0", "collecting torch==2.13.0"),
        (
            "  Downloading https://x.org/a/torch-2.13.0-cp311.whl (190.2 MB)",
            "downloading torch-2.13.0-cp311.whl (190.2 MB)",
        ),
        ("  Using cached numpy-2.4.whl (16 kB)", "using cached numpy-2.4.whl (16 kB)"),
        ("  Installing build dependencies: started", "installing build dependencies"),
        (
            "  Getting requirements to build editable: finished",
            "getting requirements to build editable",
        ),
        ("  Building editable for tiny (pyproject.toml): started", "building editable for tiny"),
        ("Installing collected packages: mpmath", "installing 1 package"),
        ("Installing collected packages: mpmath, sympy", "installing 2 packages"),
        ("Requirement already satisfied: numpy", None),
    ],
)
def test_a_step_of_pip_is_named(run: ModuleType, line: str, step: str | None) -> None:
    assert run.step(line) == step


SHOWN = f"""
import sys; sys.path.insert(0, {str(RUN.parent)!r})
import run
with run.progress("starting pip"):
    pass
print("done")
"""


def test_a_log_has_a_line_for_a_step() -> None:
    printed = subprocess.check_output([sys.executable, "-c", SHOWN], text=True)
    assert printed.splitlines() == ["    0 s  starting pip", "done"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals")
def test_a_terminal_has_one_changing_line() -> None:
    import pty

    parent, child = pty.openpty()
    subprocess.run([sys.executable, "-c", SHOWN], stdout=child, check=True)
    os.close(child)
    printed = os.read(parent, 10_000).decode()
    os.close(parent)
    first, *_, last = [text.strip() for text in printed.split("\r") if text.strip()]
    assert (first, last) == ("0 s  starting pip", "done")
    assert printed.count("\n") == 1

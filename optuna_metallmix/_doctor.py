"""`optuna-metallmix doctor`: machine, models and past -> a line for each, and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from typing import TYPE_CHECKING

from optuna_metallmix._command import model
from optuna_metallmix._doctor_machine import check_accelerator
from optuna_metallmix._doctor_machine import check_packages
from optuna_metallmix._doctor_machine import check_python
from optuna_metallmix._doctor_model import check_embedded
from optuna_metallmix._doctor_model import check_model
from optuna_metallmix._doctor_model import check_ollama
from optuna_metallmix._doctor_past import check_past
from optuna_metallmix._finding import Finding
from optuna_metallmix._finding import Level
from optuna_metallmix._finding import look


if TYPE_CHECKING:
    from argparse import _SubParsersAction

_COLOURS: dict[Level, str] = {"ok": "\033[32m", "warning": "\033[33m", "problem": "\033[31m"}
_PLAIN = "\033[0m"


def add_command(parsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``doctor`` to the commands."""
    parser = parsers.add_parser(
        "doctor",
        help="look whether everything is there, and say what to do where it is not",
        description="Looks at Python, packages, GPU, language models and past studies; writes "
        "nothing. The exit code is 1 where there is a problem, 0 otherwise.",
    )
    parser.add_argument(
        "--storage", metavar="URL-or-file", help="where past studies are, as for Optuna"
    )
    parser.add_argument(
        "--llm",
        metavar="MODEL",
        type=model,
        help='"ollama:qwen3:8b", "openai:http://localhost:8000/v1", "model.gguf", "embedded", '
        '"none"; by default what a sampler would choose',
    )
    parser.set_defaults(run=_run)


def examine(storage: str | None = None, llm: str | None = None) -> Iterator[Finding]:
    """Look at everything, one part after the other, whatever becomes of the others.

    Args:
        storage: A file or URL with past studies; None to leave them out.
        llm: As for :func:`resolve_llm`.
    """
    checks: tuple[tuple[str, Callable[[], Iterable[Finding]]], ...] = (
        ("Python", check_python),
        ("packages", check_packages),
        ("GPU", check_accelerator),
        ("Ollama", check_ollama),
        ("embedded model", check_embedded),
        ("model", lambda: check_model(llm)),
        ("past", lambda: check_past(storage)),
    )
    for subject, check in checks:
        yield from look(subject, check)


def _run(arguments: argparse.Namespace) -> int:
    is_coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    found: Counter[Level] = Counter()
    for finding in examine(arguments.storage, arguments.llm):
        found[finding.level] += 1
        # At once: a model may take a minute to load after this line.
        print(_line(finding, is_coloured=is_coloured), flush=True)
    print(f"{_counted(found['problem'], 'problem')}, {_counted(found['warning'], 'warning')}.")
    return 1 if found["problem"] else 0


def _line(finding: Finding, *, is_coloured: bool) -> str:
    level = f"{finding.level:<8}"
    if is_coloured:
        level = f"{_COLOURS[finding.level]}{level}{_PLAIN}"
    return f"{level} {finding.subject}: {finding.text}"


def _counted(n: int, what: str) -> str:
    return f"{n or 'no'} {what}{'s' if n > 1 else ''}"

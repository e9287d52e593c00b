"""`optuna-metallmix COMMAND ...` -> an exit code. Each command is a room of its own."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence

import optuna_metallmix
from optuna_metallmix.cli import compare
from optuna_metallmix.cli import compare_models
from optuna_metallmix.cli import doctor
from optuna_metallmix.cli import explain
from optuna_metallmix.cli import suggest


_COMMANDS = (
    doctor.add_command,
    suggest.add_command,
    explain.add_command,
    compare.add_command,
    compare_models.add_command,
)
"""Each adds its parser, with ``run(arguments) -> exit code`` among the parser's defaults."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The words after the program's name; None for the process's own.

    Returns:
        The exit code.

    Raises:
        SystemExit: The words make no command (2), or ask for help or the version (0).
    """
    parser = argparse.ArgumentParser(
        prog="optuna-metallmix", description="A first trial from your past studies."
    )
    version = f"optuna-metallmix {optuna_metallmix.__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add_command in _COMMANDS:
        add_command(commands)
    parsed = parser.parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = parsed.run
    return run(parsed)

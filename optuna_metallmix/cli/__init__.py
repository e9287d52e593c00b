"""The program ``optuna-metallmix``; each of its commands has its own module."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence

import optuna_metallmix
from optuna_metallmix.cli import compare
from optuna_metallmix.cli import compare_models
from optuna_metallmix.cli import doctor
from optuna_metallmix.cli import explain
from optuna_metallmix.cli import import_runs
from optuna_metallmix.cli import suggest
from optuna_metallmix.cli.common import print_message
from optuna_metallmix.errors import MetaLLMiXError


_COMMANDS = (
    doctor.add_command,
    suggest.add_command,
    explain.add_command,
    compare.add_command,
    compare_models.add_command,
    import_runs.add_command,
)
"""Each adds a parser whose default ``run`` maps the parsed arguments to an exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Arguments after the program's name; None for ``sys.argv[1:]``.

    Returns:
        The exit code: 1 if the command fails, for example because a study does not exist.

    Raises:
        SystemExit: The arguments are invalid (code 2), or ask for help or the version (0).
    """
    parsed = make_parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = parsed.run
    try:
        return run(parsed)
    except (MetaLLMiXError, OSError) as error:
        print_message(str(error))
        return 1


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="optuna-metallmix",
        description="Suggest a study's first trial from your past studies.",
    )
    version = f"optuna-metallmix {optuna_metallmix.__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add_command in _COMMANDS:
        add_command(commands)
    return parser

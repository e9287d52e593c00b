"""The command ``import``: make a past study of a CSV file with a row for each run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.exceptions import DuplicatedStudyError

from optuna_metallmix.cli.common import print_message
from optuna_metallmix.importer import create_study
from optuna_metallmix.importer import parse_value
from optuna_metallmix.importer import read_csv
from optuna_metallmix.importer import read_runs
from optuna_metallmix.optuna_access import close_storage
from optuna_metallmix.optuna_access import describe_storage
from optuna_metallmix.optuna_access import storage_of


if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_command(parsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``import`` to the commands."""
    parser = parsers.add_parser(
        "import",
        help="make a past study of runs in a CSV file",
        description="Reads a CSV file with a row for each run, such as an export of MLflow, W&B "
        "or Ray Tune, and writes the runs to a new study. Prints what was understood. The exit "
        "code is 1 if the file cannot be imported.",
    )
    parser.add_argument("file", metavar="FILE", help="CSV file with a header")
    parser.add_argument(
        "--storage", metavar="URL-or-file",
        help="where to create the study; a file ends in .db (SQLite) or .jsonl (journal)",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="print what was understood, and write nothing"
    )
    parser.add_argument("--name", metavar="STUDY", help="name of the study (default: the file's)")
    parser.add_argument("--value", metavar="COLUMN", help="column of the objective value")
    parser.add_argument(
        "--direction", choices=("maximize", "minimize"), required=True,
        help="whether larger or smaller values are better",
    )  # fmt: skip
    parser.add_argument(
        "--params", metavar="PREFIX|A,B,...", action="append",
        help='prefix of the columns of parameters, such as "params.", or the columns; may be '
        "repeated (default: the prefixes of MLflow, W&B, Ray Tune, scikit-learn and Optuna)",
    )  # fmt: skip
    parser.add_argument(
        "--alias", metavar="PAST=PRESENT", action="append", default=[], type=_pair,
        help="the present name of a renamed parameter; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--meta-feature", metavar="NAME=VALUE", action="append", default=[], type=_pair,
        help="a fact about the task, such as n_instances=1000; may be repeated",
    )  # fmt: skip
    parser.add_argument("--state", metavar="COLUMN", help="column that says how a run ended")
    parser.add_argument(
        "--duration", metavar="COLUMN",
        help="column with the duration, in seconds unless its name ends in a unit such as _ms",
    )  # fmt: skip
    parser.add_argument(
        "--skip-without-value", action="store_true",
        help="leave out runs that finished without a value (default: they are failed trials)",
    )  # fmt: skip
    parser.set_defaults(run=_run)


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not (name and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _run(arguments: argparse.Namespace) -> int:
    try:
        return _import(arguments)
    except (ValueError, DuplicatedStudyError) as error:
        print_message(str(error))
        return 1


def _import(arguments: argparse.Namespace) -> int:
    if arguments.storage is None and not arguments.dry_run:
        raise ValueError("Pass --storage to create the study, or --dry-run to try.")
    runs = read_runs(
        read_csv(arguments.file),
        params=_split(arguments.params),
        value=arguments.value,
        direction=arguments.direction,
        aliases=dict(arguments.alias),
        state=arguments.state,
        duration=arguments.duration,
        skip_without_value=arguments.skip_without_value,
    )
    print(runs.describe())
    if arguments.dry_run:
        print("Nothing was written (--dry-run).")
        return 0
    name = arguments.name or Path(arguments.file).stem
    features = {name: parse_value(text) for name, text in arguments.meta_feature}
    storage = storage_of(create_study(runs, arguments.storage, name, features))
    print(f"Created study {name!r} in {describe_storage(storage)}.")
    close_storage(storage)
    return 0


def _split(params: Sequence[str] | None) -> list[str] | None:
    """Return prefixes and columns; ``None`` to try the usual prefixes."""
    return None if params is None else [n.strip() for text in params for n in text.split(",")]

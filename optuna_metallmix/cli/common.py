"""Options, study loading and messages that the commands share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna import Study
from optuna.storages import BaseStorage

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.errors import MetaLLMiXError
from optuna_metallmix.history import open_source
from optuna_metallmix.history import study_names
from optuna_metallmix.history import unknown_names
from optuna_metallmix.llm import LLMSpec
from optuna_metallmix.llm import check_spec
from optuna_metallmix.optuna_access import describe_storage
from optuna_metallmix.optuna_access import is_single_objective
from optuna_metallmix.settings import DEFAULT_TIMEOUT
from optuna_metallmix.settings import Settings
from optuna_metallmix.settings import check_past_names
from optuna_metallmix.settings import check_seed
from optuna_metallmix.settings import check_timeout
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.text import hide_passwords


_MAX_NAMES = 20
_OPTIONS = {
    "source_storage=": "--past",
    "`source_storage`": "`--past`",
    "search_space=": "--search-space-from",
    "`llm_timeout`": "`--llm-timeout`",
    "`llm=False`": "`--llm none`",
    "`aliases`": "`--alias`",
}
"""Options by the Python arguments that messages name."""


def add_study_options(parser: argparse.ArgumentParser, is_storage_needed: bool = True) -> None:
    """Add ``--storage``, ``--study``, ``--past``, ``--seed`` and ``--alias``."""
    metavar = "URL-or-file"
    default = "" if is_storage_needed else " (default: --past)"
    parser.add_argument(
        "--storage", metavar=metavar, required=is_storage_needed,
        help=f"storage of the study{default}",
    )  # fmt: skip
    parser.add_argument("--study", metavar="NAME", required=True, help="name of the study")
    parser.add_argument(
        "--past", metavar=metavar,
        help="storage of the past studies, or a past that comes with the package, as in "
        '"shipped:lightgbm" (default: --storage)',
    )  # fmt: skip
    parser.add_argument("--seed", type=_seed, default=0, help="meta-learner seed (default: 0)")
    parser.add_argument(
        "--alias", metavar="PAST=PRESENT", dest="aliases", action="append", default=[],
        type=_alias,
        help='present name of a renamed past parameter, as in "lr=learning_rate"; may be repeated',
    )  # fmt: skip


@contextmanager
def open_storage(arguments: argparse.Namespace) -> Iterator[BaseStorage]:
    """Open ``--storage``, after a check that ``--past`` can be opened, too.

    Raises:
        HistoryError: One of them is no storage with studies.
    """
    if arguments.past is not None:
        with open_source(arguments.past, "--past"):
            pass
    with open_source(arguments.storage, "--storage") as storage:
        yield storage


def add_timeout_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--llm-timeout``."""
    parser.add_argument(
        "--llm-timeout", metavar="SECONDS", type=_timeout, default=DEFAULT_TIMEOUT,
        help="time for the language model's entire part of a suggestion: loading, all answers and "
        f'reviews (default: {DEFAULT_TIMEOUT:g}; "none" for no limit)',
    )  # fmt: skip


def model_spec(text: str, argument: str = "llm") -> str:
    """Check the name of a language model, as ``type=`` of an option."""
    try:
        check_spec(text, argument)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def make_settings(
    arguments: argparse.Namespace,
    llm: LLMSpec,
    space: SearchSpace | None = None,
    llm_timeout: float | None = DEFAULT_TIMEOUT,
) -> Settings:
    """Build the settings from the options that :func:`add_study_options` adds.

    Raises:
        MetaLLMiXError: The aliases are invalid.
    """
    aliases = dict(arguments.aliases)
    try:
        if len(aliases) < len(set(arguments.aliases)):
            raise ValueError("a past parameter has two present names. Name one.")
        checked = check_past_names(arguments.past, None, aliases)
    except ValueError as error:
        raise MetaLLMiXError(f"--alias: {error}") from error
    return Settings(
        source_storage=arguments.past,
        aliases=checked,
        search_space=space,
        llm=llm,
        llm_timeout=llm_timeout,
        seed=arguments.seed,
    )


def load_study(storage: BaseStorage, name: str) -> Study:
    """Load a study.

    Raises:
        HistoryError: The study does not exist; the message lists the studies that do.
    """
    names = sorted(study_names(storage))
    if name not in names:
        listed = ", ".join(map(repr, names[:_MAX_NAMES])) or "none"
        missing = unknown_names([name], names)
        raise HistoryError(
            f"{describe_storage(storage)} has no study {missing}. Its studies: {listed}. Check "
            f"the name, or create it: `optuna create-study --storage ... --study-name {name!r}`."
        )
    return optuna.load_study(study_name=name, storage=storage)


def check_single_objective(study: Study) -> None:
    """Raise :class:`HistoryError` if the study has several objectives."""
    if not is_single_objective(study):
        raise HistoryError(
            f"Study {study.study_name!r} has {len(study.directions)} objectives. Suggestions are "
            "made for studies with one objective, whose trials can be ranked. Choose another "
            "study, or combine the objectives into one value."
        )


def print_message(message: str) -> None:
    """Print to standard error, so that standard output holds only the result.

    Python arguments are called by the names of their options, and passwords are hidden.
    """
    for argument, option in _OPTIONS.items():
        message = message.replace(argument, option)
    print(f"optuna-metallmix: {hide_passwords(message)}", file=sys.stderr)


def _alias(text: str) -> tuple[str, str]:
    past, _, present = text.partition("=")
    if not (past.strip() and present.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is not PAST=PRESENT, as in lr=learning_rate.")
    return past.strip(), present.strip()


def _timeout(text: str) -> float | None:
    try:
        seconds = None if text == "none" else float(text)
        check_timeout(seconds)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f'{text!r} is neither a number of seconds greater than 0 nor "none".'
        ) from error
    return seconds


def _seed(text: str) -> int:
    try:
        return check_seed(int(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error

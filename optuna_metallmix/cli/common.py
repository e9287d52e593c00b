"""what the commands on a study share: its options, opening it, and errors as a line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import optuna
from optuna import Study
from optuna.storages import BaseStorage

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.errors import MetaLLMiXError
from optuna_metallmix.llm import LLMSpec
from optuna_metallmix.llm import check_spec
from optuna_metallmix.optuna_access import describe_storage
from optuna_metallmix.prompt import DEFAULT_VARIANT
from optuna_metallmix.settings import Settings
from optuna_metallmix.settings import check_seed
from optuna_metallmix.settings import check_settings
from optuna_metallmix.space import SearchSpace


_MOST_NAMES = 20


def add_study_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--storage``, ``--study``, ``--past`` and ``--seed``."""
    place = "URL-or-file"
    parser.add_argument("--storage", metavar=place, required=True, help="where the study is")
    parser.add_argument("--study", metavar="NAME", required=True, help="the study's name")
    parser.add_argument(
        "--past", metavar=place, help="where the past studies are; by default in the same storage"
    )
    parser.add_argument(
        "--seed", type=_seed, default=0, help="seeds the meta-learner, by default 0"
    )


def model(text: str) -> str:
    """Check a model's name, as ``type=`` of an option."""
    try:
        check_spec(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def settings_of(
    arguments: argparse.Namespace, llm: LLMSpec, space: SearchSpace | None = None
) -> Settings:
    """Return the settings of the options that :func:`add_study_options` adds."""
    return check_settings(
        source_storage=arguments.past,
        source_study_names=None,
        search_space=space,
        meta_features=None,
        llm=llm,
        judge=None,
        n_attempts=2,
        seed=arguments.seed,
        cost_aware=False,
        prompt=DEFAULT_VARIANT.name,
    )


def load(storage: BaseStorage, name: str) -> Study:
    """Load a study.

    Raises:
        HistoryError: There is none of that name; the message names those that there are.
    """
    present = sorted(one.study_name for one in storage.get_all_studies())
    if name not in present:
        raise HistoryError(
            f"{describe_storage(storage)} has no study {name!r}. It has: "
            f"{', '.join(map(repr, present[:_MOST_NAMES])) or 'no study at all'}. Name one of "
            f"them, or make it: `optuna create-study --storage ... --study-name {name!r}`."
        )
    return optuna.load_study(study_name=name, storage=storage)


def run_told(command: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Run a command; what it raises on purpose, or the disk does, is a line and exit code 1."""
    try:
        return command(arguments)
    except (MetaLLMiXError, OSError) as error:
        tell(str(error))
        return 1


def tell(message: str) -> None:
    """Say something beside the output."""
    print(f"optuna-metallmix: {message}", file=sys.stderr)


def _seed(text: str) -> int:
    try:
        return check_seed(int(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error

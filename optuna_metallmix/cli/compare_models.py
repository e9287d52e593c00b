"""`optuna-metallmix compare-models`: models and past studies -> which model should be used."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from optuna_metallmix.cli.common import model_spec
from optuna_metallmix.cli.common import print_message
from optuna_metallmix.evaluation import Evaluate
from optuna_metallmix.evaluation import ModelAnswers
from optuna_metallmix.evaluation import as_markdown
from optuna_metallmix.evaluation import compare_models
from optuna_metallmix.evaluation import draw
from optuna_metallmix.evaluation import write_csv
from optuna_metallmix.prompt import DEFAULT_VARIANT
from optuna_metallmix.prompt import VARIANTS


if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_command(parsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``compare-models`` to the commands."""
    parser = parsers.add_parser(
        "compare-models",
        help="ask several language models about your past studies, and say which to use",
        description="Holds each past study out from the others, asks every model about it and "
        "judges the answers; then asks in other orders, to see which model reads. Studies are "
        "only read.",
    )
    parser.add_argument(
        "--models", required=True, type=_models, metavar="A,B,C",
        help='such as "ollama:qwen3:8b,ollama:llama3.2:3b,embedded"',
    )  # fmt: skip
    parser.add_argument("--storage", required=True, metavar="URL-or-file")
    parser.add_argument("--studies", type=_listed, metavar="A,B", help="hold out only these")
    parser.add_argument(
        "--objective", type=_function, metavar="MODULE:FUNCTION",
        help="function(study name, configuration) -> the objective's value: a table, a "
        "surrogate, a training",
    )  # fmt: skip
    parser.add_argument(
        "--judge", metavar="MODEL", type=model_spec, help="reviews all; by default each itself"
    )
    parser.add_argument(
        "--prompt", choices=[one.name for one in VARIANTS], default=DEFAULT_VARIANT.name
    )
    parser.add_argument(
        "--orders", type=_count, default=3, metavar="N",
        help="other orders of each question, to see which model reads; 3 by default, 0 for none",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, metavar="NAME", help="writes NAME.md, NAME.csv and NAME.png"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        found = compare_models(
            arguments.models,
            arguments.storage,
            studies=arguments.studies,
            evaluate=arguments.objective,
            judge=arguments.judge,
            prompt=arguments.prompt,
            n_orders=arguments.orders,
            seed=arguments.seed,
            tell=print_message,
        )
    except ValueError as error:  # two models of one name
        print_message(str(error))
        return 1
    text = as_markdown(found)
    print(text)
    return 0 if arguments.out is None else _write(found, text, arguments.out)


def _write(found: ModelAnswers, text: str, out: Path) -> int:
    out.with_name(f"{out.name}.md").write_text(text, encoding="utf-8")
    write_csv(found, out.with_name(f"{out.name}.csv"))
    try:
        draw(found).savefig(out.with_name(f"{out.name}.png"), dpi=150)
    except ImportError:
        print_message("there is no plot without matplotlib: `pip install matplotlib`.")
    return 0


def _models(text: str) -> list[str]:
    return [model_spec(one) for one in _listed(text)]


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0.")
    return int(text)


def _function(text: str) -> Evaluate:
    module, _, name = text.partition(":")
    sys.path.insert(0, "")  # as `python -m` has it: the module may be a file beside the person
    try:
        found: Evaluate = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no MODULE:FUNCTION that can be imported here ({error})."
        ) from error
    return found

"""The command ``compare-models``: compare language models on past studies."""

from __future__ import annotations

import argparse
import importlib
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from optuna_metallmix.cli.common import add_timeout_option
from optuna_metallmix.cli.common import model_spec
from optuna_metallmix.cli.common import print_message
from optuna_metallmix.evaluation import Evaluate
from optuna_metallmix.evaluation import ModelAnswers
from optuna_metallmix.evaluation import as_frame
from optuna_metallmix.evaluation import as_markdown
from optuna_metallmix.evaluation import compare_models
from optuna_metallmix.evaluation import draw
from optuna_metallmix.history import open_source
from optuna_metallmix.prompt import DEFAULT_VARIANT
from optuna_metallmix.prompt import VARIANTS


if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_command(parsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``compare-models`` to the commands."""
    parser = parsers.add_parser(
        "compare-models",
        help="compare language models on your past studies",
        description="Asks every model about each past study, held out from the others, and judges "
        "the answers; then asks in other orders, to see which model reads the prompt. Studies "
        "are only read. The exit code is 1 if a model never answers.",
    )
    parser.add_argument(
        "--models", required=True, type=_models, metavar="A,B,C",
        help='such as "ollama:qwen3:8b,ollama:llama3.2:3b,embedded"',
    )  # fmt: skip
    parser.add_argument(
        "--storage", required=True, metavar="URL-or-file", help="storage of the past studies"
    )
    parser.add_argument(
        "--studies", type=_split, metavar="A,B", help="studies to hold out (default: all)"
    )
    parser.add_argument(
        "--objective", type=_function, metavar="MODULE:FUNCTION",
        help="function(study name, configuration) that returns the objective's value, from a "
        "table, a surrogate or a training run",
    )  # fmt: skip
    parser.add_argument(
        "--judge", metavar="MODEL", type=partial(model_spec, argument="judge"),
        help="reviewing model (default: each model reviews itself)",
    )  # fmt: skip
    add_timeout_option(parser)
    parser.add_argument(
        "--prompt", default=DEFAULT_VARIANT.name, choices=[variant.name for variant in VARIANTS],
        help=f"prompt variant (default: {DEFAULT_VARIANT.name})",
    )  # fmt: skip
    parser.add_argument(
        "--orders", type=_count, default=3, metavar="N",
        help="other orders in which each question is asked, 0 for none (default: 3)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="meta-learner seed (default: 0)")
    parser.add_argument(
        "--out", type=Path, metavar="NAME", help="write NAME.md, NAME.csv and NAME.png"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    try:
        with open_source(arguments.storage, "--storage") as storage:
            result = compare_models(
                arguments.models,
                storage,
                studies=arguments.studies,
                evaluate=arguments.objective,
                judge=arguments.judge,
                llm_timeout=arguments.llm_timeout,
                prompt=arguments.prompt,
                n_orders=arguments.orders,
                seed=arguments.seed,
                report=print_message,
            )
    except ValueError as error:  # two models with the same name
        print_message(str(error))
        return 1
    for model, reason in result.silent.items():
        print_message(f"{model} never answered: {reason}")
    if len(result.silent) < len(arguments.models):
        print(as_markdown(result))
        if arguments.out is not None:
            _write(result, arguments.out)
    return 1 if result.silent else 0


def _write(result: ModelAnswers, out: Path) -> None:
    out.with_name(f"{out.name}.md").write_text(as_markdown(result), encoding="utf-8")
    as_frame(result).to_csv(out.with_name(f"{out.name}.csv"), index=False)
    try:
        draw(result).savefig(out.with_name(f"{out.name}.png"), dpi=150)
    except ImportError:
        print_message("matplotlib is required to draw the figure. Run `pip install matplotlib`.")


def _models(text: str) -> list[str]:
    return [model_spec(name) for name in _split(text)]


def _split(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a non-negative integer.")
    return int(text)


def _function(text: str) -> Evaluate:
    module, _, name = text.partition(":")
    sys.path.insert(0, "")  # as `python -m` does, so that a module in the current folder is found
    try:
        function: Evaluate = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise argparse.ArgumentTypeError(
            f"cannot import {text!r} as MODULE:FUNCTION ({error})."
        ) from error
    return function

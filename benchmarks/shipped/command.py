"""Measure what the shipped past is worth on tables that are left out of it.

    python -m benchmarks shipped                      # what is missing, then page and plot
    python -m benchmarks shipped --libraries xgboost --seeds 2
    python -m benchmarks shipped --quick              # a smoke test on three tables

Each table is held out with those of the same origin, and the library is really trained on it, on
the folds of the recorded study. On XGBoost's surrogate of the family `xgboost`, tasks of other
people are searched with the shipped past. A stopped run resumes where it was.
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

import optuna

from benchmarks.paths import RESULTS
from optuna_metallmix.shipped import LIBRARIES


PARTS = ("first", "control", "search", "flaml")


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the options of `shipped`."""
    add = parser.add_argument
    add("--quick", action="store_true", help="run a smoke test, not a result")
    add(
        "--libraries",
        nargs="+",
        choices=[*LIBRARIES, "surrogate"],
        help="names of shipped pasts, or `surrogate`; default: all",
    )
    add(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=PARTS,
        help="first trials, those of the control, searches of every fourth table, or FLAML's "
        "configurations of all; default: all parts",
    )
    add("--seeds", type=int, default=1, help="number of repetitions")
    add(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        help="number of worker processes; default: number of cores",
    )
    add("--out", type=Path, default=RESULTS, help="folder for the results")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the missing searches and write the table, the plot and the page."""
    try:
        from benchmarks.shipped.bench import measure
    except ImportError as error:
        raise SystemExit(f"`shipped` needs the packages of studies/README.md: {error}") from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `timeout` sends SIGTERM
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        measure(args)
    except KeyboardInterrupt:
        raise SystemExit("shipped was stopped. Run the same command to resume.") from None

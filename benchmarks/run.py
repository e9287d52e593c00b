"""Add the command that runs the methods on a family of tasks, or on all families."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import optuna

from benchmarks import bench
from benchmarks.families import hpobench
from benchmarks.families import hpolib
from benchmarks.families import lcbench
from benchmarks.families import medmnist
from benchmarks.families import nasbench201
from benchmarks.families import quicktune
from benchmarks.families import xgboost
from benchmarks.paths import RESULTS
from benchmarks.report.table import typed_command
from benchmarks.tasks.family import Options
from benchmarks.tasks.family import SkippedError
from benchmarks.work import MakeFamily


FAMILIES: dict[str, MakeFamily] = {
    "quicktune": quicktune.family,
    "medmnist": medmnist.family,
    "hpobench": hpobench.family,
    "hpolib": hpolib.family,
    "nasbench201": nasbench201.family,
    "xgboost": xgboost.family,
    "lcbench": lcbench.family,
}
"""Fastest first."""


def add_command(parser: argparse.ArgumentParser, families: Sequence[str]) -> None:
    """Add the options that all families share."""
    parser.add_argument(
        "--quick", action="store_true", help="run a smoke test of about a minute, not a result"
    )
    parser.add_argument("--methods", help="comma-separated names; default: all but the slow ones")
    parser.add_argument("--seeds", type=int, help="number of repetitions")
    parser.add_argument("--tasks", type=int, help="run only the first TASKS tasks")
    parser.add_argument("--trials", type=int, help="number of trials per search")
    parser.add_argument(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        help="number of worker processes; default: number of cores",
    )
    parser.add_argument(
        "--redo", action="store_true", help="discard earlier results of these methods"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    parser.set_defaults(run=lambda args: run(args, families))


def run(args: argparse.Namespace, families: Sequence[str]) -> None:
    """Run the families; print why a family cannot be run on this machine."""
    options = Options(
        quick=args.quick,
        methods=tuple(args.methods.split(",")) if args.methods else None,
        seeds=args.seeds,
        tasks=args.tasks,
        trials=args.trials,
        redo=args.redo,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `timeout` sends SIGTERM
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in families:
        try:
            path = bench.run(FAMILIES[name], options, args.jobs, args.out, typed_command())
        except SkippedError as reason:
            print(f"Skipping {name}: {reason}")
        except KeyboardInterrupt:
            raise SystemExit(f"{name} was stopped. Run the same command to resume.") from None
        else:
            print(f"{name}: {path}")

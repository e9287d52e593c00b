"""command line -> the measurements of one family, or of all."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import optuna

from benchmarks import bench
from benchmarks.families import hpobench
from benchmarks.families import lcbench
from benchmarks.families import medmnist
from benchmarks.families import quicktune
from benchmarks.families.family import Options
from benchmarks.families.family import SkippedError
from benchmarks.report.table import typed
from benchmarks.work import MakeFamily


FAMILIES: dict[str, MakeFamily] = {
    "quicktune": quicktune.family,
    "medmnist": medmnist.family,
    "hpobench": hpobench.family,
    "lcbench": lcbench.family,
}
"""The fastest first."""
RESULTS = Path(__file__).resolve().parent / "results"


def add_command(parser: argparse.ArgumentParser, families: Sequence[str]) -> None:
    """Add the options that all families share."""
    parser.add_argument("--quick", action="store_true", help="a smoke test: a minute, no result")
    parser.add_argument("--methods", help="by name, with commas between; default: all but slow")
    parser.add_argument("--seeds", type=int, help="repetitions")
    parser.add_argument("--tasks", type=int, help="only the first so many")
    parser.add_argument("--trials", type=int, help="of each search")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="worker processes; default: cores"
    )
    parser.add_argument("--redo", action="store_true", help="forget what these methods did")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.set_defaults(run=lambda args: run(args, families))


def run(args: argparse.Namespace, families: Sequence[str]) -> None:
    """Run the families; one that cannot be run here says why."""
    options = Options(
        quick=args.quick,
        methods=tuple(args.methods.split(",")) if args.methods else None,
        seeds=args.seeds,
        tasks=args.tasks,
        trials=args.trials,
        redo=args.redo,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as `timeout` stops a program
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in families:
        try:
            path = bench.run(FAMILIES[name], options, args.jobs, args.out, typed())
        except SkippedError as reason:
            print(f"{name} is left out: {reason}")
        except KeyboardInterrupt:
            raise SystemExit(f"{name} is stopped; the same command takes it up again") from None
        else:
            print(f"{name}: {path}")

"""each medical image set held out -> one training of ours beside whole searches, on real images.

    python -m benchmarks medical                        # what is missing, then page and plot
    python -m benchmarks medical --llm ollama:qwen3:8b  # another model than the embedded one
    python -m benchmarks medical --quick                # all of it on digits: no result

The past is `studies/medical.jsonl`, without the held-out set. A run that was stopped goes on where
it was.
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

import optuna

from benchmarks.run import RESULTS


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    add = parser.add_argument
    add("--quick", action="store_true", help="a smoke test: minutes, no result")
    add("--seeds", type=int, default=3, help="splits, and all else that is drawn")
    add("--llm", help="the model that ours asks; default: the embedded one")
    add("--no-llm", action="store_true", help="leave the language model out")
    add("--jobs", type=int, default=os.cpu_count() or 1, help="worker processes; default: cores")
    add("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the benchmark; the other benchmarks do without the extra `torch`."""
    try:
        from benchmarks.medical.bench import run_bench
    except ImportError as error:
        raise SystemExit(f"medical needs the extra `torch`: {error}") from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as `timeout` stops a program
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        run_bench(args)
    except KeyboardInterrupt:
        raise SystemExit("medical is stopped; the same command takes it up again") from None

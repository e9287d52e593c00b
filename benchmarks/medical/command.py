"""Add the commands `medical` and `embedding`, which need the extra `torch` only when they run.

    python -m benchmarks medical                        # what is missing, then page and plot
    python -m benchmarks medical --llm ollama:qwen3:8b  # not the embedded model
    python -m benchmarks medical --quick                # a smoke test on scikit-learn's digits
    python -m benchmarks embedding [--seeds 5]

`medical` holds out each medical image set and compares a single suggested training with whole
searches. The past is `studies/medical.jsonl` without the held-out set. A stopped run resumes
where it was.
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

import optuna

from benchmarks.paths import RESULTS


def add_medical(parser: argparse.ArgumentParser) -> None:
    """Add the options of `medical`."""
    add = parser.add_argument
    add("--quick", action="store_true", help="run a smoke test of a minute, not a result")
    add("--seeds", type=int, default=3, help="number of repetitions, each with its own split")
    add("--llm", help="language model to ask; default: the embedded model")
    add("--no-llm", action="store_true", help="do not ask a language model")
    add(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        help="number of worker processes; default: number of cores",
    )
    add("--out", type=Path, default=RESULTS, help="folder for the results")
    parser.set_defaults(run=run_medical)


def add_embedding(parser: argparse.ArgumentParser) -> None:
    """Add the options of `embedding`."""
    add = parser.add_argument
    add("--seeds", type=int, default=5, help="repetitions of trees, projections and controls")
    add("--out", type=Path, default=RESULTS, help="folder for the results")
    parser.set_defaults(run=run_embedding)


def run_medical(args: argparse.Namespace) -> None:
    """Run the missing trainings and write the table, the plot and the page."""
    try:
        from benchmarks.medical.bench import run_bench
    except ImportError as error:
        raise SystemExit(f"`medical` needs the extra `torch`: {error}") from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `timeout` sends SIGTERM
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    args.out.mkdir(parents=True, exist_ok=True)
    try:
        run_bench(args)
    except KeyboardInterrupt:
        raise SystemExit("medical was stopped. Run the same command to resume.") from None


def run_embedding(args: argparse.Namespace) -> None:
    """Pick with each kind of meta-features and write the table and the page."""
    try:
        from benchmarks.medical.embedding import picks
        from benchmarks.medical.embedding import write_page
    except ImportError as error:
        raise SystemExit(f"`embedding` needs the extra `torch`: {error}") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    args.out.mkdir(parents=True, exist_ok=True)
    table = picks(args.seeds)
    table.round(6).to_csv(args.out / "embedding.csv", index=False)
    print(write_page(table, args.out / "embedding.md"))

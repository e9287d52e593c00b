"""does an embedding of the images help to tell which past studies are alike? Few tasks only.

    python -m benchmarks embedding [--seeds 5]

Mean and spread of the frozen features of one small pretrained network (EfficientNet-Lite 0 at 64
pixels, training images) beside the paper's seven groups of meta-features. Each medical image set
is held out once; one of its own recorded trials is picked by what the other sets' trials say.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import optuna

from benchmarks.run import RESULTS


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--seeds", type=int, default=5, help="of trees, projections, controls")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the benchmark; the other benchmarks do without the extra `torch`."""
    try:
        from benchmarks.medical.embedding import picks
        from benchmarks.medical.embedding import write_page
    except ImportError as error:
        raise SystemExit(f"embedding needs the extra `torch`: {error}") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    args.out.mkdir(parents=True, exist_ok=True)
    table = picks(args.seeds)
    table.round(6).to_csv(args.out / "embedding.csv", index=False)
    print(write_page(table, args.out / "embedding.md"))

"""command line -> one benchmark."""

from __future__ import annotations

import argparse

from benchmarks import cost
from benchmarks import embedding
from benchmarks import medical_command
from benchmarks import models
from benchmarks import run
from benchmarks import timing


def main() -> None:
    """Run the benchmark that is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    commands = parser.add_subparsers(required=True)
    timing.add_command(commands.add_parser("timing", help=timing.__doc__))
    cost.add_command(commands.add_parser("cost", help=cost.__doc__))
    embedding.add_command(commands.add_parser("embedding", help=embedding.__doc__))
    medical_command.add_command(commands.add_parser("medical", help=medical_command.__doc__))
    models.add_models(commands.add_parser("models", help=models.__doc__))
    models.add_ablation(commands.add_parser("ablation", help=models.__doc__))
    for name in run.FAMILIES:
        run.add_command(commands.add_parser(name, help=f"measure on {name}"), [name])
    run.add_command(commands.add_parser("all", help="measure on all"), list(run.FAMILIES))
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()

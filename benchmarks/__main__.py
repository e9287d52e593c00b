"""Run a benchmark from the command line."""

from __future__ import annotations

import argparse

from benchmarks import cost
from benchmarks import hub
from benchmarks import models
from benchmarks import run
from benchmarks import scale
from benchmarks import timing
from benchmarks.medical import command as medical
from benchmarks.shipped import command as shipped


COMMANDS = {
    "cost": (cost.add_command, "regret and training seconds with cost_aware=True and without"),
    "models": (models.add_models, "compare language models, scripted ones among them"),
    "ablation": (models.add_ablation, "ask one model with parts of the prompt left out"),
    "medical": (medical.add_medical, "train on eight medical image sets"),
    "embedding": (medical.add_embedding, "try an embedding of the images as meta-features"),
    "shipped": (shipped.add_command, "train on tables that are left out of the shipped past"),
    "hub": (hub.add_command, "draw the picture of the OptunaHub package"),
    "scale": (scale.add_command, "seconds and memory as past studies grow"),
    "timing": (timing.add_command, "overhead of a suggestion and of later trials"),
}


def main() -> None:
    """Run the benchmark named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    commands = parser.add_subparsers(required=True)
    for name in run.FAMILIES:
        run.add_command(commands.add_parser(name, help=f"run the methods on {name}"), [name])
    run.add_command(commands.add_parser("all", help="run all families"), list(run.FAMILIES))
    for name, (add_command, summary) in COMMANDS.items():
        add_command(commands.add_parser(name, help=summary))
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()

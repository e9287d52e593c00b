"""Define and check the command line of `finetune_timm.py`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path

import optuna

from timm_features import NETWORKS
from timm_objective import SCRATCH_SIDE
from timm_objective import TRAINED
from timm_objective import Space
from timm_objective import check_space


SHIPPED = Path(__file__).resolve().parent.parent / "studies" / "medical.jsonl"
N_TRIALS = 15
PRUNERS = {
    "median": optuna.pruners.MedianPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "none": optuna.pruners.NopPruner,
}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line, and try the networks before any data is read."""
    parser = argparse.ArgumentParser(description="Tune a timm network on your images.")
    for group in (add_data, add_study, add_space, add_training):
        group(parser)
    args = parser.parse_args(arguments)
    if args.n_trials is None and args.timeout is None:
        args.n_trials = N_TRIALS
    if not (args.networks or args.from_scratch):
        parser.error("No networks: name some after --networks or --from-scratch.")
    try:
        check_space(make_space(args))
    except ValueError as error:
        parser.error(str(error))
    return args


def add_data(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("data").add_argument
    add("--data", default="digits", help='image folder, .parquet, .npz, or "digits"')
    add("--limit", type=int, help="maximum number of images")
    add("--modality", help='how the images were made, for example "MRI"; a meta-feature')
    add("--cache-dir", default="cache/features", help="cache of frozen networks' features")


def add_study(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("study").add_argument
    add("--n-trials", type=at_least(1), help=f"default: {N_TRIALS}, or until --timeout")
    add("--timeout", type=float, help="seconds after which no trial is started")
    add("--storage", default="sqlite:///finetune.db", help="Optuna storage URL, or a .jsonl file")
    add("--study-name", help="default: the name of the data")
    add("--sampler", choices=["metallmix", "tpe", "random"], default="metallmix")
    add("--source-storage", default=str(SHIPPED), help="storage of past studies, for metallmix")
    add("--llm", help='for example "ollama:qwen3:8b"; "none" to disable')
    add("--pruner", choices=list(PRUNERS), default="median")
    add("--artifacts", default="artifacts", help="folder for the best trials' weights")
    add("--no-progress", action="store_true", help="hide the progress bar")
    add("--seed", type=int, default=0, help="for split, weights and sampler")
    add("--worker", type=int, default=0, help="number of this process, if several share a study")


def add_space(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("search space").add_argument
    add("--networks", nargs="*", default=NETWORKS, help="names in timm, with ImageNet weights")
    add("--from-scratch", nargs="*", default=(), help="names in timm, with random weights")
    add(
        "--train",
        nargs="+",
        choices=TRAINED,
        default=("head",),
        help="parts of pretrained networks to train",
    )
    add("--max-image-size", type=pixels, default=128, help="pixels, a multiple of 32, at least 64")
    add(
        "--scratch-image-size",
        type=pixels,
        default=SCRATCH_SIDE,
        help="for --from-scratch",
    )
    add("--max-epochs", type=at_least(3), default=30)
    add("--max-batch-size", type=at_least(16), default=256)


def add_training(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("training").add_argument
    add(
        "--patience",
        type=at_least(1),
        default=5,
        help="stop after this many epochs without improvement",
    )
    add(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="use torch.compile (default: if it saves time)",
    )
    add("--device", help="cpu, cuda, ... (default: automatic)")
    add("--threads", type=int, help="CPU threads for torch; 1 is fastest on a busy machine")


def make_space(args: argparse.Namespace) -> Space:
    """Return the search space that the command line describes."""
    return Space(
        networks=tuple(args.networks),
        from_scratch=tuple(args.from_scratch),
        trained=tuple(args.train),
        max_image_size=args.max_image_size,
        scratch_side=args.scratch_image_size,
        max_epochs=args.max_epochs,
        max_batch_size=args.max_batch_size,
    )


def pixels(text: str) -> int:
    """Parse an image size, which networks halve five times."""
    if not text.isdecimal() or int(text) < 64 or int(text) % 32:
        raise argparse.ArgumentTypeError(f"{text!r} is not 64, 96, 128 or a larger multiple of 32")
    return int(text)


def at_least(minimum: int) -> Callable[[str], int]:
    """Return a parser of whole numbers that rejects smaller ones."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number >= {minimum}")
        return int(text)

    return read

"""Record random searches on medical image sets as `medical.jsonl`, a past to learn from.

    python studies/record.py --workers 2              # record what is missing, export it
    python studies/record.py --recipe medical-finetuned --device cuda:0 --shard 0/2
    python studies/record.py --table                  # only update the tables of README.md

This is the only program that writes `studies/*.jsonl`. Each study is a random search without
pruning, so the past has no sampler's bias. The sampler of trial n is seeded by n, so its
configuration does not depend on interruptions or on the number of workers. Workers on a machine
share a file; several GPUs, or machines with `cache/` on a shared disk, take a share of the trials
each (`--shard`), and the last to finish exports them.
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import os
import platform
import sys
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import as_completed
from dataclasses import dataclass
from dataclasses import field
from functools import cache
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from zlib import crc32

import optuna
from optuna.trial import TrialState
from tqdm import tqdm

from recipes import IMAGE_SETS
from recipes import MEDICAL
from recipes import RECIPES
from recipes import ROOT
from recipes import SEED
from recipes import ImageSet
from recipes import Recipe
from recipes import images_folder
from shipped_table import complete
from shipped_table import open_journal
from shipped_table import table
from shipped_table import with_table


README = ROOT / "studies" / "README.md"
CACHE = ROOT / "cache"
CHUNK = 10  # trials of a task

Attributes = dict[str, float | int | str]


@dataclass(frozen=True)
class Setting:
    """Settings that all workers of a recording share."""

    recipe: Recipe
    journal: Path
    image_sets: tuple[ImageSet, ...] = IMAGE_SETS
    images: Path = field(default_factory=images_folder)
    features: Path = CACHE / "features"
    device: str = "cpu"


def record(image_set: ImageSet, numbers: tuple[int, ...], setting: Setting) -> None:
    """Run the trials with these numbers, each with a sampler seeded by the number."""
    objective = open_study(image_set, setting)
    study = optuna.load_study(
        study_name=image_set.study,
        storage=open_journal(setting.journal),
        pruner=optuna.pruners.NopPruner(),
    )
    for number in numbers:
        seed = crc32(image_set.study.encode()) % 2**31 + number
        study.sampler = optuna.samplers.RandomSampler(seed=seed)
        trial = study.ask()
        trial.set_user_attr("number", number)
        try:
            study.tell(trial, objective(trial))
        except MemoryError as error:  # a retry would fail again, so the trial is left out
            study.tell(trial, state=TrialState.FAIL)
            print(f"{image_set.study}, trial {number}: {error}", flush=True)


@cache
def open_study(image_set: ImageSet, setting: Setting) -> Callable[[optuna.Trial], float]:
    """Create or update the study and return its objective; once per process and study."""
    sys.path.insert(0, str(ROOT / "examples"))
    import torch

    from image_data import load_images
    from image_data import meta_features
    from timm_objective import Space
    from timm_objective import make_objective

    if setting.device == "cpu":
        torch.set_num_threads(1)  # a process per core is faster than threads
    data = load_images(setting.images / image_set.file, limit=setting.recipe.limit, seed=SEED)
    study = optuna.create_study(
        storage=open_journal(setting.journal),
        study_name=image_set.study,
        direction="maximize",
        load_if_exists=True,
    )
    describe(study, meta_features(data, image_set.modality), keep=False)
    describe(study, provenance(image_set, setting, len(data.labels)), keep=True)
    return make_objective(
        data,
        Space(**setting.recipe.space),
        cache_dir=setting.features,
        device=setting.device,
        seed=SEED,
    )


def describe(study: optuna.Study, attributes: Attributes, *, keep: bool) -> None:
    """Set user attributes that differ; `keep` preserves the existing ones."""
    existing = study.user_attrs
    for name, value in attributes.items():
        if name not in existing or (not keep and existing[name] != value):
            study.set_user_attr(name, value)


def provenance(image_set: ImageSet, setting: Setting, n_images: int) -> Attributes:
    """Return how the results were produced."""
    names = ("optuna", "timm", "torch", "numpy", "scikit-learn")
    return {
        "n_images": n_images,
        "licence": image_set.licence,
        "hardware": hardware(setting.device),
        "versions": ", ".join(f"{name} {version(name)}" for name in names),
        "recorded": datetime.date.today().isoformat(),
        "recipe": setting.recipe.text,
        "metric": "balanced accuracy on the validation images after the best epoch",
    }


def hardware(device: str) -> str:
    """Return the name of the GPU, or the kind of CPU."""
    import torch

    if device != "cpu":
        return torch.cuda.get_device_name(device)
    return f"one thread of a {platform.machine()} CPU ({os.cpu_count()} cores), no GPU"


def missing(setting: Setting, n_trials: int, shard: tuple[int, int]) -> Iterator[Chunk]:
    """Yield missing trials in chunks, cycling through the studies to spread the workers."""
    by_study = []
    for image_set in setting.image_sets:
        done = numbers_done(image_set, setting)
        open_ = [n for n in range(n_trials) if n not in done and n % shard[1] == shard[0]]
        chunks = [tuple(open_[i : i + CHUNK]) for i in range(0, len(open_), CHUNK)]
        by_study.append([(image_set, chunk) for chunk in chunks])
    for round_ in zip_longest(*by_study):
        yield from (chunk for chunk in round_ if chunk is not None)


Chunk = tuple[ImageSet, tuple[int, ...]]


def numbers_done(image_set: ImageSet, setting: Setting) -> set[int]:
    """Return the numbers of the trials that completed or failed."""
    states = (TrialState.COMPLETE, TrialState.FAIL)
    study = load_if_exists(image_set, setting)
    trials = study.get_trials(deepcopy=False, states=states) if study else []
    return {trial.user_attrs["number"] for trial in trials}


def load_if_exists(image_set: ImageSet, setting: Setting) -> optuna.Study | None:
    """Return the study; None if no worker has created it."""
    storage = open_journal(setting.journal)
    if image_set.study not in optuna.get_all_study_names(storage):
        return None
    return optuna.load_study(study_name=image_set.study, storage=storage)


def trials_of(image_set: ImageSet, setting: Setting) -> list[optuna.trial.FrozenTrial]:
    """Return the complete trials in the order of their numbers, without duplicates."""
    study = load_if_exists(image_set, setting)
    trials = complete(study) if study else []
    by_number = {trial.user_attrs["number"]: trial for trial in reversed(trials)}
    return [by_number[number] for number in sorted(by_number)]


def record_all(
    setting: Setting, n_trials: int, workers: int = 1, shard: tuple[int, int] = (0, 1)
) -> None:
    """Record missing trials; an error stops the recording, which can be resumed."""
    setting.journal.parent.mkdir(parents=True, exist_ok=True)
    chunks = list(missing(setting, n_trials, shard))
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    verbosity = (optuna.logging.get_verbosity(),)
    with (
        ProcessPoolExecutor(workers, context, optuna.logging.set_verbosity, verbosity) as pool,
        tqdm(total=sum(len(numbers) for _, numbers in chunks), unit="trial") as bar,
    ):
        started = {pool.submit(record, *chunk, setting): chunk for chunk in chunks}
        try:
            for future in as_completed(started):
                future.result()
                bar.update(len(started[future][1]))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # else the error appears only after days
            raise


def export(setting: Setting, shipped: Path) -> None:
    """Copy the complete trials into a new file, which then replaces the old file."""
    fresh = shipped.with_suffix(f".{os.getpid()}.part")
    fresh.unlink(missing_ok=True)
    storage = open_journal(fresh)
    for image_set in setting.image_sets:
        name = image_set.study
        study = optuna.load_study(study_name=name, storage=open_journal(setting.journal))
        copy = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        for attribute, value in study.user_attrs.items():
            copy.set_user_attr(attribute, value)
        copy.add_trials(trials_of(image_set, setting))
    fresh.replace(shipped)


def write_tables() -> None:
    """Update the table of each recorded file in README.md."""
    for recipe in RECIPES.values():
        if recipe.shipped.exists():
            text = README.read_text("utf-8")
            README.write_text(with_table(text, table(recipe.shipped), recipe.name), "utf-8")


def main() -> None:
    args = parse()
    recipe = RECIPES[args.recipe]
    setting = Setting(recipe, CACHE / f"{recipe.name}.jsonl", device=args.device)
    if not args.table:
        if recipe.needs_gpu and args.device == "cpu":
            raise SystemExit(f"{recipe.name} takes days on a CPU: use --device cuda.")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        n_trials = args.n_trials or recipe.n_trials
        record_all(setting, n_trials, args.workers, args.shard)
        if left := sum(len(numbers) for _, numbers in missing(setting, n_trials, (0, 1))):
            raise SystemExit(
                f"{left} trials of other shards are missing, so nothing is exported yet."
            )
        export(setting, recipe.shipped)
    write_tables()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Record the studies that are shipped.")
    add = parser.add_argument
    add("--recipe", choices=list(RECIPES), default=MEDICAL.name)
    add("--n-trials", type=int, help="trials of each study")
    add("--workers", type=int, default=2, help="processes on this machine")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    add("--shard", type=shard_of, default=(0, 1), help="I/N: every N-th trial, starting at I")
    add("--table", action="store_true", help="only update the tables of README.md")
    return parser.parse_args()


def shard_of(text: str) -> tuple[int, int]:
    """Parse a shard such as "0/2"."""
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 0 to N - 1.")
    return int(part), int(parts)


if __name__ == "__main__":
    main()

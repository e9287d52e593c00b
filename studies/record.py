"""medical image sets -> `medical.jsonl`: random searches, recorded for others to learn from.

    python studies/record.py --workers 2              # record what is missing, export, tabulate
    python studies/record.py --recipe medical-finetuned --device cuda:0 --shard 0/2
    python studies/record.py --table                  # only write README.md's tables anew

This is the only writer of `studies/*.jsonl`. Each study is a random search: no sampler's taste is
in the past, and no trial is pruned. Trial n of a study has the same configuration however often
the recording was interrupted and whoever records it, for its sampler is seeded by n. Workers of
one machine share one file; several GPUs, or machines with one `cache/` on a shared disk, take a
share each (`--shard`), and the last one to finish exports.
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
CHUNK = 10  # trials that a worker takes at a time

Attributes = dict[str, float | int | str]


@dataclass(frozen=True)
class Setting:
    """What all workers of a recording share."""

    recipe: Recipe
    journal: Path
    image_sets: tuple[ImageSet, ...] = IMAGE_SETS
    images: Path = field(default_factory=images_folder)
    features: Path = CACHE / "features"
    device: str = "cpu"


def record(image_set: ImageSet, numbers: tuple[int, ...], setting: Setting) -> None:
    """Run the trials of these numbers, each drawn by a sampler that its number seeds."""
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
        except MemoryError as error:  # it would be full again: the trial is left out
            study.tell(trial, state=TrialState.FAIL)
            print(f"{image_set.study}, trial {number}: {error}", flush=True)


@cache
def open_study(image_set: ImageSet, setting: Setting) -> Callable[[optuna.Trial], float]:
    """Make or describe the study; returns its objective. Once a process and study."""
    sys.path.insert(0, str(ROOT / "examples"))
    import torch

    from image_data import load_images
    from image_data import meta_features
    from timm_objective import Space
    from timm_objective import make_objective

    if setting.device == "cpu":
        torch.set_num_threads(1)  # one process a core uses the cores better than threads do
    data = load_images(setting.images / image_set.file, limit=setting.recipe.limit, seed=SEED)
    study = optuna.create_study(
        storage=open_journal(setting.journal),
        study_name=image_set.study,
        direction="maximize",
        load_if_exists=True,
    )
    describe(study, meta_features(data, image_set.modality), keep=False)
    made = provenance(image_set, setting, len(data.labels))
    describe(study, made, keep=True)  # of the first day
    return make_objective(
        data,
        Space(**setting.recipe.space),
        cache_dir=setting.features,
        device=setting.device,
        seed=SEED,
    )


def describe(study: optuna.Study, attributes: Attributes, *, keep: bool) -> None:
    """Set attributes that differ; `keep` leaves alone what was said before."""
    said = study.user_attrs
    for name, value in attributes.items():
        if name not in said or (not keep and said[name] != value):
            study.set_user_attr(name, value)


def provenance(image_set: ImageSet, setting: Setting, n_images: int) -> Attributes:
    """What numbers were made with."""
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
    """Name the card, or the kind of processor."""
    import torch

    if device != "cpu":
        return torch.cuda.get_device_name(device)
    return f"one thread of a {platform.machine()} CPU ({os.cpu_count()} cores), no GPU"


def missing(setting: Setting, n_trials: int, shard: tuple[int, int]) -> Iterator[Chunk]:
    """Yield what is to be run, a chunk of every study in turn: workers rarely meet on one."""
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
    """Return which trials are complete, or failed for good."""
    states = (TrialState.COMPLETE, TrialState.FAIL)
    study = found_study(image_set, setting)
    trials = study.get_trials(deepcopy=False, states=states) if study else []
    return {trial.user_attrs["number"] for trial in trials}


def found_study(image_set: ImageSet, setting: Setting) -> optuna.Study | None:
    """Return the study, where a worker has begun it."""
    storage = open_journal(setting.journal)
    if image_set.study not in optuna.get_all_study_names(storage):
        return None
    return optuna.load_study(study_name=image_set.study, storage=storage)


def trials_of(image_set: ImageSet, setting: Setting) -> list[optuna.trial.FrozenTrial]:
    """Return the complete trials, by the numbers that seeded them; none twice."""
    study = found_study(image_set, setting)
    trials = complete(study) if study else []
    found = {trial.user_attrs["number"]: trial for trial in reversed(trials)}
    return [found[number] for number in sorted(found)]


def record_all(
    setting: Setting, n_trials: int, workers: int = 1, shard: tuple[int, int] = (0, 1)
) -> None:
    """Record what is missing; a broken trial ends the recording, which can then be resumed."""
    setting.journal.parent.mkdir(parents=True, exist_ok=True)
    chunks = list(missing(setting, n_trials, shard))
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    quiet = (optuna.logging.get_verbosity(),)  # as this process is
    with (
        ProcessPoolExecutor(workers, context, optuna.logging.set_verbosity, quiet) as pool,
        tqdm(total=sum(len(numbers) for _, numbers in chunks), unit="trial") as bar,
    ):
        started = {pool.submit(record, *chunk, setting): chunk for chunk in chunks}
        try:
            for future in as_completed(started):
                future.result()
                bar.update(len(started[future][1]))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # else days would pass before it is told
            raise


def export(setting: Setting, shipped: Path) -> None:
    """Copy the complete trials, one line each, into a fresh file that replaces the old one."""
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
    """Write README.md's table of every file that is there."""
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
            raise SystemExit(f"{recipe.name} takes days on a processor. Name a GPU: --device cuda")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        n_trials = args.n_trials or recipe.n_trials
        record_all(setting, n_trials, args.workers, args.shard)
        if left := sum(len(numbers) for _, numbers in missing(setting, n_trials, (0, 1))):
            raise SystemExit(
                f"{left} trials of other shares are missing: nothing is exported yet."
            )
        export(setting, recipe.shipped)
    write_tables()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Record the studies that are shipped.")
    add = parser.add_argument
    add("--recipe", choices=list(RECIPES), default=MEDICAL.name)
    add("--n-trials", type=int, help="of each study")
    add("--workers", type=int, default=2, help="processes on this machine, on one file")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    add("--shard", type=shard_of, default=(0, 1), help="I/N: only every N-th trial, from I on")
    add("--table", action="store_true", help="only write README.md's tables anew")
    return parser.parse_args()


def shard_of(text: str) -> tuple[int, int]:
    """Read "0/2"."""
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 0 to N - 1.")
    return int(part), int(parts)


if __name__ == "__main__":
    main()

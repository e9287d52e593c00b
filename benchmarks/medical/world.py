"""what the trainings of the medical benchmark share: sets, studies, images under a split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from functools import lru_cache
from pathlib import Path

import optuna

from benchmarks.families.family import seed_of
from benchmarks.scripts import ROOT
from image_data import ImageData
from image_data import load_images
from image_data import meta_features
from recipes import ImageSet
from recipes import Recipe
from shipped_table import open_journal
from timm_objective import Space
from timm_objective import make_objective


@dataclass(frozen=True)
class Bench:
    """What all workers share.

    Attributes:
        image_sets: The sets.
        images: Their folder.
        recipe: How they are trained.
        past: The studies' file.
        features: Where frozen networks' features are kept.
        llm: The model that ours asks; None for the embedded one.
    """

    image_sets: tuple[ImageSet, ...]
    images: Path
    recipe: Recipe
    past: Path
    features: Path = ROOT / "cache" / "features"
    llm: str | None = None

    def named(self, task: str) -> ImageSet:
        """Return a set by the name of its study."""
        return next(one for one in self.image_sets if one.study == task)

    def others(self, task: str) -> list[str]:
        """Return the names of the studies that may be the past."""
        return [one.study for one in self.image_sets if one.study != task]


@dataclass(frozen=True)
class Job:
    """One search, or one pick and its training.

    Attributes:
        task: The set that is held out.
        seed: Which repetition: split, weights, batches, sampler.
        method: Who chooses.
        n_trials: How many trainings.
    """

    task: str
    seed: int
    method: str
    n_trials: int = 1


@dataclass(frozen=True)
class Trained:
    """One training.

    Attributes:
        task: The set that is held out.
        seed: Which repetition.
        method: Who chose the configuration.
        trial: Which of the method's trainings, from 1.
        value: Balanced accuracy on the validation images, which is what is searched for.
        test_accuracy: On the test images.
        test_balanced_accuracy: On the test images.
        test_macro_auc: On the test images.
        seconds: Of the training.
        response: Seconds until the configuration was there, the past read and the model asked.
        source: Whose configuration it was, in the library's own words; empty for others.
        params: The configuration, as JSON; of searches the network and image size alone.
        code: The library's code.
    """

    task: str
    seed: int
    method: str
    trial: int
    value: float
    test_accuracy: float
    test_balanced_accuracy: float
    test_macro_auc: float
    seconds: float
    response: float
    source: str
    params: str
    code: str


def seed_of_job(job: Job) -> int:
    """Return the seed of a job's sampler."""
    return seed_of("medical", job.task, job.seed) % 2**31


@cache
def study_of(bench: Bench, task: str) -> optuna.Study:
    """Open a set's recorded study."""
    return optuna.load_study(study_name=task, storage=open_journal(bench.past))


@lru_cache(maxsize=2)
def data_of(bench: Bench, task: str, seed: int) -> ImageData:
    """The images that were recorded, under the repetition's split; 0 is that of the recording."""
    path = bench.images / bench.named(task).file
    data = load_images(path, limit=bench.recipe.limit, seed=0)
    return data if seed == 0 else data.split_anew(seed)


def described(bench: Bench, task: str, seed: int) -> dict[str, float | int | str]:
    """Return what is known of a held-out set: its meta-features."""
    return meta_features(data_of(bench, task, seed), bench.named(task).modality)


@lru_cache(maxsize=2)
def objective_of(bench: Bench, task: str, seed: int) -> Callable[[optuna.Trial], float]:
    """Return what a trial on a set does under the repetition's split."""
    return make_objective(
        data_of(bench, task, seed),
        Space(**bench.recipe.space),
        cache_dir=bench.features,
        device="cpu",
        seed=seed,
    )

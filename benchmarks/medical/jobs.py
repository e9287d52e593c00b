"""Define the jobs of the medical benchmark, and load the sets, studies and splits they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from functools import lru_cache
from pathlib import Path

import optuna

from benchmarks.paths import CACHE
from benchmarks.tasks.family import seed_of
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
    """Settings that all jobs share.

    Attributes:
        image_sets: The image sets.
        images: Folder of the images.
        recipe: Search space and training of the sets.
        past: Journal file of the past studies.
        features: Folder that caches the features of frozen networks.
        llm: The language model to ask; ``None`` for the embedded model.
    """

    image_sets: tuple[ImageSet, ...]
    images: Path
    recipe: Recipe
    past: Path
    features: Path = CACHE / "features"
    llm: str | None = None

    def named(self, task: str) -> ImageSet:
        """Return the image set of a study."""
        return next(image_set for image_set in self.image_sets if image_set.study == task)

    def others(self, task: str) -> list[str]:
        """Return the names of the other studies, which are the past."""
        return [image_set.study for image_set in self.image_sets if image_set.study != task]


@dataclass(frozen=True)
class Job:
    """A search, or a single pick and its training.

    Attributes:
        task: The held-out set.
        seed: The repetition; seeds split, weights, batches and sampler.
        method: Name of the method.
        n_trials: Number of trainings.
    """

    task: str
    seed: int
    method: str
    n_trials: int = 1


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        task: The held-out set.
        seed: The repetition.
        method: Name of the method.
        trial: Number of the training in its search, from 1.
        value: Balanced accuracy on the validation images, the objective of the search.
        test_accuracy: Accuracy on the test images.
        test_balanced_accuracy: Balanced accuracy on the test images.
        test_macro_auc: Macro AUC on the test images.
        seconds: Duration of the training.
        response: Seconds until the configuration was known, past and model included.
        source: The record's `source` of the configuration; empty for other methods.
        params: The configuration as JSON; of searches, network and image size only.
        code: Hash of the library's code.
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
    """Return the recorded study of a set."""
    return optuna.load_study(study_name=task, storage=open_journal(bench.past))


@lru_cache(maxsize=2)
def data_of(bench: Bench, task: str, seed: int) -> ImageData:
    """Return the images of the recorded study with the repetition's split; 0 is the recorded."""
    path = bench.images / bench.named(task).file
    data = load_images(path, limit=bench.recipe.limit, seed=0)
    return data if seed == 0 else data.split_anew(seed)


def described(bench: Bench, task: str, seed: int) -> dict[str, float | int | str]:
    """Return the meta-features of a held-out set."""
    return meta_features(data_of(bench, task, seed), bench.named(task).modality)


@lru_cache(maxsize=2)
def objective_of(bench: Bench, task: str, seed: int) -> Callable[[optuna.Trial], float]:
    """Return the objective of a set with the repetition's split."""
    return make_objective(
        data_of(bench, task, seed),
        Space(**bench.recipe.space),
        cache_dir=bench.features,
        device="cpu",
        seed=seed,
    )

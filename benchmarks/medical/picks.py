"""Pick a configuration for a held-out set from the past, by simple baseline rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.medical.jobs import Bench
from benchmarks.medical.jobs import Job
from benchmarks.medical.jobs import Training
from benchmarks.medical.jobs import described
from benchmarks.medical.jobs import study_of
from benchmarks.tasks.family import SkippedError
from optuna_metallmix.history import distances
from optuna_metallmix.history import scalar_features
from shipped_table import complete
from timm_objective import Space


Config = dict[str, Any]
N_BEST = 2
"""Number of configurations of each study that compete for the best mean rank."""
DEFAULT: Config = {
    "network": "tf_efficientnet_lite0",
    "image_size": 128,
    "pooling": "avg",
    "head": "linear",
    "dropout": 0.0,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "weight_decay": 1e-2,
    "batch_size": 32,
    "label_smoothing": 0.0,
    "class_weight": "none",
    "epochs": 10,
}
"""Start without any knowledge: the first network with torch's AdamW defaults."""


def pick(bench: Bench, job: Job) -> Config:
    """Return the configuration that the job's method picks.

    Raises:
        SkippedError: A training that the method needs is missing.
    """
    if job.method == "default":
        return default(Space(**bench.recipe.space))
    if job.method == "nearest":
        return best_configs(bench, _nearest(bench, job), 1)[0]
    if job.method == "best-mean-rank":
        return best_mean_rank(bench, job.task)
    study, _, place = job.method.partition("#")  # a candidate for the best mean rank
    return best_configs(bench, study, N_BEST)[int(place)]


def default(space: Space) -> Config:
    """Return the default, clipped to the space."""
    side, epochs = min(128, space.max_image_size), min(10, space.max_epochs)
    return DEFAULT | {"image_size": side, "epochs": epochs}


def _nearest(bench: Bench, job: Job) -> str:
    others = bench.others(job.task)
    attributes = [scalar_features(study_of(bench, name).user_attrs) for name in others]
    own = described(bench, job.task, job.seed)
    common = [{k: v for k, v in features.items() if k in own} for features in attributes]
    to_set = distances(own, common)
    return min(zip(to_set, others, strict=True), key=lambda pair: (pair[0] is None, pair[0]))[1]


def best_configs(bench: Bench, task: str, n: int) -> list[Config]:
    """Return the ``n`` best configurations of a study, best first."""
    trials = sorted(complete(study_of(bench, task)), key=lambda trial: -trial.values[0])
    return [trial.params for trial in trials[:n]]


def candidates(bench: Bench) -> list[str]:
    """Return the method names of the candidates for the best mean rank."""
    return [f"{s.study}#{place}" for s in bench.image_sets for place in range(N_BEST)]


def best_mean_rank(bench: Bench, task: str) -> Config:
    """Return the candidate of the other studies with the best mean rank on the other sets.

    This uses more information than ours: every candidate was trained on every set for it.

    Raises:
        SkippedError: Some candidates are not trained on all sets; see `CROSSED`.
    """
    ranks: dict[str, int] = {}
    names = [name for name in candidates(bench) if not name.startswith(f"{task}#")]
    for other in bench.others(task):
        values = {name: CROSSED.get((name, other)) for name in names}
        if None in values.values():
            raise SkippedError("the candidates were not trained on all sets")
        for rank, name in enumerate(sorted(names, key=lambda name: -(values[name] or 0.0))):
            ranks[name] = ranks.get(name, 0) + rank
    study, _, place = min(names, key=ranks.__getitem__).partition("#")
    return best_configs(bench, study, N_BEST)[int(place)]


CROSSED: dict[tuple[str, str], float] = {}
"""Maps (candidate, set) to the value there; each worker fills it from earlier trainings."""


def crossed(rows: Sequence[Training], bench: Bench) -> dict[tuple[str, str], float]:
    """Return the values of the candidates for the best mean rank, their own sets included."""
    values = {(row.method, row.task): row.value for row in rows if "#" in row.method}
    for task in (image_set.study for image_set in bench.image_sets):
        own = sorted((trial.values[0] for trial in complete(study_of(bench, task))), reverse=True)
        values |= {(f"{task}#{place}", task): own[place] for place in range(N_BEST)}
    return values

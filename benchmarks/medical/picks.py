"""the past and a held-out set -> one configuration, by simpler rules than the library's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.families.family import SkippedError
from benchmarks.medical.world import Bench
from benchmarks.medical.world import Job
from benchmarks.medical.world import Trained
from benchmarks.medical.world import described
from benchmarks.medical.world import study_of
from optuna_metallmix.history import distances
from optuna_metallmix.history import scalar_features
from shipped_table import complete
from timm_objective import Space


Config = dict[str, Any]
N_BEST = 2
"""Configurations of each study that compete for the best mean rank."""
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
"""What a person who knows nothing starts from: the first network with torch's AdamW defaults."""


def pick(bench: Bench, job: Job) -> Config:
    """Pick as the job's method does.

    Raises:
        SkippedError: What it needs was not trained.
    """
    if job.method == "default":
        return default(Space(**bench.recipe.space))
    if job.method == "nearest":
        return best_configs(bench, _nearest(bench, job), 1)[0]
    if job.method == "best-mean-rank":
        return best_mean_rank(bench, job.task)
    study, _, place = job.method.partition("#")  # one of the candidates for the best mean rank
    return best_configs(bench, study, N_BEST)[int(place)]


def default(space: Space) -> Config:
    """Return the default, no larger than the space."""
    side, epochs = min(128, space.max_image_size), min(10, space.max_epochs)
    return DEFAULT | {"image_size": side, "epochs": epochs}


def _nearest(bench: Bench, job: Job) -> str:
    others = bench.others(job.task)
    attributes = [scalar_features(study_of(bench, name).user_attrs) for name in others]
    own = described(bench, job.task, job.seed)
    known = [{k: v for k, v in one.items() if k in own} for one in attributes]
    away = distances(own, known)
    return min(zip(away, others, strict=True), key=lambda pair: (pair[0] is None, pair[0]))[1]


def best_configs(bench: Bench, task: str, n: int) -> list[Config]:
    """Return a study's best configurations."""
    trials = sorted(complete(study_of(bench, task)), key=lambda one: -one.values[0])
    return [trial.params for trial in trials[:n]]


def candidates(bench: Bench) -> list[str]:
    """Return the methods that stand for the candidates for the best mean rank."""
    return [f"{one.study}#{place}" for one in bench.image_sets for place in range(N_BEST)]


def best_mean_rank(bench: Bench, task: str) -> Config:
    """Return which of the other studies' bests has the best mean rank on the other sets.

    It is told more than ours: each of these was trained on every other set, for this alone.

    Raises:
        SkippedError: They were not trained yet; see `CROSSED`.
    """
    ranks: dict[str, int] = {}
    names = [name for name in candidates(bench) if not name.startswith(f"{task}#")]
    for other in bench.others(task):
        values = {name: CROSSED.get((name, other)) for name in names}
        if None in values.values():
            raise SkippedError("the candidates were not trained on all sets")
        for rank, name in enumerate(sorted(names, key=lambda one: -(values[one] or 0.0))):
            ranks[name] = ranks.get(name, 0) + rank
    study, _, place = min(names, key=ranks.__getitem__).partition("#")
    return best_configs(bench, study, N_BEST)[int(place)]


CROSSED: dict[tuple[str, str], float] = {}
"""(candidate, set) -> its value there; filled in each worker from what is trained already."""


def crossed(rows: Sequence[Trained], bench: Bench) -> dict[tuple[str, str], float]:
    """Collect what the candidates for the best mean rank are worth, on their own sets, too."""
    found = {(row.method, row.task): row.value for row in rows if "#" in row.method}
    for task in (one.study for one in bench.image_sets):
        trials = sorted((one.values[0] for one in complete(study_of(bench, task))), reverse=True)
        found |= {(f"{task}#{place}", task): trials[place] for place in range(N_BEST)}
    return found

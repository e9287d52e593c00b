"""what a frozen network's features take: part of a training on a set that is new."""

from __future__ import annotations

import json
import time
from functools import cache

import numpy as np
import pandas as pd
import torch

from benchmarks._medical_world import Bench
from benchmarks._medical_world import study_of
from benchmarks._past import Floats
from timm_features import Network
from timm_objective import Space


N_TIMED = 64
"""Images that a network's features are timed on."""


def of_trainings(table: pd.DataFrame, bench: Bench) -> Floats:
    """Return, for each training, the seconds of the features it stands on: 0 from scratch."""
    return np.array(
        [
            _of_one(bench, task, json.loads(params))
            for task, params in zip(table["task"], table["params"], strict=True)
        ],
        dtype=np.float64,
    )


def of_all(bench: Bench) -> float:
    """Return the seconds of all frozen networks' features, at all sizes, of all sets."""
    space = Space(**bench.recipe.space)
    sides = range(64, space.max_image_size + 1, 32)
    each = sum(_seconds_an_image(name, side) for name in space.networks for side in sides)
    return each * sum(_n_images(bench, one.study) for one in bench.image_sets)


def _of_one(bench: Bench, task: str, params: dict[str, object]) -> float:
    if "image_size" not in params:
        return 0.0
    each = _seconds_an_image(str(params["network"]), int(str(params["image_size"])))
    return each * _n_images(bench, task)


def _n_images(bench: Bench, task: str) -> int:
    return int(study_of(bench, task).user_attrs["n_images"])


@cache
@torch.inference_mode()
def _seconds_an_image(name: str, side: int) -> float:
    """On one thread; the best of three, for a busy machine only ever adds."""
    torch.set_num_threads(1)
    network = Network(name, side=side).eval()
    images = torch.zeros(N_TIMED, 3, side, side, dtype=torch.uint8)
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        network.maps(images)
        taken.append(time.perf_counter() - start)
    return min(taken) / N_TIMED

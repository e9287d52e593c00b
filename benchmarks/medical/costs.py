"""Estimate the cost of the past and of the features of frozen networks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import cache

import numpy as np
import pandas as pd
import torch

from benchmarks.medical.jobs import Bench
from benchmarks.medical.jobs import study_of
from benchmarks.medical.numbers import Chosen
from benchmarks.report.table import section
from benchmarks.tasks.past import Floats
from shipped_table import complete
from timm_features import Network
from timm_objective import Space


N_TIMED = 64
"""Number of images used to time a network."""


def seconds_of_trainings(table: pd.DataFrame, bench: Bench) -> Floats:
    """Return the seconds of the features that each training uses; 0 for training from scratch."""
    return np.array(
        [
            _feature_seconds(bench, task, json.loads(params))
            for task, params in zip(table["task"], table["params"], strict=True)
        ],
        dtype=np.float64,
    )


def seconds_of_all(bench: Bench) -> float:
    """Return the seconds of the features of all frozen networks at all sizes for all sets."""
    space = Space(**bench.recipe.space)
    sides = range(64, space.max_image_size + 1, 32)
    per_image = sum(_seconds_per_image(name, side) for name in space.networks for side in sides)
    return per_image * sum(_n_images(bench, s.study) for s in bench.image_sets)


def _feature_seconds(bench: Bench, task: str, params: dict[str, object]) -> float:
    if "image_size" not in params:
        return 0.0
    per_image = _seconds_per_image(str(params["network"]), int(str(params["image_size"])))
    return per_image * _n_images(bench, task)


def _n_images(bench: Bench, task: str) -> int:
    return int(study_of(bench, task).user_attrs["n_images"])


@cache
@torch.inference_mode()
def _seconds_per_image(name: str, side: int) -> float:
    """Time on one thread; the minimum of three runs, since other load only adds."""
    torch.set_num_threads(1)
    network = Network(name, side=side).eval()
    images = torch.zeros(N_TIMED, 3, side, side, dtype=torch.uint8)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        network.maps(images)
        seconds.append(time.perf_counter() - start)
    return min(seconds) / N_TIMED


def costs(by_arm: Chosen, bench: Bench) -> Iterator[str]:
    """Yield the page's section."""
    studies = [study_of(bench, image_set.study) for image_set in bench.image_sets]
    n_trials = sum(len(complete(study)) for study in studies)
    seconds = sum(trial.user_attrs["seconds"] for study in studies for trial in complete(study))
    past = seconds * (len(studies) - 1) / len(studies)
    search = max((arm for arm in by_arm if arm.method == "tpe"), key=lambda arm: arm.n_trials)
    ours = [arm for arm in by_arm if arm.method == "meta-learner"]
    waits = {arm: float(by_arm[arm]["waited"].mean()) for arm in (search, *ours)}
    yield from section("Cost of the past", "Not part of the paper's response times.")
    yield (
        f"- Recorded: {n_trials} trainings in {seconds:,.0f} s on one core, of which "
        f"{past:,.0f} s are the past of a held-out set, and about "
        f"{seconds_of_all(bench):,.0f} s for the features of all frozen networks on all sets."
    )
    for arm in ours:
        saved = waits[search] - waits[arm]
        yield (
            f"- {search.label} takes {waits[search]:,.0f} s and {arm.label.replace('*', '')} "
            f"{waits[arm]:,.1f} s (mean, features excluded from both): replacing the search by "
            f"the pick pays for the past after {past / saved:.0f} new tasks."
        )
    yield "- Past studies that were run anyway, as in an existing storage, cost nothing."

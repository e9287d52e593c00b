"""what a frozen network's features take: part of a training on a set that is new."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import cache

import numpy as np
import pandas as pd
import torch

from benchmarks.families.past import Floats
from benchmarks.medical.numbers import Chosen
from benchmarks.medical.world import Bench
from benchmarks.medical.world import study_of
from benchmarks.report.table import section
from shipped_table import complete
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


def costs(found: Chosen, bench: Bench) -> Iterator[str]:
    """Yield the page's section."""
    studies = [study_of(bench, one.study) for one in bench.image_sets]
    n_trials = sum(len(complete(one)) for one in studies)
    seconds = sum(one.user_attrs["seconds"] for study in studies for one in complete(study))
    past = seconds * (len(studies) - 1) / len(studies)
    search = max((arm for arm in found if arm.method == "tpe"), key=lambda arm: arm.n_trials)
    ours = [arm for arm in found if arm.method == "meta-learner"]
    waits = {arm: float(found[arm]["waited"].mean()) for arm in (search, *ours)}
    yield from section("What the past cost", "Which the paper leaves out of its response times.")
    yield (
        f"- Recorded: {n_trials} trainings in {seconds:,.0f} s of one core, {past:,.0f} s of them "
        "the past of a held-out set; and about "
        f"{of_all(bench):,.0f} s for all frozen networks' features of all sets."
    )
    for arm in ours:
        saved = waits[search] - waits[arm]
        yield (
            f"- {search.label} takes {waits[search]:,.0f} s and {arm.label.replace('*', '')} "
            f"{waits[arm]:,.1f} s (mean, features left out on both sides): whoever takes the one "
            f"for the other has paid for the past after {past / saved:.0f} new tasks."
        )
    yield "- Where the past is what was trained anyway, as in one's own storage, it costs nothing."

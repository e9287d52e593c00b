"""what recording the past took, and after how many tasks that is paid for."""

from __future__ import annotations

import time
from collections.abc import Iterator

import optuna
import pandas as pd
import torch

from benchmarks._medical_world import Bench
from benchmarks._table import section
from shipped_table import complete
from shipped_table import open_journal
from timm_features import Network
from timm_objective import Space


N_TIMED = 64
"""Images that a network's features are timed on."""


def costs(table: pd.DataFrame, bench: Bench) -> Iterator[str]:
    """Yield the page's section."""
    storage = open_journal(bench.past)
    studies = [
        optuna.load_study(study_name=one.study, storage=storage) for one in bench.image_sets
    ]
    n_trials = sum(len(complete(one)) for one in studies)
    seconds = sum(one.user_attrs["seconds"] for study in studies for one in complete(study))
    images = sum(int(study.user_attrs["n_images"]) for study in studies)
    features = images * _seconds_an_image(Space(**bench.recipe.space))
    share = (len(studies) - 1) / len(studies)
    past = share * (seconds + features)
    last = table[table["method"] == "tpe"]
    groups = last.groupby(["task", "seed"])
    search = float((groups["seconds"].sum() + groups["response"].sum()).mean())
    yield from section("What the past cost", "Which the paper leaves out of its response times.")
    yield (
        f"- Recorded: {n_trials} trainings in {seconds:,.0f} s of one core, and about "
        f"{features:,.0f} s for the frozen networks' features of {images:,} images; of that "
        f"{share:.0%}, {past:,.0f} s, is the past of a held-out set."
    )
    yield (
        f"- A search of {int(last['trial'].max())} trials takes {search:,.0f} s here (mean over "
        "sets and repetitions, features given). Replacing searches by one training each, the past "
        f"is paid for after {past / search:.1f} new tasks. Where the past is what was trained "
        "anyway, it costs nothing."
    )


@torch.inference_mode()
def _seconds_an_image(space: Space) -> float:
    """All frozen networks at all sizes, on one thread."""
    torch.set_num_threads(1)
    seconds = 0.0
    for name in space.networks:
        network = Network(name).eval()
        for side in range(64, space.max_image_size + 1, 32):
            images = torch.zeros(N_TIMED, 3, side, side, dtype=torch.uint8)
            network.maps(images)  # the first time, memory is still being fetched
            start = time.perf_counter()
            network.maps(images)
            seconds += (time.perf_counter() - start) / N_TIMED
    return seconds

"""Rank Quick-Tune's recorded fine-tuning runs on a held-out image set.

New configurations cannot be trained, so methods rank the runs recorded on the held-out set,
aborted runs included, and their first five picks are looked up. Regret is (best - picked) /
(best - median) of that set's accuracies.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.methods.bars import comparison
from benchmarks.methods.bars import regrets
from benchmarks.methods.ranking import N_PICKS
from benchmarks.methods.ranking import NAMES
from benchmarks.methods.ranking import USUAL
from benchmarks.methods.ranking import RunRanking
from benchmarks.paths import data_folder
from benchmarks.tasks.family import Bar
from benchmarks.tasks.family import Family
from benchmarks.tasks.family import Options
from benchmarks.tasks.family import SkippedError
from benchmarks.tasks.past import Floats
from benchmarks.tasks.replay import QUICKTUNE
from benchmarks.tasks.replay import quicktune


BARS = (
    *regrets({1: 0.10, 5: 0.025}),
    Bar("best of five diverse at most 0.025", "ours-diverse", 5, 0.025),
)
COMPARISONS = tuple(comparison(past) for past in ("", "random-10", "random-3", "random-1"))
QUICK = ("random", "past-bests", "ours-no-llm", "past-bests@random-1", "ours-no-llm@random-1")


def family(options: Options) -> Family:
    """Return the family; with a third of the past in quick mode."""
    path = data_folder() / QUICKTUNE
    if not path.is_file():
        raise SkippedError(f"no {path}. Set METALLMIX_DATA.")
    replays = {replay.name: replay for replay in quicktune(path.parent)}
    ranking = RunRanking(replays, _accuracies(path), 60 if options.quick else None)
    return Family(
        "quicktune",
        f"Quick-Tune, {len(replays)} image sets; the past is all recorded runs on the other "
        f"{len(replays) - 1}, the pool the held-out set's own.",
        "(best - picked) / (best - median) of the held-out set's runs",
        tuple(replays),
        NAMES,
        QUICK if options.quick else USUAL,
        ranking.run,
        N_PICKS,
        1 if options.quick else 5,
        BARS,
        COMPARISONS,
    )


def _accuracies(path: Path) -> dict[str, Floats]:
    frame = pd.read_parquet(path, columns=["dataset", "best_top1"])
    return {
        str(name): rows["best_top1"].to_numpy(dtype=float)
        for name, rows in frame.groupby("dataset")
    }

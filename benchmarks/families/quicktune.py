"""Quick-Tune's recorded fine-tuning runs -> which of a held-out set's own runs comes first.

Nothing can be trained anew, so methods rank the runs that were recorded on the held-out set
(aborted ones too) and their first five picks are looked up. Regret is (best - picked) /
(best - median) of that set's accuracies.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from benchmarks.families.family import Bar
from benchmarks.families.family import Family
from benchmarks.families.family import Options
from benchmarks.families.family import SkippedError
from benchmarks.families.past import Floats
from benchmarks.families.picks import METHODS
from benchmarks.families.picks import N_PICKS
from benchmarks.families.picks import Picks
from benchmarks.families.replay import QUICKTUNE
from benchmarks.families.replay import data_folder
from benchmarks.families.replay import quicktune


BARS = (
    Bar("first pick at most 0.10", "ours-no-llm", 1, 0.10),
    Bar("best of the first five at most 0.025", "ours-no-llm", 5, 0.025),
    Bar("best of five diverse at most 0.025", "ours-diverse", 5, 0.025),
)
QUICK = ("random", "nearest", "ours-no-llm", "ours-diverse")


def family(options: Options) -> Family:
    """Return the family; quick, with a third of the past."""
    path = data_folder() / QUICKTUNE
    if not path.is_file():
        raise SkippedError(f"there is no {QUICKTUNE}: set METALLMIX_DATA")
    replays = {one.name: one for one in quicktune(path.parent)}
    picks = Picks(replays, _accuracies(path), 60 if options.quick else None)
    return Family(
        "quicktune",
        f"Quick-Tune, {len(replays)} image sets; the past is all recorded runs on the other "
        f"{len(replays) - 1}, the pool the held-out set's own.",
        "(best - picked) / (best - median) of the held-out set's runs",
        tuple(replays),
        {name: text for name, (_, text) in METHODS.items()},
        QUICK if options.quick else tuple(METHODS),
        picks.run,
        N_PICKS,
        1 if options.quick else 5,
        BARS,
    )


def _accuracies(path: Path) -> dict[str, Floats]:
    frame = pd.read_parquet(path, columns=["dataset", "best_top1"])
    return {
        str(name): one["best_top1"].to_numpy(dtype=float) for name, one in frame.groupby("dataset")
    }

"""how good could any configuration of the past have been? What a first pick can reach at all."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from benchmarks.medical.numbers import Arm
from benchmarks.medical.numbers import chosen
from benchmarks.report.table import header
from benchmarks.report.table import line
from benchmarks.report.table import section


def hindsight(table: pd.DataFrame) -> Iterator[str]:
    """Yield the page's section: repetition 0, in which the other studies' bests were trained."""
    first = table[table["seed"] == 0]
    crossed = first[first["method"].str.contains("#")]
    most = int(first.loc[first["method"] == "tpe", "trial"].max())
    ours = chosen(first, Arm("meta-learner", 1, ""))["value"].droplevel("seed")
    search = chosen(first, Arm("tpe", most, ""))["value"].droplevel("seed")
    yield from section(
        "What the past could have told",
        "Validation balanced accuracy, percent, repetition 0: what is searched for, so what a "
        "search is best at. The other studies' two best configurations each were trained on the "
        "held-out set; the best of them is known by hindsight alone. Last: how often the whole "
        "search ended at a network from random weights, over all repetitions.",
    )
    scratch = ~chosen(table, Arm("tpe", most, ""))["params"].str.contains("image_size")
    n_scratch = scratch.groupby(level="task").sum()
    yield from header(
        "",
        "ours, no model",
        "better ones among them",
        "their median",
        "their best",
        "whose",
        f"TPE {most}",
        f"TPE {most}'s choices from scratch",
    )
    for task, group in crossed.groupby("task"):
        best = group.iloc[int(group["value"].to_numpy().argmax())]
        better = int((group["value"] > ours[task]).sum())
        cells = (ours[task], group["value"].median(), best["value"], search[task])
        own, middle, top, tpe = (f"{100 * float(one):.1f}" for one in cells)
        whose = best["method"].partition("#")[0]
        kinds = f"{n_scratch[task]} of {table['seed'].nunique()}"
        yield line(task, own, f"{better} of {len(group)}", middle, top, whose, tpe, kinds)

"""Plot test accuracy after n trainings, a panel for each set, readable without colour."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.medical.jobs import Bench
from benchmarks.medical.numbers import Arm
from benchmarks.medical.numbers import chosen
from benchmarks.report.plot import COLOURS


SEARCHES = {
    "tpe": ("TPE", "o", "-"),
    "random": ("random", "s", "--"),
    "meta-learner": ("ours, no model", "*", "-"),
}
PICKS = {
    "default": ("plain default", "^"),
    "nearest": ("nearest study's best", "D"),
    "best-mean-rank": ("best mean rank", "v"),
}
STEPS = (1, 2, 5, 10, 25, 50)


def plot(table: pd.DataFrame, bench: Bench, path: Path) -> Path:
    """Plot every set and return ``path``; bands span the worst to the best repetition."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    tasks = [image_set.study for image_set in bench.image_sets]
    rows = math.ceil(len(tasks) / 4)
    figure, panels = pyplot.subplots(
        rows,
        min(len(tasks), 4),
        figsize=(13, 3.2 * rows + 0.6),
        squeeze=False,
        layout="constrained",
    )
    for panel, task in zip(panels.flat, tasks, strict=False):
        _panel(panel, table[table["task"] == task])
        panel.set_title(task, fontsize=10)
    for panel in panels[-1]:
        panel.set_xlabel("trainings")
    for panel in panels[:, 0]:
        panel.set_ylabel("test accuracy, %")
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _panel(panel: Any, table: pd.DataFrame) -> None:
    for i, (method, (label, marker, style)) in enumerate(SEARCHES.items()):
        own = table[table["method"] == method]
        steps = [n for n in STEPS if n <= own["trial"].max()] if len(own) else []
        accuracies = [100 * chosen(table, Arm(method, n, label))["test_accuracy"] for n in steps]
        if not accuracies:
            continue
        means = [float(accuracy.mean()) for accuracy in accuracies]
        panel.plot(steps, means, marker=marker, linestyle=style, color=COLOURS[i], label=label)
        low, high = [a.min() for a in accuracies], [a.max() for a in accuracies]
        panel.fill_between(steps, low, high, color=COLOURS[i], alpha=0.12)
    for i, (method, (label, marker)) in enumerate(PICKS.items(), len(SEARCHES)):
        own = table[table["method"] == method]
        if len(own):
            mean = 100 * float(np.mean(own["test_accuracy"]))
            panel.plot([1], [mean], marker=marker, linestyle="", color=COLOURS[i], label=label)
    panel.set_xscale("log")
    panel.set_xticks(STEPS, [str(n) for n in STEPS])
    panel.minorticks_off()
    panel.grid(alpha=0.3)

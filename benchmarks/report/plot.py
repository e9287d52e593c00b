"""Plot mean regret over trials with bootstrap bands, readable without colour."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.report.numbers import frame
from benchmarks.report.numbers import interval
from benchmarks.report.rows import Row
from benchmarks.tasks.family import Family


# Okabe and Ito's palette for colour-blind readers.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
MARKERS = "osD^vPX*"
STYLES = ("-", "--", ":")


def plot(family: Family, rows: Sequence[Row], path: Path) -> Path:
    """Plot the mean regret of the usual methods with the usual past, and return ``path``."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    table = frame(rows, family.clip)
    figure, axes = pyplot.subplots(figsize=(9.0, 5.5), layout="constrained")
    known = {row.method for row in rows if "@" not in row.method}
    for i, method in enumerate(name for name in family.usual if name in known):
        _draw(axes, table, method, i)
    axes.set_xscale("log")
    trials = sorted({row.trial for row in rows})
    axes.set_xticks(trials, [str(trial) for trial in trials])
    axes.minorticks_off()
    axes.set_xlabel("trial")
    axes.set_ylabel(f"mean regret\n{family.unit}")
    axes.set_title(f"{family.name}: mean over tasks, 95 % bootstrap bands")
    axes.set_ylim(top=min(1.5, axes.get_ylim()[1]))  # random first trials would squeeze the rest
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def plot_families(tables: Mapping[str, pd.DataFrame], methods: Sequence[str], path: Path) -> Path:
    """Plot the mean regret of a few methods on several families side by side.

    Args:
        tables: A table of :func:`benchmarks.report.numbers.frame` for each title.
        methods: The methods, in the order of their colours.
        path: The picture to write.

    Returns:
        ``path``.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    size = (3.2 * len(tables), 3.6)
    figure, (row,) = pyplot.subplots(
        1, len(tables), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (title, table) in zip(row, tables.items(), strict=True):
        for i, method in enumerate(methods):
            _draw(axes, table, method, i)
        trials = sorted(set(table.columns.get_level_values("trial")))
        axes.set_xscale("log")
        axes.set_xticks(trials, [str(trial) for trial in trials])
        axes.minorticks_off()
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("trial")
        axes.grid(alpha=0.3)
    row[0].set_ylabel("mean regret")
    row[0].set_ylim(-0.02, 1.5)
    handles, labels = row[0].get_legend_handles_labels()
    ncols = min(len(methods), 2 * len(tables))
    figure.legend(handles, labels, loc="outside lower center", ncols=ncols, frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _draw(axes: Any, table: Any, method: str, i: int) -> None:
    trials = sorted(trial for name, trial in table.columns if name == method)
    points = {n: mean for n in trials if (mean := interval(table[method, n]))}
    colour = COLOURS[i % len(COLOURS)]
    axes.plot(
        list(points),
        [point.mean for point in points.values()],
        label=method,
        color=colour,
        marker=MARKERS[i % len(MARKERS)],
        linestyle=STYLES[i // len(COLOURS) % len(STYLES)],
        markersize=5,
    )
    low, high = zip(*((point.low, point.high) for point in points.values()), strict=True)
    axes.fill_between(list(points), low, high, color=colour, alpha=0.12)

"""rows -> a plot: mean regret over trials with bootstrap bands, readable without colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.families.family import Family
from benchmarks.report.numbers import frame
from benchmarks.report.numbers import interval
from benchmarks.report.rows import Row


# Okabe and Ito's colours, which stay apart for colour-blind readers; black last.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")
MARKERS = "osD^vPX*"
STYLES = ("-", "--", ":")


def plot(family: Family, rows: Sequence[Row], path: Path) -> Path:
    """Draw the usual methods' mean regret at the trials that were written down."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    table = frame(rows)
    figure, axes = pyplot.subplots(figsize=(9.0, 5.5), layout="constrained")
    known = {row.method for row in rows}
    for i, method in enumerate(name for name in family.usual if name in known):
        _draw(axes, table, method, i)
    axes.set_xscale("log")
    trials = sorted({row.trial for row in rows})
    axes.set_xticks(trials, [str(one) for one in trials])
    axes.minorticks_off()
    axes.set_xlabel("trial")
    axes.set_ylabel(f"mean regret\n{family.unit}")
    axes.set_title(f"{family.name}: mean over tasks, 95 % bootstrap bands")
    axes.set_ylim(top=min(1.5, axes.get_ylim()[1]))  # random first trials would hide the rest
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _draw(axes: Any, table: Any, method: str, i: int) -> None:
    trials = sorted(trial for name, trial in table.columns if name == method)
    found = [(trial, one) for trial in trials if (one := interval(table[method, trial]))]
    colour = COLOURS[i % len(COLOURS)]
    shown, places = [one for _, one in found], [trial for trial, _ in found]
    axes.plot(
        places,
        [one.mean for one in shown],
        label=method,
        color=colour,
        marker=MARKERS[i % len(MARKERS)],
        linestyle=STYLES[i // len(COLOURS) % len(STYLES)],
        markersize=5,
    )
    axes.fill_between(
        places, [one.low for one in shown], [one.high for one in shown], color=colour, alpha=0.12
    )

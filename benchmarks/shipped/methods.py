"""Define the searches on the tables, and the single configurations they are compared with."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage

from benchmarks.families.search import trace
from benchmarks.methods.baselines import Search
from benchmarks.shipped.tables import LibrarySpace
from benchmarks.shipped.tables import cell_of
from benchmarks.shipped.tables import library_of
from benchmarks.shipped.tables import of_same_task
from benchmarks.shipped.tables import others
from benchmarks.shipped.tables import permuted_past
from benchmarks.shipped.tables import recorded
from benchmarks.shipped.tables import table_of
from benchmarks.shipped.tables import task_of
from benchmarks.shipped.tables import train
from benchmarks.tasks.family import SkippedError
from benchmarks.tasks.family import Step
from benchmarks.tasks.family import seed_of
from benchmarks.tasks.past import Task
from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import shipped_past


ESTIMATORS = {
    "lightgbm": ("lgbm",),
    "xgboost": ("xgb_limitdepth", "xgboost"),
    "random-forest": ("rf",),
}
"""FLAML's names of the libraries for which it has portfolios; of XGBoost's it chooses one."""
NOT_SEARCHED = ("n_jobs", "random_state", "tree_method", "verbose", "verbosity")
"""What FLAML's configurations contain besides; the recorder sets them."""

PATIENCE = 600.0
"""CPU seconds of a single configuration, which may be far beyond the recorded ranges."""


def run(name: str, seed: int, method: str, n_trials: int) -> list[Step]:
    """Run a method on a held-out table."""
    return METHODS[method][0](name, seed, n_trials)


def _default(name: str, seed: int, n_trials: int) -> list[Step]:
    return _single(name, {})


def _flaml(name: str, seed: int, n_trials: int) -> list[Step]:
    return _single(name, flaml_config(name))


def _single(name: str, params: Mapping[str, Any]) -> list[Step]:
    study = recorded(library_of(name))[name]
    return [Step(study.regret(train(name, params, PATIENCE)), 0.0)]


def _random(name: str, seed: int, n_trials: int) -> list[Step]:
    """Return the search that the study's random trials are."""
    study = recorded(library_of(name))[name]
    regrets = [study.regret(value) for value in study.random[:n_trials]]
    return [Step(float(regret), 0.0) for regret in np.minimum.accumulate(regrets)]


def _tpe(name: str, seed: int, n_trials: int) -> list[Step]:
    search = Search(TPESampler(seed=_seed(name, seed, "tpe")))
    return trace(task_of(name), LibrarySpace(cell_of(name)), search, n_trials)


def _ours(name: str, seed: int, n_trials: int) -> list[Step]:
    return _with_past(name, seed, n_trials, shipped_past(library_of(name)), others(name))


def _ours_permuted(name: str, seed: int, n_trials: int) -> list[Step]:
    past = permuted_past(library_of(name), seed)
    return _with_past(name, seed, n_trials, past, of_same_task(name))


def _with_past(
    name: str, seed: int, n_trials: int, past: BaseStorage, names: list[str]
) -> list[Step]:
    task = task_of(name)
    search = Search(sampler(task, past, names, _seed(name, seed, "ours")))
    return trace(task, LibrarySpace(cell_of(name)), search, n_trials)


def sampler(task: Task, past: BaseStorage, names: list[str], seed: int) -> MetaLLMiXSampler:
    """Return the sampler that is measured: all of its options but the past are the defaults."""
    return MetaLLMiXSampler(
        source_storage=past,
        source_study_names=names,
        meta_features=task.attributes,
        llm=False,
        seed=seed,
    )


def _seed(name: str, seed: int, method: str) -> int:
    return seed_of("shipped", name, seed, method)


def flaml_config(name: str) -> dict[str, Any]:
    """Return the parameters of FLAML's zero-shot configuration for a table.

    Raises:
        SkippedError: FLAML cannot be imported.
    """
    try:
        from flaml.default.suggest import suggest_hyperparams
        from flaml.default.suggest import suggest_learner
    except Exception as error:  # of packages that FLAML imports
        reason = f"FLAML cannot be imported ({type(error).__name__}: {error})"
        raise SkippedError(reason) from error
    table, cell = table_of(name), cell_of(name)
    given = cell.data.task, table.features, pd.Series(table.target)
    estimators = list(ESTIMATORS[cell.library.name])
    estimator = estimators[0]
    if len(estimators) > 1:
        estimator = suggest_learner(*given, estimator_list=estimators)
    params, _ = suggest_hyperparams(*given, estimator)
    return {key: value for key, value in params.items() if key not in NOT_SEARCHED}


OURS, PERMUTED, TPE, RANDOM = "ours-no-llm", "ours-no-llm@permuted", "tpe", "random"
DEFAULT, FLAML = "default", "flaml"
METHODS: Mapping[str, tuple[Callable[[str, int, int], list[Step]], str]] = {
    OURS: (_ours, "`MetaLLMiXSampler(llm=False)` with the shipped past"),
    PERMUTED: (_ours_permuted, "control: the same, past values permuted within each study"),
    FLAML: (_flaml, "the zero-shot configuration of `flaml.default`, trees as it suggests"),
    DEFAULT: (_default, "the library's default parameters"),
    RANDOM: (_random, "the recorded random trials, in their order"),
    TPE: (_tpe, "Optuna's TPESampler"),
}

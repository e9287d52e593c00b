"""Load the tables of the shipped studies, and train libraries on them as the recorder does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from functools import lru_cache
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna.trial import create_trial

from benchmarks.tasks.family import seed_of
from benchmarks.tasks.past import Floats
from benchmarks.tasks.past import Task
from benchmarks.tasks.space import Config
from optuna_metallmix import shipped_past
from optuna_metallmix import tabular_meta_features
from record_tabular import CELLS
from record_tabular import Cell
from record_tabular import Fold
from record_tabular import TrialFailedError
from record_tabular import evaluate
from record_tabular import make_folds
from tabular_sets import Table
from tabular_sets import load_table


@dataclass(frozen=True)
class Recorded:
    """The shipped study of a table.

    Attributes:
        name: Name of the study, ``"lightgbm/titanic"``.
        attributes: Its user attributes.
        values: Values of all its trials, NaN for failed ones, shape (n,).
        random: The same of the random ones, in their order.
    """

    name: str
    attributes: dict[str, Any]
    values: Floats
    random: Floats

    @property
    def best(self) -> float:
        """The best value, whose regret is 0."""
        return float(np.nanmax(self.values))

    @property
    def scale(self) -> float:
        """The best value minus the median of the random ones: a regret of 1."""
        return self.best - float(np.nanmedian(self.random))

    def regret(self, value: float) -> float:
        """Return the regret of a value; a failed trial, NaN, counts as the worst recorded one."""
        reached = float(np.nanmin(self.values)) if math.isnan(value) else value
        return (self.best - reached) / self.scale


@dataclass(frozen=True)
class LibrarySpace:
    """The search space of a recorded study."""

    cell: Cell

    def ask(self, trial: optuna.Trial) -> dict[str, Any]:
        """Suggest the parameters as the recorder does."""
        return self.cell.library.suggest(trial, self.cell.data.task)


def library_of(name: str) -> str:
    """Return the library of a study."""
    return name.partition("/")[0]


@cache
def recorded(library: str) -> dict[str, Recorded]:
    """Return the shipped studies of a library by name."""
    return {study.study_name: _recorded(study) for study in shipped_studies(library)}


def shipped_studies(library: str) -> Iterator[optuna.Study]:
    """Yield the shipped studies of a library."""
    past = shipped_past(library)
    for name in optuna.get_all_study_names(past):
        yield optuna.load_study(study_name=name, storage=past)


def _recorded(study: optuna.Study) -> Recorded:
    trials = study.get_trials(deepcopy=False)
    values = np.array([math.nan if trial.value is None else trial.value for trial in trials])
    is_random = np.array([trial.user_attrs["sampler"] == "random" for trial in trials])
    return Recorded(study.study_name, study.user_attrs, values, values[is_random])


def others(name: str) -> list[str]:
    """Return the studies of the same library on tables of another origin, which are the past."""
    studies = recorded(library_of(name))
    own = studies[name].attributes["origin"]
    return [other for other, study in studies.items() if study.attributes["origin"] != own]


def of_same_task(name: str) -> list[str]:
    """Return the others that are classifications, too, or regressions, as the sampler does."""
    studies = recorded(library_of(name))
    task = studies[name].attributes["task"]
    return [other for other in others(name) if studies[other].attributes["task"] == task]


def cell_of(name: str) -> Cell:
    """Return the library and the table of a study."""
    return next(cell for cell in CELLS if cell.name == name)


@lru_cache(maxsize=2)
def table_of(name: str) -> Table:
    """Load the rows that the study was recorded on."""
    cell = cell_of(name)
    return load_table(cell.data, cell.library.max_rows)


@lru_cache(maxsize=2)
def _folds(name: str) -> list[Fold]:
    return list(make_folds(table_of(name), cell_of(name)))


def task_of(name: str) -> Task:
    """Return the task of training the library on the table."""
    table, cell = table_of(name), cell_of(name)
    attributes = tabular_meta_features(table.features, table.target, cell.data.task)
    regret = recorded(cell.library.name)[name].regret
    return Task(name, "maximize", partial(_values, name), regret, attributes)


def _values(name: str, configs: Sequence[Config]) -> Floats:
    return np.array([train(name, config) for config in configs])


def train(name: str, params: Config, limit: float | None = None) -> float:
    """Return the mean over the recorder's folds; NaN if the recorder counts it as failed.

    Args:
        name: Name of the study.
        params: Parameters of the library.
        limit: CPU seconds after which it has failed; default: those of a recorded trial.
    """
    try:
        value, _ = evaluate(cell_of(name), dict(params), _folds(name), limit)
    except TrialFailedError:
        return math.nan
    return value


@lru_cache(maxsize=2)
def permuted_past(library: str, seed: int) -> InMemoryStorage:
    """Copy a shipped past with the values permuted within each study, as a control."""
    storage = InMemoryStorage()
    for study in shipped_studies(library):
        name = study.study_name
        copy = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        for key, attribute in study.user_attrs.items():
            copy.set_user_attr(key, attribute)
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        rng = np.random.default_rng(seed_of("permuted", name, seed))
        values = rng.permutation(np.array([trial.value for trial in trials], dtype=np.float64))
        copy.add_trials(map(_with_value, trials, values))
    return storage


def _with_value(trial: FrozenTrial, value: float) -> FrozenTrial:
    return create_trial(params=trial.params, distributions=trial.distributions, value=float(value))

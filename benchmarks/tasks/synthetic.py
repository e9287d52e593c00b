"""Generate synthetic past studies and write them to journal and SQLite files."""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import TypeAlias

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.distributions import distribution_to_json
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna.trial import create_trial


PastStudy: TypeAlias = tuple[dict[str, Any], list[FrozenTrial]]
"""User attributes and trials of a study."""

SPACE: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
    "weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
    "dropout": FloatDistribution(0.0, 0.6),
    "layers": IntDistribution(1, 8),
    "units": IntDistribution(16, 1024, log=True),
    "optimizer": CategoricalDistribution(["adamw", "sgd", "lion"]),
    "network": CategoricalDistribution([f"network-{i}" for i in range(8)]),
    "momentum": FloatDistribution(0.5, 0.99),
}
"""``momentum`` is active for the optimizer ``sgd`` only."""


def synthetic_space(n_parameters: int) -> dict[str, BaseDistribution]:
    """Return :data:`SPACE` with more parameters, which have no effect, up to ``n_parameters``."""
    extra = range(len(SPACE), n_parameters)
    return {**SPACE, **{f"extra_{i}": FloatDistribution(0.0, 1.0) for i in extra}}


def synthetic_study(index: int, n_trials: int, n_parameters: int = len(SPACE)) -> PastStudy:
    """Return the attributes and trials of a study; its optimum moves with ``index``."""
    rng = np.random.default_rng(index)
    attributes = {"n_instances": int(rng.integers(500, 50_000)), "n_classes": int(2 + index % 9)}
    space = synthetic_space(n_parameters)
    return attributes, [_trial(rng, index, space) for _ in range(n_trials)]


def _trial(
    rng: np.random.Generator, index: int, space: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    params: dict[str, Any] = {
        "learning_rate": float(10 ** rng.uniform(-5, -1)),
        "weight_decay": float(10 ** rng.uniform(-6, -1)),
        "dropout": float(rng.uniform(0, 0.6)),
        "layers": int(rng.integers(1, 9)),
        "units": int(2 ** rng.uniform(4, 10)),
        "optimizer": ["adamw", "sgd", "lion"][int(rng.integers(3))],
        "network": f"network-{rng.integers(8)}",
    }
    if params["optimizer"] == "sgd":
        params["momentum"] = float(rng.uniform(0.5, 0.99))
    value = synthetic_value(params, index) + float(rng.normal(0, 0.02))
    params.update((name, float(rng.random())) for name in space if name not in SPACE)
    used = {name: space[name] for name in params}
    return create_trial(params=params, distributions=used, value=value)


def synthetic_value(params: Mapping[str, Any], index: int) -> float:
    """Return the noise-free value of a configuration in the study with that index."""
    distance = abs(float(np.log10(params["learning_rate"])) + 3 + 0.1 * (index % 5))
    return 0.9 - 0.1 * distance - 0.02 * float(abs(params["layers"] - 4))


def build_journal(path: Path, past: Iterable[PastStudy]) -> None:
    """Write the past studies to a journal file."""
    storage = open_journal(path)
    for i, (attributes, trials) in enumerate(past):
        study = optuna.create_study(storage=storage, study_name=f"past-{i}", direction="maximize")
        for name, value in attributes.items():
            study.set_user_attr(name, value)
        study.add_trials(trials)


def build_sqlite(path: Path, past: Iterable[PastStudy]) -> None:
    """Insert the past studies into Optuna's tables; ``add_trials`` takes 24 ms per trial."""
    open_sqlite(path)  # creates the tables
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        trial_ids = itertools.count(1)
        for study_id, (attributes, trials) in enumerate(past, start=1):
            _insert_study(database, study_id, attributes)
            for number, trial in enumerate(trials):
                _insert_trial(database, next(trial_ids), study_id, number, trial)


def _insert_study(
    database: sqlite3.Connection, study_id: int, attributes: Mapping[str, Any]
) -> None:
    database.execute(
        "INSERT INTO studies (study_id, study_name) VALUES (?, ?)",
        (study_id, f"past-{study_id - 1}"),
    )
    database.execute(
        "INSERT INTO study_directions (direction, study_id, objective) VALUES (?, ?, 0)",
        (StudyDirection.MAXIMIZE.name, study_id),
    )
    database.executemany(
        "INSERT INTO study_user_attributes (study_id, key, value_json) VALUES (?, ?, ?)",
        [(study_id, name, json.dumps(value)) for name, value in attributes.items()],
    )


def _insert_trial(
    database: sqlite3.Connection, trial_id: int, study_id: int, number: int, trial: FrozenTrial
) -> None:
    database.execute(
        "INSERT INTO trials (trial_id, number, study_id, state, datetime_start, "
        "datetime_complete) VALUES (?, ?, ?, ?, '2026-01-01 00:00:00', '2026-01-01 00:01:00')",
        (trial_id, number, study_id, TrialState.COMPLETE.name),
    )
    database.execute(
        "INSERT INTO trial_values (trial_id, objective, value, value_type) "
        "VALUES (?, 0, ?, 'FINITE')",
        (trial_id, trial.value),
    )
    database.executemany(
        "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) "
        "VALUES (?, ?, ?, ?)",
        [
            (trial_id, name, dist.to_internal_repr(trial.params[name]), distribution_to_json(dist))
            for name, dist in trial.distributions.items()
        ],
    )


def open_journal(path: Path) -> BaseStorage:
    """Open a journal file."""
    return JournalStorage(JournalFileBackend(str(path)))


def open_sqlite(path: Path) -> BaseStorage:
    """Open a SQLite file."""
    return optuna.storages.get_storage(f"sqlite:///{path}")


KINDS: dict[str, tuple[Callable[..., None], Callable[[Path], BaseStorage]]] = {
    "journal": (build_journal, open_journal),
    "sqlite": (build_sqlite, open_sqlite),
}

from __future__ import annotations

import hashlib
import importlib
import math
import re
from collections.abc import Callable
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import RDBStorage
from optuna.storages import get_storage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix.history import rdb_reader
from optuna_metallmix.history.history import read_history
from optuna_metallmix.history.rdb_reader import NOW
from optuna_metallmix.history.rdb_reader import Request
from optuna_metallmix.history.rdb_reader import Summary
from optuna_metallmix.history.rdb_reader import read_tables
from optuna_metallmix.history.rdb_reader import select_trials
from optuna_metallmix.history.study_reader import list_studies
from optuna_metallmix.history.study_reader import read_studies
from optuna_metallmix.history.study_reader import summarize
from optuna_metallmix.space.search_space import sample


SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "drop": FloatDistribution(0, 1, step=0.25),
    "depth": IntDistribution(1, 9, step=2),
    "units": IntDistribution(8, 1024, log=True),
    "mixed": CategoricalDistribution([None, True, False, 2, 2.5, "two", "ümlaut 'quoted'"]),
    "wide": FloatDistribution(-1e300, 1e300),
    "only": CategoricalDistribution(["one"]),
}
"""Trials have any subset of these parameters."""
STATES = (*rdb_reader.FINISHED, TrialState.RUNNING, TrialState.WAITING)
NUMBERS = st.one_of(
    st.floats(-1e9, 1e9), st.sampled_from([math.inf, -math.inf, 0.0, 1e-300, 1e300])
)
CONSTRAINTS = st.sampled_from(
    [{}, {"constraints": None}, {"constraints": [-1.0, 2.5]}, {"constraints:a": 0.0, "other": 1}]
)
"""System attributes as samplers (Optuna 4 and 5) and ``trial.set_constraint`` (5) write them."""
REPORTS = st.dictionaries(st.integers(0, 12), NUMBERS | st.just(math.nan), max_size=3)


@st.composite
def a_trial(draw: st.DrawFn, n_values: int) -> FrozenTrial:
    state = draw(st.sampled_from(STATES))
    valued = state is TrialState.COMPLETE or (state is TrialState.PRUNED and draw(st.booleans()))
    names = draw(st.lists(st.sampled_from(sorted(SPACE)), unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 1_000)))
    return create_trial(
        state=state,
        params={name: sample(SPACE[name], rng) for name in names},
        distributions={name: SPACE[name] for name in names},
        values=draw(st.lists(NUMBERS, min_size=n_values, max_size=n_values)) if valued else None,
        intermediate_values=draw(REPORTS) if n_values == 1 else None,
        user_attrs={"note": "x"},
        system_attrs=draw(CONSTRAINTS),
    )


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> BaseStorage:
    return get_storage(f"sqlite:///{tmp_path_factory.mktemp('rdb') / 'past.db'}")


def fill(storage: BaseStorage, trials: Sequence[FrozenTrial], n_values: int = 1) -> int:
    study = optuna.create_study(storage=storage, directions=["maximize"] * n_values)
    study.add_trials(trials)
    return study._study_id


def facts(trial: FrozenTrial) -> Any:
    """The parts of a trial that are used, with their types; NaN is equal to itself."""
    bare = trial.state is TrialState.PRUNED and trial.values is None
    return (
        trial.number,
        trial._trial_id,
        trial.state,
        repr(trial.values),
        repr(trial.params),
        repr(trial.distributions),
        trial.duration,
        repr(sorted(trial.intermediate_values.items())) if bare else None,
        repr({key: v for key, v in trial.system_attrs.items() if "constraint" in key}),
    )


def read_rows(storage: BaseStorage, *study_ids: int) -> dict[int, Sequence[FrozenTrial]] | None:
    """Read studies from the tables; ``None`` if they are unknown."""
    requests = [Request(study_id, 1.0, 10_000) for study_id in study_ids]
    return read_tables(storage, select_trials, requests, NOW)


def has_known_tables(storage: BaseStorage, study_id: int) -> bool:
    return read_rows(storage, study_id) is not None


def read_by_optuna(storage: BaseStorage, study_id: int) -> list[FrozenTrial]:
    return storage.get_all_trials(study_id, states=rdb_reader.FINISHED)


def assert_read_alike(storage: BaseStorage, *study_ids: int) -> None:
    read = read_rows(storage, *study_ids)
    assert read is not None
    assert list(read) == list(study_ids)
    for study_id, trials in read.items():
        by_optuna = read_by_optuna(storage, study_id)
        assert list(map(facts, trials)) == list(map(facts, by_optuna))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), n_values=st.sampled_from([1, 1, 1, 3]))
def test_the_tables_contain_what_the_storage_returns(
    storage: BaseStorage, data: st.DataObject, n_values: int
) -> None:
    studies = data.draw(st.lists(st.lists(a_trial(n_values), max_size=4), min_size=1, max_size=3))
    assert_read_alike(storage, *(fill(storage, trials, n_values) for trials in studies))


def test_every_kind_of_choice_comes_back_as_it_was(storage: BaseStorage) -> None:
    space = {"mixed": SPACE["mixed"]}
    trials = [
        create_trial(params={"mixed": choice}, distributions=space, value=1.0)
        for choice in (None, True, False, 2, 2.5, "two", "ümlaut 'quoted'")
    ]
    study_id = fill(storage, trials)
    assert_read_alike(storage, study_id)
    read = [trial.params["mixed"] for trial in (read_rows(storage, study_id) or {})[study_id]]
    assert list(map(repr, read)) == [repr(trial.params["mixed"]) for trial in trials]


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0, 1)
    for step in range(3):
        trial.report([x, math.nan, math.inf][(trial.number + step) % 3], step)
    if trial.number % 4 == 1:
        raise optuna.TrialPruned
    if trial.number % 4 == 2:
        raise ValueError("failed")
    return [x, math.inf, -math.inf][trial.number % 3]


def test_real_trials_score_the_same_however_they_are_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'past.db'}"
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(storage=url, study_name="past", sampler=sampler)
    study.set_user_attr("n_classes", 3)
    study.optimize(objective, n_trials=16, catch=(ValueError,))
    study.ask()
    fast = read_history(get_storage(url))
    assert fast == read_history(Unreadable(url))
    assert fast.n_trials > 5
    assert fast.studies[0].meta_features == {"n_classes": 3}


class Unreadable(RDBStorage):
    """A subclass, which may read its trials differently."""


def ran(*values: float) -> list[FrozenTrial]:
    space = {"x": FloatDistribution(0, 1)}
    return [create_trial(params={"x": v}, distributions=space, value=v) for v in values]


def other_layout(storage: RDBStorage) -> None:
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = 'v9.0.0.a'"))


def no_layout(storage: RDBStorage) -> None:
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("DROP TABLE alembic_version"))


@pytest.mark.parametrize("change", [other_layout, no_layout])
def test_unknown_tables_are_left_to_optuna(
    tmp_path: Path, change: Callable[[RDBStorage], None]
) -> None:
    storage = RDBStorage(f"sqlite:///{tmp_path / 'past.db'}")
    study_id = fill(storage, ran(0.0, 1.0))
    assert has_known_tables(storage, study_id)
    change(storage)
    assert not has_known_tables(storage, study_id)
    assert read_values(storage) == [1.0, 0.0]


def read_values(storage: BaseStorage) -> list[float | None]:
    (study,) = read_studies(storage, list_studies(storage)).studies
    return [trial.value for trial in study.trials]


@pytest.mark.parametrize(
    "what",
    [
        "ALTER TABLE trial_values RENAME COLUMN value_type TO kind",
        "UPDATE trial_params SET distribution_json = '{}'",
        "UPDATE trial_values SET value_type = 'NEW_KIND'",
    ],
)
def test_unexpected_tables_are_read_by_optuna(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    storage = RDBStorage(f"sqlite:///{tmp_path / 'past.db'}")
    fill(storage, ran(0.0))
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text(what))
    monkeypatch.setattr(RDBStorage, "get_all_trials", lambda *_, **__: ran(0.5, 0.75))
    assert read_values(storage) == [0.75, 0.5]


def test_other_storages_are_read_by_themselves(tmp_path: Path) -> None:
    for storage in (InMemoryStorage(), Unreadable(f"sqlite:///{tmp_path / 'past.db'}")):
        study_id = fill(storage, [create_trial(params={}, distributions={}, value=1.0)])
        assert not has_known_tables(storage, study_id)
        assert not has_known_tables(get_storage(storage), study_id)


@pytest.mark.parametrize("kind", ["rdb", "memory"])
def test_the_summary_changes_with_finished_trials_only(storage: BaseStorage, kind: str) -> None:
    place = storage if kind == "rdb" else InMemoryStorage()
    study = optuna.create_study(storage=place)
    summaries = [summary_of(place, study)]
    for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL):
        trial = study.ask({"x": FloatDistribution(0, 1)})
        assert summary_of(place, study) == summaries[-1]
        study.tell(trial, 1.0 if state is TrialState.COMPLETE else None, state=state)
        summaries.append(summary_of(place, study))
        assert summary_of(place, study) == summaries[-1]
    assert len(set(summaries)) == 4
    assert [s[:3] for s in summaries[1:] if s] == [(1, 1, 1), (2, 1, 1), (3, 1, 1)]


def summary_of(storage: BaseStorage, study: optuna.Study) -> Summary | None:
    rows = [row for row in list_studies(storage) if row.name == study.study_name]
    found = summarize(storage, rows, NOW).get(study._study_id)
    assert found is None or isinstance(found, Summary)
    return found


def test_reading_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "past.db"
    study_id = fill(
        get_storage(f"sqlite:///{file}"),
        [create_trial(state=TrialState.PRUNED, params={}, distributions={})],
    )
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    storage = get_storage(f"sqlite:///{file}")
    assert len((read_rows(storage, study_id) or {})[study_id]) == 1
    assert len(list_studies(storage)) == 1
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before
    assert [path.name for path in tmp_path.iterdir()] == ["past.db"]


@pytest.mark.parametrize("dialect", ["mysql", "postgresql", "sqlite"])
def test_no_identifier_is_reserved_in_a_database(dialect: str) -> None:
    module = importlib.import_module(f"sqlalchemy.dialects.{dialect}")
    reserved = module.dialect().identifier_preparer.reserved_words
    # A reserved word needs no quotes after a period.
    queries = " ".join(rdb_reader.QUERIES.values()).replace("x.key", "")
    identifiers = set(re.findall(r"\b[a-z][a-z_]*\b", queries))
    assert {"trials", "value_type", "study_id"} <= identifiers
    assert not identifiers & {word.lower() for word in reserved}

"""Past studies are read from a server's tables as Optuna itself reads them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.storages import get_storage

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history import read_history
from optuna_metallmix.history import read_past
from optuna_metallmix.history import study_reader
from optuna_metallmix.history.rdb_reader import has_known_layout


pytestmark = [pytest.mark.servers, pytest.mark.slow]


class ByOptuna(RDBStorage):
    """A subclass, which is read by its methods."""


def objective(trial: optuna.Trial) -> float:
    kind = trial.suggest_categorical("kind", ["a", "b", None, 3])
    x = trial.suggest_float("x", 1e-5, 1, log=True)
    if kind == "a":
        trial.suggest_int("depth", 1, 64)
    for step in range(3):
        trial.report(x, step)
    if trial.number % 5 == 1:
        raise optuna.TrialPruned
    if trial.number % 7 == 2:
        raise ValueError("failed")
    return [x, float("inf"), x][trial.number % 3]


def add_past(url: str) -> None:
    for i, direction in enumerate(["minimize", "maximize", "minimize"]):
        study = optuna.create_study(
            storage=url, study_name=f"{i}", direction=direction, sampler=RandomSampler(seed=i)
        )
        study.set_user_attr("n_rows", i)
        study.set_user_attr("note", "ü" * 3_000)
        study.optimize(objective, n_trials=14, catch=(ValueError,))
    optuna.create_study(storage=url, study_name="running").ask()


@pytest.fixture(params=["postgresql_url", "mariadb_url"])
def past_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(request.param)
    add_past(url)
    return url


def test_tables_are_read_as_by_optuna(past_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = get_storage(past_url)
    assert has_known_layout(storage)
    tables = read_history(storage)
    assert [study.name for study in tables.studies] == ["0", "1", "2"]
    by_optuna = read_history(ByOptuna(past_url))
    assert tables.left_out == by_optuna.left_out
    for study, other in zip(tables.studies, by_optuna.studies, strict=True):
        assert (study.trials, study.space) == (other.trials, other.space)
        assert study.meta_features == other.meta_features
    monkeypatch.setattr(study_reader, "MAX_TRIALS", 6)
    assert [len(study.trials) for study in read_history(storage).studies] == [6, 6, 6]


def test_a_growing_past_is_the_same_for_a_study(past_url: str) -> None:
    study = optuna.create_study(study_name="mine", storage=past_url)
    first = read_past(study, past_url, None, is_sampling=True)
    optuna.load_study(study_name="0", storage=past_url).optimize(lambda _: 1.0, n_trials=3)
    assert read_past(study, past_url, None, is_sampling=True).studies == first.studies


def test_readers_have_one_connection_at_a_time(past_url: str) -> None:
    study = optuna.create_study()
    n_open = n_most = 0

    def connect(*_: Any) -> None:
        nonlocal n_open, n_most
        n_open += 1
        n_most = max(n_most, n_open)

    def close(*_: Any) -> None:
        nonlocal n_open
        n_open -= 1

    sqlalchemy.event.listen(sqlalchemy.Pool, "connect", connect)
    sqlalchemy.event.listen(sqlalchemy.Pool, "close", close)
    try:
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda _: read_past(study, past_url, None), range(6)))
    finally:
        sqlalchemy.event.remove(sqlalchemy.Pool, "connect", connect)
        sqlalchemy.event.remove(sqlalchemy.Pool, "close", close)
    assert n_most == 1


def test_an_empty_database_has_no_studies(postgresql_url: str, mariadb_url: str) -> None:
    for url in (postgresql_url, mariadb_url):
        with pytest.raises(HistoryError, match=r"contains no Optuna studies.*Pass"):
            read_past(optuna.create_study(), url, None)
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        assert sqlalchemy.inspect(engine).get_table_names() == []


def test_a_server_that_refuses_is_not_told_to_be_empty(past_url: str) -> None:
    url = sqlalchemy.make_url(past_url).set(password="wr/ong", username="nobody-of-that-name")
    with pytest.raises(HistoryError, match=r"cannot be opened .*Check the URL") as caught:
        read_past(optuna.create_study(), url.render_as_string(hide_password=False), None)
    assert "no Optuna studies" not in str(caught.value)
    assert "wr/ong" not in str(caught.value)
    assert "wr%2Fong" not in str(caught.value)

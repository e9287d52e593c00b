"""Many processes on a server: one asks, one trial is suggested, and connections are few."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from database_servers import PATIENCE
from database_servers import DatabaseServer
from database_servers import serve_grpc
from end_to_end import fill_past
from end_to_end import new_study
from end_to_end import objective
from end_to_end import suggested
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from storage_processes import FORKSERVER
from storage_processes import exit_codes
from storage_processes import open_place
from storage_processes import start_process
from storage_processes import work

from optuna_metallmix import HistoryError
from optuna_metallmix import MetaLLMiXSampler


pytestmark = [pytest.mark.servers, pytest.mark.slow]
N_WORKERS = 32
ZONES = ("Asia/Tokyo", "UTC", "America/Los_Angeles")


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def prepare(storage: BaseStorage) -> optuna.Study:
    fill_past(storage, n_trials=12)
    return new_study(RandomSampler(), storage)


def check_one_suggestion(study: optuna.Study, calls: Path, n_trials: int) -> None:
    """Check that all trials ended, and that a single process asked for a single suggestion."""
    trials = study.trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * n_trials
    assert len(lines(calls)) == 1
    assert len(suggested(study)) == 1
    assert [trial.user_attrs.get("metallmix:source") for trial in trials].count("llm") == 1


def test_32_workers_with_two_connections_each(
    postgresql: DatabaseServer, postgresql_url: str, tmp_path: Path
) -> None:
    """Each worker has a user of its own, whose third connection the server refuses."""
    study, calls = prepare(open_place(postgresql_url)), tmp_path / "calls"
    users = [f"worker_{i}" for i in range(N_WORKERS)]
    postgresql.execute(
        *(f"CREATE ROLE {user} LOGIN CONNECTION LIMIT 2 IN ROLE optuna" for user in users)
    )
    barrier = FORKSERVER.Barrier(N_WORKERS, timeout=PATIENCE)
    database = postgresql_url.rpartition("/")[2]
    urls = [postgresql.url(database, username=user) for user in users]
    processes = [start_process(work, url, url, calls, barrier) for url in urls]
    assert exit_codes(processes) == [0] * N_WORKERS
    assert 'connections for role "worker_' not in postgresql.log.read_text()
    check_one_suggestion(study, calls, 2 * N_WORKERS)


def test_two_connections_to_two_databases(
    postgresql: DatabaseServer, postgresql_url: str, tmp_path: Path
) -> None:
    """The past is in another database of the same server, which counts connections of both."""
    postgresql.execute(
        "CREATE ROLE worker_of_two LOGIN CONNECTION LIMIT 2 IN ROLE optuna",
        "CREATE DATABASE study_of_two OWNER optuna",
    )
    fill_past(open_place(postgresql_url), n_trials=12)
    new_study(RandomSampler(), open_place(postgresql.url("study_of_two")))
    past = postgresql.url(postgresql_url.rpartition("/")[2], username="worker_of_two")
    place, calls = postgresql.url("study_of_two", username="worker_of_two"), tmp_path / "calls"
    barrier = FORKSERVER.Barrier(1, timeout=PATIENCE)
    assert exit_codes([start_process(work, place, past, calls, barrier)]) == [0]
    assert 'connections for role "worker_of_two"' not in postgresql.log.read_text()
    study = optuna.load_study(study_name="new", storage=open_place(place))
    check_one_suggestion(study, calls, 2)


@pytest.mark.parametrize("kind", ["mariadb", "redis", "grpc", "grpc over postgresql"])
def test_workers_in_three_time_zones(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    calls, barrier = tmp_path / "calls", FORKSERVER.Barrier(9, timeout=PATIENCE)
    with ExitStack() as stack:
        place = start_storage(request, stack, kind, tmp_path)
        study = prepare(open_place(place))
        processes = [start_process(work, place, None, calls, barrier, 2, z) for z in ZONES * 3]
        assert exit_codes(processes) == [0] * 9
        check_one_suggestion(study, calls, 18)


def start_storage(
    request: pytest.FixtureRequest, stack: ExitStack, kind: str, folder: Path
) -> str:
    if kind in ("mariadb", "redis"):
        place: str = request.getfixturevalue(f"{kind}_url")
        return place
    over = "postgresql" in kind and request.getfixturevalue("postgresql_url")
    port = stack.enter_context(serve_grpc(over or f"sqlite:///{folder}/hpo.db"))
    return f"grpc://127.0.0.1:{port}"


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_server_that_refuses_connections(
    request: pytest.FixtureRequest, tmp_path: Path, logs: Any, kind: str
) -> None:
    """The study is stored elsewhere and goes on; its trial says that the server is busy."""
    url: str = request.getfixturevalue(f"{kind}_url")
    prepare(open_place(url))
    one = allow_one_connection(request.getfixturevalue(kind), url)
    sampler = MetaLLMiXSampler(source_storage=one, llm=False, seed=0)
    with hold_connection(one):
        study = new_study(sampler, f"sqlite:///{tmp_path}/own.db")
        study.optimize(objective, n_trials=2)
        with pytest.raises(HistoryError) as caught:  # other options, so it is opened anew
            MetaLLMiXSampler(source_storage=f"{one}?connect_timeout=9")
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2
    (warning,) = logs.warnings
    for text in (study.trials[0].user_attrs["metallmix:reason"], warning, str(caught.value)):
        assert "connections" in text
        assert "no Optuna studies" not in text


def allow_one_connection(server: DatabaseServer, url: str) -> str:
    """Return a URL with a new user, who may have one connection at a time."""
    database = url.rpartition("/")[2]
    user = f"one_{database}"
    if server.address.get_backend_name() == "postgresql":
        server.execute(f"CREATE ROLE {user} LOGIN CONNECTION LIMIT 1 IN ROLE optuna")
    else:
        server.execute(f"CREATE USER {user} WITH MAX_USER_CONNECTIONS 1")
        server.execute(f"GRANT ALL ON {database}.* TO {user}")
    return server.url(database, username=user)


@contextmanager
def hold_connection(url: str) -> Iterator[None]:
    with sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool).connect():
        yield

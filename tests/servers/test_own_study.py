"""A study is not its own past, however the address of its storage is spelled."""

from __future__ import annotations

import socket
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from database_servers import DatabaseServer
from database_servers import serve_grpc
from end_to_end import fill_past
from end_to_end import new_study
from end_to_end import objective
from optuna.samplers import RandomSampler
from storage_processes import open_place

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix.history import Source
from optuna_metallmix.history import read_past


pytestmark = [pytest.mark.servers, pytest.mark.slow]


def prepare(place: str, n_trials: int) -> optuna.Study:
    """Create a study of some trials beside three past studies."""
    storage = open_place(place)
    fill_past(storage)
    study = new_study(RandomSampler(seed=0), storage)
    study.optimize(objective, n_trials=n_trials)
    return study


def check_past(study: optuna.Study, source: Source) -> None:
    """Check that the past studies are the three others, before and after a suggestion."""
    others = ["past-0", "past-1", "past-2"]
    assert [past.name for past in read_past(study, source, None, {}).studies] == others
    study.sampler = MetaLLMiXSampler(source_storage=source, llm=False, seed=0)
    study.optimize(objective, n_trials=2)
    assert [past.name for past in read_past(study, source, None, {}).studies] == others
    sources = [trial.user_attrs.get("metallmix:source") for trial in study.trials[-2:]]
    assert sources == ["meta-learner", None]


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("n_trials", [0, 12])
@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.replace("127.0.0.1", "localhost"),
        lambda url: url.replace("127.0.0.1", "[::1]"),
        lambda url: f"{url}?connect_timeout=5",
        lambda url: f"{url}?application_name=past",
        lambda url: url.replace("optuna@", "reader@"),
    ],
    ids=["localhost", "IPv6", "time limit", "application name", "user"],
)
def test_postgresql_by_another_url(
    postgresql: DatabaseServer,
    postgresql_url: str,
    change: Callable[[str], str],
    n_trials: int,
) -> None:
    study = prepare(postgresql_url, n_trials)
    if "[::1]" in change(postgresql_url) and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    postgresql.execute(
        "DROP ROLE IF EXISTS reader", "CREATE ROLE reader LOGIN IN ROLE pg_read_all_data"
    )
    check_past(study, change(postgresql_url))


@pytest.mark.parametrize("change", ["localhost", "charset"])
def test_mariadb_by_another_url(mariadb_url: str, change: str) -> None:
    study = prepare(mariadb_url, 12)
    other = mariadb_url.replace("127.0.0.1", "localhost")
    check_past(study, other if change == "localhost" else f"{mariadb_url}?charset=utf8mb4")


def test_redis_by_two_objects(redis_url: str) -> None:
    study = prepare(redis_url, 12)
    check_past(study, open_place(redis_url))


def test_redis_by_another_address(redis_url: str) -> None:
    study = prepare(redis_url, 12)
    check_past(study, open_place(redis_url.replace("127.0.0.1", "localhost")))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/hpo.db"
    url: str = request.getfixturevalue("postgresql_url")
    return url


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_a_proxy_beside_its_database(database_url: str, zone: str) -> None:
    study = prepare(database_url, 12)
    with opened_proxy(database_url, zone) as proxy:
        check_past(study, proxy)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
def test_a_database_beside_its_proxy(database_url: str, zone: str) -> None:
    prepare(database_url, 12)
    with opened_proxy(database_url, zone) as proxy:
        study = optuna.load_study(study_name="new", storage=proxy)
        check_past(study, database_url)


def test_two_proxies_of_a_database(database_url: str) -> None:
    prepare(database_url, 12)
    with opened_proxy(database_url, "UTC") as one, opened_proxy(database_url, "UTC") as other:
        check_past(optuna.load_study(study_name="new", storage=one), other)


@contextmanager
def opened_proxy(url: str, zone: str) -> Iterator[optuna.storages.GrpcStorageProxy]:
    with serve_grpc(url, zone) as port:
        proxy = optuna.storages.GrpcStorageProxy(host="127.0.0.1", port=port)
        yield proxy
        proxy.close()

"""Fixtures: servers that run while these tests do, and empty databases on them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest
from database_servers import DatabaseServer
from database_servers import can_install
from database_servers import find_program
from database_servers import install
from database_servers import serve_mariadb
from database_servers import serve_postgresql
from database_servers import serve_redis


# Windows has neither fork servers nor limits of memory, and the servers come with Debian.
collect_ignore_glob = ["test_*.py"] if os.name == "nt" else []
DATABASES = itertools.count()
POSTGRESQL = ("/usr/lib/postgresql/*/bin/pg_ctl", "/usr/local/*/bin/pg_ctl")
MARIADB = ("/usr/sbin/mariadbd", "/usr/local/*/bin/mariadbd")
REDIS = ("/usr/bin/redis-server", "/usr/local/bin/redis-server")


def program(request: pytest.FixtureRequest, package: str, patterns: tuple[str, ...]) -> str:
    """Find a server's program, or install it if these tests were asked for: ``-m servers``."""
    found = find_program(*patterns)
    if found is None and "servers" in request.config.option.markexpr and can_install():
        install(package)
        found = find_program(*patterns)
    if found is None:
        pytest.skip(f"{package} is not installed (root can, with apt-get: pytest -m servers)")
    return found


@pytest.fixture(scope="session")
def postgresql(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    pytest.importorskip("psycopg")
    with serve_postgresql(program(request, "postgresql", POSTGRESQL)) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    pytest.importorskip("pymysql")
    with serve_mariadb(program(request, "mariadb-server", MARIADB)) as server:
        yield server


@pytest.fixture(scope="session")
def redis(request: pytest.FixtureRequest) -> Iterator[str]:
    pytest.importorskip("redis")
    with serve_redis(program(request, "redis-server", REDIS)) as url:
        yield url


@pytest.fixture
def postgresql_url(postgresql: DatabaseServer) -> str:
    """The URL of an empty PostgreSQL database."""
    return postgresql.create_database(f"test_{next(DATABASES)}")


@pytest.fixture
def mariadb_url(mariadb: DatabaseServer) -> str:
    """The URL of an empty MariaDB database."""
    return mariadb.create_database(f"test_{next(DATABASES)}")


@pytest.fixture
def redis_url(redis: str) -> str:
    """The URL of an empty Redis database."""
    import redis as client

    url = f"{redis}/1"
    with client.Redis.from_url(url) as connection:
        connection.flushdb()
    return url

"""Start database servers for tests: on a free port of 127.0.0.1, in a temporary folder."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import sqlalchemy
from optuna.storages import GrpcStorageProxy
from sqlalchemy import URL


PATIENCE = 120.0
"""Seconds to wait for a server to start or to end, enough for a busy machine."""
GRPC_SERVER = """
import sys
import optuna
storage = optuna.storages.get_storage(sys.argv[1])
optuna.storages.run_grpc_proxy_server(storage, host="127.0.0.1", port=int(sys.argv[2]))
"""


@dataclass(frozen=True)
class DatabaseServer:
    """A running server and the file that it logs to."""

    address: URL
    log: Path

    def url(self, database: str, **changes: str) -> str:
        """Return the URL of a database; ``changes`` name another user or host."""
        url = self.address.set(database=database, **changes)  # type: ignore[arg-type]
        return url.render_as_string(hide_password=False)

    def execute(self, *statements: str) -> None:
        """Execute SQL statements as administrator, each in a transaction of its own."""
        engine = sqlalchemy.create_engine(
            self.address, poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            for statement in statements:
                connection.execute(sqlalchemy.text(statement))

    def create_database(self, name: str) -> str:
        """Create an empty database and return its URL."""
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)


def find_program(*patterns: str) -> str | None:
    """Return the newest program that matches a pattern; ``None`` if it is not installed."""
    found = [name for pattern in patterns for name in sorted(glob.glob(pattern))]
    return found[-1] if found else None


def server_user() -> str | None:
    """Return the user to run a server as, ``None`` for this one: servers refuse to be root's."""
    return "nobody" if os.getuid() == 0 else None


def can_install() -> bool:
    """Return whether Debian packages can be installed here."""
    return os.getuid() == 0 and shutil.which("apt-get") is not None


def install(package: str) -> None:
    """Install a Debian package without starting its service; failing to do so is no error."""
    import fcntl

    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    with open(__file__) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # apt-get does not wait for that of another worker
        for words in ("update -qq", f"install -qq -y --no-install-recommends {package}"):
            command = ["apt-get", *words.split()]
            subprocess.run(command, env=environment, timeout=300, check=False, capture_output=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


@contextmanager
def server_folder() -> Iterator[Path]:
    """Yield a folder that another user may write to, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@contextmanager
def serve_postgresql(program: str, *options: str) -> Iterator[DatabaseServer]:
    """Run a PostgreSQL server; ``program`` is its ``pg_ctl``."""
    with server_folder() as folder:

        def control(*words: str) -> None:
            command = [program, "-D", f"{folder}/data", "-w", "-t", f"{PATIENCE:.0f}", *words]
            quiet = subprocess.DEVNULL
            subprocess.run(command, user=server_user(), cwd=folder, check=True, stdout=quiet)

        control("-o", "-U optuna --auth trust --no-sync --encoding UTF8", "initdb")
        port, log = free_port(), folder / "log"
        settings = (f"unix_socket_directories={folder}", "fsync=off", *options)
        words = " ".join(f"-c {setting}" for setting in settings)
        control("-o", f"-p {port} -h 127.0.0.1,::1 {words}", "-l", str(log), "start")
        address = URL.create("postgresql+psycopg", "optuna", None, "127.0.0.1", port, "postgres")
        try:
            yield DatabaseServer(address, log)
        finally:
            control("-m", "immediate", "stop")


@contextmanager
def serve_mariadb(program: str, *options: str) -> Iterator[DatabaseServer]:
    """Run a MariaDB server; ``program`` is ``mariadbd``."""
    installer = shutil.which("mariadb-install-db")
    assert installer is not None, "mariadb-install-db comes with the server"
    with server_folder() as folder:
        data = ["--no-defaults", f"--datadir={folder}/data"]
        authentication = "--auth-root-authentication-method=normal"
        subprocess.run(
            [installer, *data, authentication, "--skip-test-db", "--skip-name-resolve"],
            user=server_user(), cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
        port, log = free_port(), folder / "log"
        settings = [f"--socket={folder}/socket", "--bind-address=127.0.0.1", f"--port={port}"]
        charset = "--character-set-server=utf8mb4"
        command = [program, *data, *settings, charset, f"--pid-file={folder}/pid", *options]
        address = URL.create("mysql+pymysql", "root", None, "127.0.0.1", port, "mysql")
        with run_server(command, log, folder, ready="ready for connections"):
            yield DatabaseServer(address, log)


@contextmanager
def serve_redis(program: str) -> Iterator[str]:
    """Run a Redis server, and yield its URL without a database."""
    with server_folder() as folder:
        port = free_port()
        settings = ["--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
        ready = "Ready to accept connections"
        with run_server([program, *settings], folder / "log", folder, ready=ready):
            yield f"redis://127.0.0.1:{port}"


@contextmanager
def serve_grpc(storage_url: str, zone: str = "UTC") -> Iterator[int]:
    """Run Optuna's gRPC proxy with a time zone, and yield its port."""
    port = free_port()
    command = [sys.executable, "-c", GRPC_SERVER, storage_url, str(port)]
    with subprocess.Popen(command, env={**os.environ, "TZ": zone}) as process:
        try:
            proxy = GrpcStorageProxy(host="127.0.0.1", port=port)
            proxy.wait_server_ready(timeout=PATIENCE)
            proxy.close()
            yield port
        finally:
            process.terminate()


@contextmanager
def run_server(command: Sequence[str], log: Path, folder: Path, *, ready: str) -> Iterator[None]:
    """Run a server that logs to its output, from the line ``ready`` to the end of the context."""
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, user=server_user(), cwd=folder, **output) as process:
        assert process.stdout is not None
        started = threading.Event()
        reader = threading.Thread(target=_keep_log, args=(process.stdout, log, ready, started))
        reader.start()
        try:
            if not started.wait(PATIENCE) or process.poll() is not None:
                raise RuntimeError(f"{command[0]} does not start:\n{log.read_text()}")
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE)
            reader.join()


def _keep_log(output: IO[str], log: Path, ready: str, started: threading.Event) -> None:
    """Copy a server's output to a file; the event is set when it is ready, or has ended."""
    with log.open("w") as file:
        for line in output:
            file.write(line)
            file.flush()
            if ready in line:
                started.set()
    started.set()

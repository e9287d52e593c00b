"""A database far away: what a study waits for are the trips to it, so they are counted."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from database_servers import DatabaseServer
from end_to_end import fill_past
from end_to_end import objective
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler

from optuna_metallmix import MetaLLMiXSampler


pytestmark = [pytest.mark.servers, pytest.mark.slow]


class CountingProxy:
    """Passes on what is sent to a server and back, and counts how often the client waits."""

    def __init__(self, port: int) -> None:
        self.n_trips = 0
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def take(self) -> int:
        """Return the number of trips since the last call."""
        taken, self.n_trips = self.n_trips, 0
        return taken

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # it was closed
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            answered = threading.Event()
            answered.set()
            for source, sink, is_client in ((client, server, True), (server, client, False)):
                arguments = source, sink, is_client, answered
                threading.Thread(target=self._pass_on, args=arguments, daemon=True).start()

    def _pass_on(
        self,
        source: socket.socket,
        sink: socket.socket,
        is_client: bool,
        answered: threading.Event,
    ) -> None:
        with source, suppress(OSError):  # the other side may be closed already
            while data := source.recv(2**16):
                if not is_client:
                    answered.set()
                elif answered.is_set():
                    self.n_trips += 1
                    answered.clear()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def proxy(postgresql: DatabaseServer) -> Iterator[CountingProxy]:
    assert postgresql.address.port is not None
    proxy = CountingProxy(postgresql.address.port)
    yield proxy
    proxy.close()


@pytest.fixture
def far_url(proxy: CountingProxy, postgresql_url: str) -> str:
    """The URL of an empty database behind the proxy."""
    url = sqlalchemy.make_url(postgresql_url).set(port=proxy.port)
    return url.render_as_string(hide_password=False)


def trips(proxy: CountingProxy, storage: str, sampler: BaseSampler, name: str) -> list[int]:
    """Return the trips of each of some trials."""
    study = optuna.create_study(
        storage=storage, study_name=name, sampler=sampler, direction="maximize"
    )
    counts = []
    for _ in range(5):
        proxy.take()
        study.optimize(objective, n_trials=1)
        counts.append(proxy.take())
    assert isinstance(sampler, TPESampler) or "metallmix:why" in study.trials[0].user_attrs
    return counts


def test_a_study_far_away(proxy: CountingProxy, far_url: str) -> None:
    """The first trial has hundreds of trips, and a later one few more than Optuna's own."""
    fill_past(optuna.storages.get_storage(far_url))
    tpe = trips(proxy, far_url, TPESampler(seed=0), "tpe")
    ours = trips(proxy, far_url, MetaLLMiXSampler(llm=False, seed=0), "ours")
    assert ours[0] < 500
    assert max(ours[2:]) < max(tpe) + 30


@pytest.mark.parametrize("n_studies", [3, 40])
def test_a_past_far_away(
    proxy: CountingProxy, far_url: str, tmp_path: Path, n_studies: int
) -> None:
    """It is read for the first two trials, with as many trips for few studies as for many."""
    fill_past(optuna.storages.get_storage(far_url), n_studies=n_studies, n_trials=6)
    sampler = MetaLLMiXSampler(source_storage=far_url, llm=False, seed=0)
    counts = trips(proxy, f"sqlite:///{tmp_path}/own.db", sampler, "ours")
    assert 0 < sum(counts[:2]) < 120
    assert counts[2:] == [0, 0, 0]

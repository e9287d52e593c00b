"""Machines in several time zones agree on one suggestion, also while a model is slow.

Optuna 4 stores the local time of the worker, and the gRPC proxy sends that of its server.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from database_servers import serve_grpc
from end_to_end import fill_past
from end_to_end import new_study
from end_to_end import suggested
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from storage_processes import open_place


pytestmark = [pytest.mark.servers, pytest.mark.slow]
TESTS = Path(__file__).resolve().parents[1]
OLDEST_OPTUNA = TESTS.parent / ".optuna-4.8"
FIRST, OTHERS = "America/Los_Angeles", ("UTC", "Asia/Tokyo")
"""In the other time zones, a trial of the first seems to have started many hours ago."""
WORKER = "import sys, storage_processes; storage_processes.work_slowly(*sys.argv[1:])"


@pytest.fixture(params=["sqlite", "postgresql"])
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/hpo.db"
    url: str = request.getfixturevalue("postgresql_url")
    return url


@contextmanager
def place_of(kind: str, storage_url: str, zone: str) -> Iterator[str]:
    """Yield what workers open: the database itself, or a proxy in a time zone."""
    if kind == "direct":
        yield storage_url
    else:
        with serve_grpc(storage_url, zone) as port:
            yield f"grpc://127.0.0.1:{port}"


def start(place: str, calls: Path, zone: str, oldest: bool) -> subprocess.Popen[str]:
    paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
    if oldest:
        paths.insert(0, str(OLDEST_OPTUNA))
    environment = {**os.environ, "TZ": zone, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-c", WORKER, place, str(calls)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)


@pytest.mark.parametrize(
    ("kind", "oldest"),
    [("grpc", False), ("direct", True)],
    ids=["grpc", "optuna 4.8"],
)
def test_a_slow_model_in_another_time_zone(
    storage_url: str, tmp_path: Path, kind: str, oldest: bool
) -> None:
    """While one machine asks, machines in two other zones start, work and end."""
    if oldest and not OLDEST_OPTUNA.exists():
        pytest.skip("Optuna 4.8 is not in .optuna-4.8; `python run.py test` installs it")
    calls = tmp_path / "calls"
    storage = open_place(storage_url)
    fill_past(storage)
    study = new_study(RandomSampler(), storage)
    with place_of(kind, storage_url, "UTC") as place:
        asking = start(place, calls, FIRST, oldest)
        with asking:
            assert asking.stdout.readline() == "asked\n"
            others = [start(place, calls, zone, oldest) for zone in OTHERS]
            outputs = [other.communicate("\n")[0] for other in others]
            assert outputs == ["", ""]  # they do not ask
            assert [other.returncode for other in others] == [0, 0]
            asking.communicate("\n")
        assert asking.returncode == 0
    trials = study.trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6
    assert [trial.number for trial in suggested(study)] == [0]
    reasons = [trial.user_attrs.get("metallmix:reason", "") for trial in trials[1:]]
    assert sum("Trial 0 " in reason for reason in reasons) == len(OTHERS)  # once for each process
    assert reasons[-1] == ""
    assert len(calls.read_text().splitlines()) == 1

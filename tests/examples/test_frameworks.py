"""Run the examples of other frameworks whose packages are installed here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import optuna
import pytest
from database_servers import find_program
from database_servers import serve_postgresql
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend


pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SQLITE = "sqlite:///{folder}/hpo.db"

# In some environments torchvision fails to import, and Lightning's metrics import it.
WITH_TORCHVISION = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); import torchvision_guard;"
    "torchvision_guard.import_timm(); runpy.run_path(sys.argv.pop(1), run_name='__main__')"
)


def run(folder: Path, name: str, *words: str, prefix: tuple[str, ...] = (), **env: str) -> str:
    """Run an example in a folder, and return what it prints."""
    quiet = {"OPTUNA_METALLMIX_MODEL": "none", "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    done = subprocess.run(
        [sys.executable, *prefix, str(EXAMPLES / "frameworks" / f"{name}.py"), *words],
        cwd=folder, env={**os.environ, **quiet, **env}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def require(*modules: str) -> None:
    for module in modules:
        if find_spec(module.partition(".")[0]) is None:
            pytest.skip(f"{module} is not installed")


def check_study(name: str, storage: object, n_trials: int) -> optuna.trial.FrozenTrial:
    """Check that a study has a single suggestion and its note, and return that trial."""
    dashboard = pytest.importorskip("optuna_dashboard")
    study = optuna.load_study(study_name=name, storage=storage)
    assert len(study.trials) == n_trials
    assert all(trial.state.is_finished() for trial in study.trials)
    (suggested,) = [t for t in study.trials if "metallmix:source" in t.user_attrs]
    assert suggested.user_attrs["metallmix:source"] == "meta-learner"
    assert "past" in dashboard.get_note(study)
    return suggested


def test_joblib(tmp_path: Path) -> None:
    require("joblib")
    run(tmp_path, "joblib_workers")
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "hpo.journal")))
    check_study("joblib", storage, n_trials=10)


def test_dask(tmp_path: Path) -> None:
    require("distributed", "optuna_integration")
    run(tmp_path, "dask_cluster")
    check_study("dask", SQLITE.format(folder=tmp_path), n_trials=10)


def test_ray(tmp_path: Path) -> None:
    require("ray")
    run(tmp_path, "ray_tune", RAY_USAGE_STATS_ENABLED="0")
    check_study("ray", SQLITE.format(folder=tmp_path), n_trials=5)


def test_lightning(tmp_path: Path) -> None:
    require("lightning", "optuna_integration", "timm")
    run(tmp_path, "lightning_pruning", prefix=("-c", WITH_TORCHVISION, str(EXAMPLES)))
    storage = SQLITE.format(folder=tmp_path)
    suggested = check_study("lightning", storage, n_trials=5)
    assert suggested.intermediate_values
    states = {t.state.name for t in optuna.load_study(study_name="past", storage=storage).trials}
    assert states == {"COMPLETE", "PRUNED"}


def test_mlflow(tmp_path: Path) -> None:
    require("mlflow", "optuna_integration")
    output = run(tmp_path, "mlflow_callback", MLFLOW_DISABLE_TELEMETRY="true")
    suggested = check_study("mlflow", SQLITE.format(folder=tmp_path), n_trials=5)
    assert output.split() == [
        str(suggested.number), str(suggested.value), *suggested.user_attrs["metallmix:why"].split()
    ]  # fmt: skip


def test_wandb(tmp_path: Path) -> None:
    require("wandb", "optuna_integration")
    run(tmp_path, "wandb_callback", WANDB_MODE="offline")
    check_study("wandb", SQLITE.format(folder=tmp_path), n_trials=5)
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 5


def test_hydra(tmp_path: Path) -> None:
    require("hydra_plugins", "hydra")
    sampler, study = "hydra/sweeper/sampler=tpe", "hydra.sweeper.study_name=past"
    run(tmp_path, "hydra_sweeper", "-m", sampler, study)
    run(tmp_path, "hydra_sweeper", "-m", "hydra.sweeper.n_trials=3")
    check_study("hydra", SQLITE.format(folder=tmp_path), n_trials=3)


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server for this test."""
    require("psycopg")
    program = find_program("/usr/lib/postgresql/*/bin/pg_ctl")
    if program is None:
        pytest.skip("PostgreSQL is not installed")
    with serve_postgresql(program) as server:
        yield server.url("postgres")


def test_postgresql(tmp_path: Path, postgresql: str) -> None:
    run(tmp_path, "postgresql_workers", STORAGE=postgresql)
    script = EXAMPLES / "frameworks" / "postgresql_workers.py"
    environment = {**os.environ, "STORAGE": postgresql, "OPTUNA_METALLMIX_MODEL": "none"}
    workers = [subprocess.Popen([sys.executable, script], env=environment) for _ in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    check_study("machines", postgresql, n_trials=15)

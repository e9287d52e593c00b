"""A past of thousands of studies needs less than 1 GB, under a limit as of ``ulimit -v``."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from end_to_end import fill_past
from end_to_end import new_study
from end_to_end import objective
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from optuna_metallmix import MetaLLMiXSampler


pytestmark = [pytest.mark.servers, pytest.mark.slow]
LIMIT = 10**9
"""Bytes of address space in addition to those after importing all packages."""
N_TRIALS = 20
TESTS = Path(__file__).resolve().parents[1]
SCRIPT = """
import sys
sys.path.append(sys.argv[1])
from servers import test_memory
test_memory.optimize_within_limit(*sys.argv[2:])
"""
COPIES = """
WITH RECURSIVE copies(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM copies WHERE i < {n} - 1)
INSERT INTO {table} ({columns}) SELECT {values} FROM {table}, copies
"""


def copy_study(path: Path, n_studies: int) -> None:
    """Copy the only study of a file; Optuna needs 24 ms to add a trial."""
    copied = {
        "studies": {"study_id": "study_id + i", "study_name": "study_name || i"},
        "study_directions": {"direction": "direction", "study_id": "study_id + i", "objective": 0},
        "trials": {
            "trial_id": f"trial_id + {N_TRIALS} * i",
            "number": "number",
            "study_id": "study_id + i",
            "state": "state",
            "datetime_start": "datetime_start",
            "datetime_complete": "datetime_complete",
        },
        "trial_values": {
            "trial_id": f"trial_id + {N_TRIALS} * i",
            "objective": "objective",
            "value": "value * (1 + 0.0001 * i * (trial_id % 7))",
            "value_type": "value_type",
        },
        "trial_params": {
            "trial_id": f"trial_id + {N_TRIALS} * i",
            "param_name": "param_name",
            "param_value": "param_value",
            "distribution_json": "distribution_json",
        },
    }
    with closing(sqlite3.connect(path)) as database, database:
        for table, columns in copied.items():
            values = ", ".join(map(str, columns.values()))
            names = ", ".join(columns)
            database.execute(COPIES.format(n=n_studies, table=table, columns=names, values=values))


def optimize_within_limit(past: str, own: str) -> None:
    """Run some trials of a study with a limit of the memory."""
    import catboost  # noqa: F401
    import optuna_dashboard  # noqa: F401
    import pandas  # noqa: F401
    import scipy.stats  # noqa: F401

    sampler = MetaLLMiXSampler(source_storage=past, llm=False, seed=0)
    study = optuna.load_study(study_name="new", storage=own, sampler=sampler)
    n_pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = n_pages * resource.getpagesize() + LIMIT
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    study.optimize(objective, n_trials=4)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
@pytest.mark.parametrize("n_studies", [1_000, 5_000])
def test_thousands_of_past_studies(tmp_path: Path, n_studies: int) -> None:
    past, own = tmp_path / "past.db", f"sqlite:///{tmp_path}/own.db"
    fill_past(f"sqlite:///{past}", n_studies=1, n_trials=N_TRIALS)
    copy_study(past, n_studies)
    study = new_study(RandomSampler(), own)
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, str(TESTS), str(past), own]
    subprocess.run(command, env=environment, check=True)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 4
    assert study.trials[0].user_attrs["metallmix:source"] == "meta-learner"
    assert [t.number for t in study.trials if "metallmix:reason" in t.user_attrs] == []

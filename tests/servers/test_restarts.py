"""Processes that are killed or interrupted at random moments, and storages that fail then.

After a restart, the suggestion reaches a trial that finishes, or the trials say why not.
"""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from database_servers import DatabaseServer
from end_to_end import fill_past
from end_to_end import new_study
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from storage_processes import count_calls
from storage_processes import exit_codes
from storage_processes import fail
from storage_processes import interrupt
from storage_processes import kill
from storage_processes import open_place
from storage_processes import run_again
from storage_processes import run_stopped
from storage_processes import start_process

from optuna_metallmix import read_record


pytestmark = [pytest.mark.servers, pytest.mark.slow]
MakePlace = Callable[[int], str]


@pytest.fixture(params=["sqlite", "journal", "postgresql"])
def make_place(request: pytest.FixtureRequest, tmp_path: Path) -> MakePlace:
    """Makes a storage with a past and an empty study, with a number of its own."""
    kind = request.param
    if kind == "postgresql":
        server: DatabaseServer = request.getfixturevalue("postgresql")
        template: str = request.getfixturevalue("postgresql_url")
    else:
        template = f"{kind}:///{tmp_path}/template"
    storage = open_place(template)
    fill_past(storage)
    new_study(RandomSampler(), storage)
    name = template.rpartition("/")[2]

    def make(number: int) -> str:
        if kind == "postgresql":
            storage._backend.engine.dispose()  # a template may have no other users
            server.execute(f"CREATE DATABASE {name}_{number} TEMPLATE {name}")
        else:
            shutil.copy(tmp_path / name, tmp_path / f"{name}_{number}")
        return f"{template}_{number}"

    return make


def random_moments(make_place: MakePlace, folder: Path, n: int) -> list[int]:
    """Return n different moments of a run of two trials, the same in every test run."""
    counted = folder / "counted"
    undisturbed = start_process(count_calls, make_place(0), folder / "calls", counted)
    assert exit_codes([undisturbed]) == [0]
    return random.Random(0).sample(range(1, int(counted.read_text()) + 1), n)


def stop_and_restart(
    make_place: MakePlace, folder: Path, moments: list[int], act: Callable[[], None]
) -> dict[int, str]:
    """Stop a run at each moment and restart it; return what went wrong, by moment."""
    places = {moment: make_place(moment) for moment in moments}
    calls = {moment: folder / f"calls_{moment}" for moment in moments}
    stopped = [start_process(run_stopped, places[m], calls[m], m, act) for m in moments]
    assert exit_codes(stopped) == [-signal.SIGKILL if act is kill else 0] * len(moments)
    before = {moment: len(load(place).trials) for moment, place in places.items()}
    again = [start_process(run_again, places[m], calls[m]) for m in moments]
    assert exit_codes(again) == [0] * len(moments)
    problems = {m: find_problem(load(places[m]).trials, before[m]) for m in moments}
    return {moment: problem for moment, problem in problems.items() if problem}


def load(place: str) -> optuna.Study:
    return optuna.load_study(study_name="new", storage=open_place(place))


def find_problem(trials: list[FrozenTrial], n_before: int) -> str | None:
    """Return what is wrong with a restarted study, whose first ``n_before`` trials are older."""
    restarted = trials[n_before:]
    if [trial.state for trial in restarted] != [TrialState.COMPLETE] * 4:
        return f"trials of the restarted study did not finish: {restarted}"
    recorded = [trial for trial in trials if read_record(trial) is not None]
    finished = [trial for trial in recorded if trial.state is TrialState.COMPLETE]
    tried = [trial for trial in recorded if trial.params]
    reasons = " ".join(trial.user_attrs.get("metallmix:reason", "") for trial in restarted)
    if len(finished) > 1 or len(tried) > 1:
        return f"suggested more than once: {[trial.number for trial in tried]}"
    if not tried:
        return "no suggestion"
    if tried[0].state is TrialState.RUNNING and f"Trial {tried[0].number} " not in reasons:
        return f"the trials do not say that trial {tried[0].number} has the suggestion"
    if tried[0].number > n_before + 1 and not reasons:
        return "the first trials after the restart do not say why they have no suggestion"
    return None


def test_killed_at_a_random_moment(make_place: MakePlace, tmp_path: Path) -> None:
    moments = random_moments(make_place, tmp_path, 14)
    assert stop_and_restart(make_place, tmp_path, moments, kill) == {}


@pytest.mark.parametrize("make_place", ["sqlite"], indirect=True)
@pytest.mark.parametrize("act", [interrupt, fail])
def test_interrupted_at_a_random_moment(
    make_place: MakePlace, tmp_path: Path, act: Callable[[], None]
) -> None:
    moments = random_moments(make_place, tmp_path, 10)
    assert stop_and_restart(make_place, tmp_path, moments, act) == {}

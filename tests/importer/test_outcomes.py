"""Check states, objective values and durations of runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.importer import read_runs


def trials_of(n: int = 3, **columns: Sequence[Any]) -> list[FrozenTrial]:
    frame = {"params.x": list(range(n)), "value": [0.5] * n, **columns}
    return read_runs(frame, direction="maximize").trials


C, P, F = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


@pytest.mark.parametrize(
    ("column", "words", "states"),
    [
        ("status", ["FINISHED", "FAILED", "KILLED", "RUNNING", "SCHEDULED"], [C, F, P]),
        ("State", ["finished", "crashed", "killed", "running", "pending"], [C, F, P]),
        ("state", ["COMPLETE", "FAIL", "PRUNED", "RUNNING", "WAITING"], [C, F, P]),
        ("status", ["TERMINATED", "ERROR", "stopped", "PAUSED", "PENDING"], [C, F, P]),
        ("status", ["COMPLETED", "INVALID", "STOPPED", "IDLE", "in progress"], [C, F, P, C]),
        ("state", [True, False, True, True, None], [C, F, C, C, C]),
        ("state", ["CA", "NY", "TX", "CA", "WA"], [C] * 5),
    ],
)
def test_states(column: str, words: list[Any], states: list[TrialState]) -> None:
    assert [trial.state for trial in trials_of(5, **{column: words})] == states


def test_a_run_without_a_finite_value_failed() -> None:
    trials = trials_of(6, value=["0.5", "67.5%", "", "OOM", float("inf"), "nan"])
    assert [trial.state for trial in trials] == [C, C, F, F, F, F]
    assert [trial.value for trial in trials][:2] == [0.5, 67.5]
    killed, failed = trials_of(2, value=[0.1, None], status=["killed", "failed"])
    assert (killed.state, killed.value) == (P, 0.1)
    (failed,) = trials_of(1, value=[0.9], status=["failed"])
    assert (failed.state, failed.value) == (F, None)


@pytest.mark.parametrize("columns", [{"state": "nothing"}, {"state": "value"}, {"duration": "no"}])
def test_wrong_columns(columns: dict[str, str]) -> None:
    frame = {"params.x": [1, 2], "value": [0.5, 0.6]}
    ((name, column),) = columns.items()
    with pytest.raises(ValueError, match=f"{name}='{column}'"):
        read_runs(frame, direction="maximize", **columns)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("column", "cells", "seconds"),
    [
        ("duration", [90, "90", 90.0], 90),
        ("Runtime", ["90", "90.0", " 90 "], 90),
        ("duration_ms", [90_000, "90000", 9e4], 90),
        ("duration (ms)", [90_000, "90000", 9e4], 90),
        ("train_time_min", [1.5, "1.5", 1.5], 90),
        ("runtime_hours", [0.025, "0.025", 0.025], 90),
        ("metrics.training_time_s", [90, 90, 90], 90),
        ("time_total_s", [90, 90, 90], 90),
        ("mean_fit_time", [90, 90, 90], 90),
        ("_runtime", [90, 90, 90], 90),
        ("Duration", ["90S", "1m 30s", "PT1M30S"], 90),
        ("duration", ["0 days 00:01:30", "00:01:30", "1:30"], 90),
        ("duration", [timedelta(seconds=90), pd.Timedelta("90s"), timedelta(seconds=90)], 90),
        ("duration", [0, -5, "soon"], 0),
        ("wavelet_time_s", [90, 90, 90], 0),
    ],
)
def test_durations(column: str, cells: list[Any], seconds: float) -> None:
    found = [trial.duration for trial in trials_of(**{column: cells})]
    assert found == [timedelta(seconds=seconds)] * 3


START = datetime(2026, 3, 1, 12, tzinfo=UTC)
LOCAL = START.astimezone().replace(tzinfo=None)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (pd.Timestamp(START), pd.Timestamp(START) + pd.Timedelta("90s")),
        (START, START + timedelta(seconds=90)),
        ("2026-03-01 12:00:00+00:00", "2026-03-01 12:01:30+00:00"),
        ("2026-03-01T12:00:00Z", "2026-03-01T13:01:30+01:00"),
        (START.timestamp(), START.timestamp() + 90),
        (START.timestamp() * 1e3, (START.timestamp() + 90) * 1e3),
        (str(int(START.timestamp() * 1e3)), str(int((START.timestamp() + 90) * 1e3))),
        (START.timestamp() * 1e9, (START.timestamp() + 90) * 1e9),
        (LOCAL.isoformat(), (LOCAL + timedelta(seconds=90)).isoformat()),
    ],
)
def test_start_and_end(start: Any, end: Any) -> None:
    columns = {"start_time": [start, None, end], "end_time": [end, end, start]}
    trials = trials_of(**columns)
    (whole,) = [trial for trial in trials if trial.params == {"x": 0}]
    assert whole.duration == timedelta(seconds=90)
    assert whole.datetime_start == LOCAL
    assert sorted(trial.duration for trial in trials if trial is not whole) == [timedelta(0)] * 2


def test_seconds_since_the_beginning_are_no_date() -> None:
    (trial,) = trials_of(1, start=[10], end=[100.0])
    assert trial.duration == timedelta(seconds=90)
    assert trial.datetime_start is not None
    assert trial.datetime_start.year > 2000


def test_end_and_duration() -> None:
    """As Ray Tune has it."""
    end = START.timestamp() + 90
    (trial,) = trials_of(1, timestamp=[end], time_total_s=[90.0])
    assert (trial.datetime_start, trial.duration) == (LOCAL, timedelta(seconds=90))


def test_named_duration_is_preferred() -> None:
    frame = {"params.x": [1], "value": [2], "duration": [5], "gpu_min": [2]}
    runs = read_runs(frame, direction="maximize", duration="gpu_min")
    assert runs.trials[0].duration == timedelta(minutes=2)
    assert "gpu_min: 120 to 120 seconds" in runs.describe()


def test_a_parameter_is_no_duration() -> None:
    runs = read_runs({"config/time": [5, 6], "value": [1, 2]}, direction="maximize")
    assert [trial.duration for trial in runs.trials] == [timedelta(0)] * 2


def test_latest_first_becomes_earliest_first() -> None:
    days = [f"2026-03-0{day}" for day in (3, 2, 1)]
    assert [trial.params["x"] for trial in trials_of(created=days)] == [2, 1, 0]
    assert [trial.params["x"] for trial in trials_of(created=[*days[:2], None])] == [0, 1, 2]


def test_value_column_is_found_or_asked_for() -> None:
    frame = {"params.x": [1, 2], "metrics.loss": [1, 2], "seed": [3, 4]}
    assert read_runs(frame, direction="minimize").value == "metrics.loss"
    frame["metrics.acc"] = [1, 2]
    with pytest.raises(ValueError, match=r"Columns with numbers: 'metrics.loss', 'metrics.acc'"):
        read_runs(frame, direction="minimize")
    with pytest.raises(ValueError, match="value='accuracy' is not a column"):
        read_runs(frame, direction="minimize", value="accuracy")
    with pytest.raises(ValueError, match=r"value='acc' is not .* mean 'metrics.acc'"):
        read_runs(frame, direction="minimize", value="acc")
    with pytest.raises(ValueError, match=r"value=\['metrics.acc'\] is not a column"):
        read_runs(frame, direction="minimize", value=["metrics.acc"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is among the parameters"):
        read_runs(frame, direction="minimize", value="params.x")


@pytest.mark.parametrize(("cells", "example"), [(["ok", "ok"], "'ok'"), (["", None], "empty")])
def test_value_without_numbers(cells: list[Any], example: str) -> None:
    with pytest.raises(ValueError, match=f"no finite number in any row .*{example}"):
        trials_of(2, value=cells)

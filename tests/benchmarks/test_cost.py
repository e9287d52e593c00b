"""Test the arithmetic of the cost benchmark on data small enough to check by hand."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import create_trial

from benchmarks.cost import METHODS
from benchmarks.cost import WEIGHTS
from benchmarks.cost import Pick
from benchmarks.cost import Runs
from benchmarks.cost import _page
from benchmarks.cost import _timed
from benchmarks.tasks.replay import Replay
from optuna_metallmix.metalearner.meta_learner import Prediction


def test_picks_of_each_method():
    prediction = Prediction(np.array([0.2, 0.9, 0.85, 0.84]), np.full(4, 0.1))
    costs = np.array([0.1, 3.0, 2.0, 1.0])
    chances = {name: weigh(prediction, costs).tolist() for name, weigh in WEIGHTS.items()}
    assert list(chances) == list(METHODS)
    assert chances["best predicted"] == [0, 1, 0, 0]
    assert chances["cost-aware"] == [0, 0, 0, 1]
    assert chances["random equal"] == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3])
    assert chances["cheapest"] == [1, 0, 0, 0]
    assert chances["random"] == [0.25] * 4


def test_trials_last_as_long_as_recorded():
    space = {"x": IntDistribution(0, 9)}
    trials = tuple(
        create_trial(params={"x": i}, distributions=dict(space), value=0.0) for i in range(2)
    )
    runs = Runs(np.zeros(2), np.array([2.5, 7_200.0]), np.zeros(2))
    timed = _timed(Replay("set", {}, space, {}, trials), runs)
    assert [trial.duration for trial in timed.trials] == [
        timedelta(seconds=s) for s in (2.5, 7_200)
    ]
    assert [trial.params for trial in timed.trials] == [trial.params for trial in trials]
    assert trials[0].duration == timedelta(0)


def test_page_has_means_over_sets_and_the_geometric_ratio(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["benchmarks", "cost"])
    seconds = {"best predicted": (100, 100), "cost-aware": (10, 40)}
    picks = [
        Pick(
            task, seed, name, 0.1 + 0.2 * i, seconds.get(name, (50, 50))[i], 0.5, 0, 0.7, 0.1, "c"
        )
        for name in METHODS
        for i, task in enumerate("ab")
        for seed in range(2)
    ]
    text = "\n".join(_page(pd.DataFrame([asdict(pick) for pick in picks])))
    line = next(row for row in text.splitlines() if row.startswith("| cost-aware |"))
    assert "| 0.200 (0.100 to 0.300) | 0.000 (0.000 to 0.000) | 25 |" in line
    assert "| 0.20 (0.10 to 0.40) | 0% |" in line
    assert "python -m benchmarks cost" in text
    assert "explains 70%" in text

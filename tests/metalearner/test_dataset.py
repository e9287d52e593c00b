from __future__ import annotations

import math

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history.history import History
from optuna_metallmix.history.history import PastStudy
from optuna_metallmix.history.scores import PastTrial
from optuna_metallmix.metalearner import dataset as dataset_module
from optuna_metallmix.metalearner.dataset import build_meta_dataset
from optuna_metallmix.metalearner.dataset import categorical_columns
from optuna_metallmix.metalearner.dataset import to_frame
from optuna_metallmix.space.search_space import ABSENT


SPACE = {
    "lr": FloatDistribution(0, 1),
    "size": CategoricalDistribution([16, 32]),
    "kind": CategoricalDistribution(["a", None, True]),
}


def _study(name: str, configs: list[dict[str, object]]) -> PastStudy:
    n = len(configs)
    trials = (PastTrial(params, 1 - i / n, None, None) for i, params in enumerate(configs))
    return PastStudy(name, SPACE, tuple(trials), {})


def test_each_past_trial_is_a_row(history: History) -> None:
    space = history.studies[0].space
    dataset = build_meta_dataset(history, space)
    assert len(dataset.configs) == history.n_trials == 90
    assert dataset.studies == ("skin", "chest", "retina")
    assert np.bincount(dataset.groups).tolist() == [30, 30, 30]
    for config, score, group in zip(dataset.configs, dataset.scores, dataset.groups, strict=True):
        trials = history.studies[group].trials
        assert any(t.params == config and t.rank**3 == score for t in trials)


def test_foreign_parameters_and_empty_rows_are_dropped() -> None:
    history = History((_study("a", [{"lr": 0.5, "x": 1}, {"x": 2}, {"lr": 0.1}]),))
    dataset = build_meta_dataset(history, {"lr": SPACE["lr"]})
    assert dataset.configs == ({"lr": 0.5}, {"lr": 0.1})


@pytest.mark.parametrize("history", [History(), History((_study("a", [{"x": 1}]),))])
def test_empty_table_is_a_history_error(history: History) -> None:
    with pytest.raises(HistoryError, match="no past trial with a parameter"):
        build_meta_dataset(history, SPACE)


def test_large_past_keeps_an_even_spread_from_best_to_worst(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dataset_module, "MAX_ROWS", 60)
    configs: list[dict[str, object]] = [{"lr": i / 100} for i in range(100)]
    history = History((_study("a", configs), _study("b", configs[:5])))
    dataset = build_meta_dataset(history, SPACE)
    kept = [config["lr"] for config in dataset.configs[:30]]
    assert len(set(kept)) == 30
    assert (kept[0], kept[-1]) == (0.0, 0.99)
    assert np.ptp(np.diff(kept)) < 0.011
    assert np.bincount(dataset.groups).tolist() == [30, 5]


def test_columns_are_numeric_or_text() -> None:
    frame = to_frame(
        SPACE,
        [
            {"lr": 0.5, "size": 32, "kind": None},
            {"lr": 0.25, "kind": True},
            {"size": 16},
            {"size": "odd", "kind": "new", "other": 1},
        ],
    )
    assert list(frame) == ["lr", "size", "kind"]
    assert frame["lr"].tolist()[:2] == [0.5, 0.25]
    assert math.isnan(frame["lr"][2])
    assert math.isnan(frame["size"][3])
    assert frame["kind"].tolist() == ["null", "true", ABSENT, "new"]
    assert categorical_columns(SPACE) == ["kind"]
    assert categorical_columns({"n": IntDistribution(0, 1)}) == []

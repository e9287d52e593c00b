from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history.history import History
from optuna_metallmix.space.search_space import contains
from optuna_metallmix.space.search_space import merge_spaces
from optuna_metallmix.transfer.acquisition import N_START
from optuna_metallmix.transfer.acquisition import PROBE
from optuna_metallmix.transfer.acquisition import TransferModel
from optuna_metallmix.transfer.acquisition import _most_telling


@pytest.fixture(scope="module")
def model(learned) -> TransferModel:
    history = learned.history
    return TransferModel(history, merge_spaces(one.space for one in history.studies), seed=0)


def own_trials(model: TransferModel, n: int) -> list[dict]:
    rng = np.random.default_rng(1)
    return [dict(model._pool[int(i)]) for i in rng.choice(len(model._pool), n, replace=False)]


def expected(model: TransferModel, own: list[dict]) -> np.ndarray:
    return model.learner.predict(own).mean


def test_without_own_trials_it_tries_what_the_past_expects_most_of(model) -> None:
    step = model.next([], np.zeros(0), np.random.default_rng(0))
    best = max(expected(model, model._pool))
    assert expected(model, [step.params])[0] == pytest.approx(best)


@pytest.mark.parametrize("n", [1, 2, PROBE, PROBE + 1, 12])
def test_every_step_is_new_and_in_the_space(model, n: int) -> None:
    own = own_trials(model, n)
    step = model.next(own, expected(model, own), np.random.default_rng(0))
    assert step.params not in own
    assert all(contains(model.space[name], value) for name, value in step.params.items())
    assert ("momentum" in step.params) is (step.params["optimizer"] == "sgd")


def test_a_past_that_orders_own_trials_is_believed(model) -> None:
    own = own_trials(model, 8)
    assert model.next(own, expected(model, own), np.random.default_rng(0)).belief > 0.99


def test_a_past_that_misorders_own_trials_is_not(model) -> None:
    own = own_trials(model, 8)
    assert model.next(own, -expected(model, own), np.random.default_rng(0)).belief < 0.01


def test_a_past_that_carries_nothing_over_is_not_used(model, monkeypatch) -> None:
    monkeypatch.setattr(model.learner, "quality", 0.02)
    own = own_trials(model, 8)
    assert model.next(own, expected(model, own), np.random.default_rng(0)).belief == 0.0


def test_few_trials_without_the_past_are_random_ones(model, monkeypatch) -> None:
    """A process that knows little would go to the corners of the space."""
    monkeypatch.setattr(model.learner, "quality", 0.0)
    own = own_trials(model, N_START - 1)
    drawn = [model.next(own, expected(model, own), np.random.default_rng(i)) for i in range(9)]
    assert all(step.params in model._random for step in drawn)
    assert len({str(step.params) for step in drawn}) > 1
    more = own_trials(model, N_START)
    steps = [model.next(more, expected(model, more), np.random.default_rng(i)) for i in range(9)]
    assert any(step.params not in model._random for step in steps)


def test_the_probe_is_a_configuration_of_which_the_past_expects_little(model) -> None:
    own = [dict(one) for one in model._pool[:PROBE]]
    probe = model.next(own, expected(model, own), np.random.default_rng(0)).params
    middle = np.median(expected(model, model._pool))
    assert abs(expected(model, [probe])[0] - middle) < abs(expected(model, own)[0] - middle)


def test_own_trials_overrule_the_past_where_they_are_many(model) -> None:
    """Where only weight on the wrong side is good, the search ends up there."""
    own, rng = own_trials(model, 6), np.random.default_rng(0)
    for _ in range(14):
        own.append(
            dict(model.next(own, np.array([-one["depth"] for one in own], float), rng).params)
        )
    assert min(one["depth"] for one in own[6:]) == 1


def test_equal_own_values_do_not_hurt(model) -> None:
    own = own_trials(model, 5)
    assert model.next(own, np.zeros(5), np.random.default_rng(0)).params not in own


def test_it_repeats_exactly(model) -> None:
    own = own_trials(model, 5)
    first, second = (
        model.next(own, expected(model, own), np.random.default_rng(7)).params for _ in range(2)
    )
    assert first == second


def test_very_many_own_trials_are_thinned_to_the_best_and_the_latest() -> None:
    own = [{"x": i} for i in range(500)]
    kept, worths = _most_telling(own, np.array([-float(i) for i in range(500)]))
    assert len(kept) <= 200
    assert {"x": 0} in kept
    assert {"x": 499} in kept
    assert worths[0] == 0.0


def test_nothing_to_learn_is_said(learned) -> None:
    space = learned.learner.space
    with pytest.raises(HistoryError, match="no past trial"):
        TransferModel(replace(learned.history, studies=()), space, seed=0)
    with pytest.raises(HistoryError):
        TransferModel(History(), space, seed=0)

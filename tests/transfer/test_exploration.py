from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_metallmix.history.history import History
from optuna_metallmix.history.history import PastStudy
from optuna_metallmix.history.scores import PastTrial
from optuna_metallmix.transfer.exploration import Exploration


PAST = {
    "kind": CategoricalDistribution(["a", "b", "c"]),
    "depth": IntDistribution(1, 6),
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
}
POOL = [
    {"kind": "a", "depth": 2, "rate": 1e-2},
    {"kind": "b", "depth": 3, "rate": 1e-3},
    {"kind": "a", "depth": 4, "rate": 1e-3},
    {"kind": "c", "depth": 5, "rate": 1e-2},
]
MEANS = np.array([0.9, 0.2, 0.5, 0.4])


@pytest.fixture
def exploration() -> Exploration:
    trials = tuple(PastTrial(params, 0.5, 1.0, None) for params in POOL)
    history = History((PastStudy("past", PAST, trials, {}),))
    return Exploration(history, POOL, MEANS)


def test_choices_are_tried_in_the_order_of_their_best_prediction(exploration) -> None:
    first = exploration.untried(POOL[0], [POOL[0]], PAST)
    assert first == POOL[3]
    assert exploration.untried(POOL[0], [POOL[0], POOL[3]], PAST) == POOL[1]
    assert exploration.untried(POOL[0], [POOL[0], POOL[3], POOL[1]], PAST) is None


def test_unknown_choices_come_first_in_the_best_configuration(exploration) -> None:
    wider = {**PAST, "kind": CategoricalDistribution(["a", "b", "c", "new", "newer"])}
    best = {**POOL[0], "depth": 6}
    first = exploration.untried(best, [best], wider, only_unknown=True)
    assert first == {**best, "kind": "new"}
    second = exploration.untried(best, [best, first], wider, only_unknown=True)
    assert second == {**best, "kind": "newer"}
    assert exploration.untried(best, [best, first, second], wider, only_unknown=True) is None


def test_nothing_is_unknown_in_the_space_of_the_past(exploration) -> None:
    assert exploration.unknown(PAST) == {}
    narrower = {**PAST, "depth": IntDistribution(2, 5)}
    assert exploration.unknown(narrower) == {}


@pytest.mark.parametrize(
    ("name", "distribution", "phrase"),
    [
        ("kind", CategoricalDistribution(["a", "new"]), "'kind' = new"),
        ("depth", IntDistribution(1, 20), "'depth' outside 1 to 6"),
        ("rate", FloatDistribution(1e-6, 1e-1, log=True), "'rate' outside 0.0001 to 0.1"),
        ("other", FloatDistribution(0, 1), "the parameter 'other'"),
    ],
)
def test_unknown_values_are_described(exploration, name, distribution, phrase) -> None:
    assert exploration.unknown({**PAST, name: distribution}) == {name: phrase}


def test_a_slightly_wider_range_is_known(exploration) -> None:
    assert exploration.unknown({"rate": FloatDistribution(1e-4, 1.3e-1, log=True)}) == {}


def test_a_parameter_of_another_kind_is_unknown(exploration) -> None:
    assert exploration.unknown({"kind": FloatDistribution(0, 1)}) == {
        "kind": "the parameter 'kind'"
    }

from __future__ import annotations

import pytest
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from optuna_metallmix.history.names import describe_renamed
from optuna_metallmix.history.names import find_renamed
from optuna_metallmix.history.names import unknown_names


def _space(*names: str) -> dict[str, BaseDistribution]:
    return {name: FloatDistribution(0, 1) for name in names}


@pytest.mark.parametrize(
    ("past", "present"),
    [
        ("lr", "learning_rate"),
        ("learningRate", "learning_rate"),
        ("eta", "lr"),
        ("wd", "weight_decay"),
        ("bs", "batch_size"),
        ("n_estimators", "num_boost_round"),
        ("leraning_rate", "learning_rate"),
        ("optimizer.lr", "learning_rate"),
        ("classifier__max_depth", "max_depth"),
        ("n_layers", "num_layers"),
        ("beta_1", "beta1"),
    ],
)
def test_close_names_are_found(past: str, present: str) -> None:
    assert find_renamed(_space(present, "x"), _space(past, "x")) == {past: present}
    assert find_renamed(_space(past), _space(present)) == {present: past}


@pytest.mark.parametrize(
    ("past", "present"),
    [
        ("units_1", "units_2"),
        ("max_depth", "min_depth"),
        ("min_lr", "max_lr"),
        ("x", "y"),
        ("reg_alpha", "reg_lambda"),
        ("sgd.lr", "adam.lr"),
        ("momentum", "dropout"),
        ("layer1.units", "units"),
    ],
)
def test_other_parameters_are_not(past: str, present: str) -> None:
    assert find_renamed(_space(present), _space(past)) == {}


def test_only_parameters_without_a_past_are_renamed_each_once() -> None:
    assert find_renamed(_space("lr"), _space("lr", "learning_rate")) == {}
    assert find_renamed(_space("lr", "learning_rate"), _space("lr")) == {}
    assert find_renamed(_space("lr", "step_size"), _space("LR")) == {"LR": "lr"}
    assert find_renamed(_space("lr"), _space("eta", "Lr")) == {"Lr": "lr"}


def test_numbers_are_not_renamed_choices() -> None:
    choices = {"optim": CategoricalDistribution(["sgd", "adam"])}
    assert find_renamed(_space("optimizer"), choices) == {}


def test_the_line_tells_what_to_pass() -> None:
    line = describe_renamed({"lr": "learning_rate", "bs": "batch_size"})
    assert "no parameter 'learning_rate' and 'batch_size', but 'lr' and 'bs'" in line
    assert "pass aliases={'lr': 'learning_rate', 'bs': 'batch_size'}" in line


def test_names_that_exist_are_not_unknown() -> None:
    assert unknown_names(["a", "A"], ["a", "A", "b"]) == ""
    assert unknown_names(["q", "q"], []) == "'q'"

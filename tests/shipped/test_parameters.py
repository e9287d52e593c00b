"""The names of the shipped pasts' parameters, and which past is offered for an objective."""

from __future__ import annotations

import pytest
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from optuna_metallmix.shipped import CHOICES
from optuna_metallmix.shipped import LIBRARIES
from optuna_metallmix.shipped import describe_offer
from optuna_metallmix.shipped import find_libraries
from optuna_metallmix.shipped import past_name
from optuna_metallmix.shipped import shipped_past
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import is_ordered


@pytest.mark.parametrize(
    ("library", "name", "past"),
    [
        ("lightgbm", "min_data_in_leaf", "min_child_samples"),
        ("lightgbm", "lambda_l1", "reg_alpha"),
        ("lightgbm", "num_boost_round", "n_estimators"),
        ("xgboost", "eta", "learning_rate"),
        ("xgboost", "lambda", "reg_lambda"),
        ("xgboost", "min_split_loss", "gamma"),
        ("catboost", "n_estimators", "iterations"),
        ("catboost", "reg_lambda", "l2_leaf_reg"),
        ("svm", "svc__C", "C"),
        ("random-forest", "model__regressor__max_depth", "max_depth"),
    ],
)
def test_other_names(library: str, name: str, past: str) -> None:
    assert past_name(library, name) == past
    assert past_name(library, past) == past


def test_an_unknown_name() -> None:
    assert past_name("svm", "eta") is None


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_first_name_of_a_parameter_is_its_own(library: str) -> None:
    names = LIBRARIES[library]
    assert all(names[past] == past for past in names.values())
    assert all("\n" not in name for name in names)


NUMBER = FloatDistribution(0.0, 1.0)
CHOICE = CategoricalDistribution(["a", "b"])


def space(names: str) -> SearchSpace:
    """Return numbers, and choices where a name ends with a question mark."""
    return {n.rstrip("?"): CHOICE if n.endswith("?") else NUMBER for n in names.split()}


@pytest.mark.parametrize(
    ("names", "libraries"),
    [
        (
            "lambda_l1 lambda_l2 num_leaves feature_fraction bagging_fraction bagging_freq "
            "min_child_samples",  # of both of LightGBM's interfaces, as in Optuna's example
            ["lightgbm"],
        ),
        ("eta max_depth min_child_weight lambda alpha", ["xgboost"]),
        ("booster? lambda alpha max_depth eta gamma grow_policy?", ["xgboost"]),
        ("iterations depth l2_leaf_reg learning_rate", ["catboost"]),
        ("n_estimators max_depth min_samples_split max_features?", ["random-forest"]),
        ("C gamma", ["svm"]),
        ("svc__C svc__kernel?", ["svm"]),
        ("C solver? class_weight?", ["logistic-regression"]),
        ("n_units n_layers activation? alpha learning_rate_init", ["mlp"]),
        ("learning_rate max_depth subsample", ["lightgbm", "xgboost", "catboost"]),
        ("lr batch_size dropout optimizer?", []),
        ("learning_rate batch_size dropout", []),
        ("learning_rate batch_size momentum", []),  # the past's learning rate is a schedule
        ("n_layers n_units learning_rate dropout", []),
        ("learning_rate gamma", []),
        ("alpha max_iter", []),
        ("max_depth min_samples_split", []),
        ("C", []),
        ("", []),
    ],
)
def test_which_pasts_have_the_parameters(names: str, libraries: list[str]) -> None:
    assert find_libraries(space(names)) == libraries


def test_two_names_of_a_parameter_count_once() -> None:
    assert find_libraries(space("lambda_l1 reg_alpha num_leaves")) == []


def test_the_offer_names_what_to_pass() -> None:
    offer = describe_offer(space("C gamma"), ["lr"])
    assert 'pass source_storage="shipped:svm" to the sampler' in str(offer)
    both = str(describe_offer(space("learning_rate max_depth subsample reg_alpha"), []))
    assert 'source_storage="shipped:lightgbm" or source_storage="shipped:xgboost"' in both


@pytest.mark.parametrize(("names", "known"), [("lr", []), ("C gamma", ["C", "lr"]), ("", [])])
def test_no_offer(names: str, known: list[str]) -> None:
    assert describe_offer(space(names), known) is None


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_choices_are_those_of_the_files(library: str) -> None:
    studies = shipped_past(library).get_all_studies()
    past = shipped_past(library)
    trials = [t for i in range(len(studies)) for t in past.get_all_trials(i, deepcopy=False)]
    found = {name: d for trial in trials for name, d in trial.distributions.items()}
    assert set(found) == set(LIBRARIES[library].values())
    assert {name for name, d in found.items() if not is_ordered(d)} == set(CHOICES[library])

"""The parameters of the shipped pasts, and the other names that their libraries give them.

A parameter has several names: `min_child_samples` of LightGBM's scikit-learn interface is
`min_data_in_leaf` of its own. The names are from the parameter pages of LightGBM 4.6, XGBoost 3.1
and CatBoost 1.2, except those that a library uses for something else.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from collections.abc import Mapping
from types import MappingProxyType

from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import is_ordered


PREFIX = "shipped:"
"""How the address of a shipped past begins, as in ``source_storage="shipped:lightgbm"``."""
MIN_SHARE = 2 / 3
"""Least share of an objective's parameters that a past has if it is offered, in [0, 1]."""
MIN_SHARED = 3
"""Least number of these parameters, of which those in ``_TELLING`` count twice."""
_TELLING = {"C"}
"""Names that hardly anything else has."""

_PARAMETERS = {
    "lightgbm": """
        n_estimators num_iterations num_iteration n_iter num_tree num_trees num_round num_rounds
            nrounds num_boost_round
        learning_rate eta shrinkage_rate
        num_leaves num_leaf max_leaves max_leaf max_leaf_nodes
        max_depth
        min_child_samples min_data_in_leaf min_data min_data_per_leaf min_samples_leaf
        min_split_gain min_gain_to_split
        subsample_freq bagging_freq
        subsample bagging_fraction sub_row bagging
        colsample_bytree feature_fraction sub_feature
        reg_alpha lambda_l1 l1_regularization
        reg_lambda lambda_l2 lambda l2_regularization
    """,
    "xgboost": """
        n_estimators num_boost_round num_round
        learning_rate eta
        grow_policy
        max_depth
        max_leaves
        min_child_weight
        subsample
        colsample_bytree
        colsample_bylevel
        gamma min_split_loss
        reg_alpha alpha
        reg_lambda lambda
    """,
    "catboost": """
        iterations n_estimators num_boost_round num_trees
        learning_rate eta
        grow_policy
        depth max_depth
        l2_leaf_reg reg_lambda
        random_strength
        rsm colsample_bylevel
        bootstrap_type
        min_data_in_leaf min_child_samples
        bagging_temperature
        subsample
    """,
    "random-forest": """
        n_estimators
        max_features
        max_depth
        min_samples_split
        min_samples_leaf
        bootstrap
        max_samples
        criterion
        class_weight
    """,
    "svm": """
        C
        kernel
        gamma
        degree
        coef0
        class_weight
        epsilon
    """,
    "mlp": """
        n_layers
        n_units
        activation
        solver
        alpha
        learning_rate_init
        learning_rate
        batch_size
        max_iter
        early_stopping
        momentum
    """,
    "logistic-regression": """
        C
        solver
        class_weight
        max_iter
        tol
        l1_ratio
    """,
}
"""Each parameter on a line, followed by its other names."""


def _other_names(text: str) -> dict[str, str]:
    lines = re.sub(r"\n {12}", " ", text).split("\n")
    rows = [line.split() for line in lines if line.strip()]
    return {name: row[0] for row in rows for name in row}


LIBRARIES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {library: MappingProxyType(_other_names(text)) for library, text in _PARAMETERS.items()}
)
"""For each shipped past, its parameters by each of their names."""


CHOICES: Mapping[str, Collection[str]] = {
    "lightgbm": (),
    "xgboost": ("grow_policy",),
    "catboost": ("grow_policy", "bootstrap_type"),
    "random-forest": ("bootstrap", "criterion", "class_weight"),
    "svm": ("kernel", "class_weight"),
    "mlp": ("activation", "solver", "early_stopping", "learning_rate"),
    "logistic-regression": ("solver", "class_weight"),
}
"""For each shipped past, the parameters that are choices; all others are numbers."""


def past_name(library: str, name: str) -> str | None:
    """Return the parameter of a past that an objective asks for; ``None`` if there is none.

    A prefix of scikit-learn's pipelines, as in ``svc__C``, does not count.
    """
    return LIBRARIES[library].get(name.rpartition("__")[2])


def find_libraries(space: SearchSpace) -> list[str]:
    """Return the pasts that have most of an objective's parameters; several if equally many.

    Args:
        space: The distributions of all of the objective's parameters.
    """
    found = {library: _shared(library, space) for library in LIBRARIES}
    most = max(map(len, found.values()))
    enough = max(MIN_SHARE * len(space), 1)
    return [
        library
        for library, shared in found.items()
        if len(shared) == most >= enough and len(shared) + len(shared & _TELLING) >= MIN_SHARED
    ]


def _shared(library: str, space: SearchSpace) -> set[str]:
    """Return the parameters of a past that an objective has, choices as choices."""
    names = {name: past_name(library, name) for name in space}
    return {
        past
        for name, past in names.items()
        if past is not None and is_ordered(space[name]) is (past not in CHOICES[library])
    }


def describe_offer(space: SearchSpace, known: Collection[str]) -> str | None:
    """Say what to pass to start from the shipped past that has an objective's parameters.

    Args:
        space: The distributions of all of the objective's parameters.
        known: The names of the parameters that past studies have.

    Returns:
        A sentence; ``None`` if past studies have half of the parameters, or no shipped past has
        most of them.
    """
    addresses = [f'source_storage="{PREFIX}{library}"' for library in find_libraries(space)]
    if not addresses or 2 * len(set(known).intersection(space)) >= len(space):
        return None
    return (
        "no past study has most of its parameters yet, but a past that comes with the package "
        f"has. To start from it, pass {' or '.join(addresses)} to the sampler."
    )

"""Convert configurations and SHAP values to a ``shap.Explanation`` for the plots of shap."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from optuna_metallmix.metalearner import Floats
from optuna_metallmix.space import ABSENT
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import is_number
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import labels_of


if TYPE_CHECKING:
    import shap


def shap_view(
    space: SearchSpace, configs: Sequence[Config], values: Floats, base: float
) -> shap.Explanation:
    """Return SHAP values as a :class:`shap.Explanation`.

    Its ``data`` is numeric, since the plots use it for positions and colors: choices are indices,
    inactive parameters NaN. ``display_data`` has the labels. Each row's values and the base value
    sum to the prediction.

    Args:
        space: Parameters, in the order of the columns of ``values``.
        configs: Configurations, shape (n_rows,).
        values: SHAP values, shape (n_rows, n_parameters), in score units.
        base: Base value, in score units.

    Raises:
        ImportError: shap is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations in shap's own imports
        import shap

    labels = [
        labels_of(distribution, [config.get(name, ABSENT) for config in configs])
        for name, distribution in space.items()
    ]
    return shap.Explanation(
        values,
        base_values=np.full(len(configs), base),
        data=encode(space, configs),
        display_data=np.array(labels, object).T,
        feature_names=list(space),
    )


def encode(space: SearchSpace, configs: Sequence[Config]) -> Floats:
    """Encode configurations as numbers, shape (n_rows, n_parameters); NaN where inactive."""
    columns: list[list[float]] = []
    for name, distribution in space.items():
        values = [config.get(name, ABSENT) for config in configs]
        if is_ordered(distribution):
            columns.append([float(value) if is_number(value) else np.nan for value in values])
        else:  # unknown choices come after the known ones
            labels = labels_of(distribution, values)
            known = labels_of(distribution, choices_of(distribution))
            order = [label for label in dict.fromkeys([*known, *labels]) if label != ABSENT]
            indices = {label: float(i) for i, label in enumerate(order)}
            columns.append([indices.get(label, np.nan) for label in labels])
    return np.array(columns, float).T

"""configurations + their SHAP values -> `shap.Explanation`, which every plot of shap takes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optuna_metallmix.space import ABSENT
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import is_number
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import label_of
from optuna_metallmix.space import labels_of


if TYPE_CHECKING:
    import shap

Floats = NDArray[np.float64]


def shap_view(
    space: SearchSpace, configs: Sequence[Config], values: Floats, base: float
) -> shap.Explanation:
    """Return SHAP values with the configurations they are of.

    ``data`` is numbers, since shap's plots colour and place by them: a choice is its place in the
    list of choices, a parameter that is not active NaN. ``display_data`` is what people read.

    Args:
        space: The parameters, in the order of the columns of ``values``.
        configs: The configurations, shape (n_rows,).
        values: SHAP values, shape (n_rows, n_parameters), in score units.
        base: The base value, in score units.

    Raises:
        ImportError: shap is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own use of matplotlib and NumPy, as it loads
        import shap

    return shap.Explanation(
        values,
        base_values=np.full(len(configs), base),
        data=encode(space, configs),
        display_data=_texts(space, configs),
        feature_names=list(space),
    )


def encode(space: SearchSpace, configs: Sequence[Config]) -> Floats:
    """Return configurations as numbers, shape (n_rows, n_parameters); NaN where not active."""
    data = np.full((len(configs), len(space)), np.nan)
    for column, (name, distribution) in enumerate(space.items()):
        rows = [row for row, config in enumerate(configs) if name in config]
        raw = [configs[row][name] for row in rows]
        if not is_ordered(distribution):
            data[rows, column] = _places(distribution, raw)
        else:
            data[rows, column] = [float(one) if is_number(one) else np.nan for one in raw]
    return data


def _places(distribution: Any, raw: Sequence[Any]) -> list[float]:
    """Return the place of each choice; one that is not in the list stands behind it."""
    places: dict[str, int] = {}
    for label in [*(label_of(distribution, one) for one in choices_of(distribution))]:
        places.setdefault(label, len(places))
    return [float(places.setdefault(one, len(places))) for one in labels_of(distribution, raw)]


def _texts(space: SearchSpace, configs: Sequence[Config]) -> NDArray[np.object_]:
    texts = np.full((len(configs), len(space)), ABSENT, object)
    for column, (name, distribution) in enumerate(space.items()):
        rows = [row for row, config in enumerate(configs) if name in config]
        texts[rows, column] = labels_of(distribution, [configs[row][name] for row in rows])
    return texts

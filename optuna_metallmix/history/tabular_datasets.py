"""Describe tables by meta-features, which are compared with those of past studies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal

import numpy as np


if TYPE_CHECKING:
    import pandas as pd

_MAX_CLASSES = 20
"""Whole numbers with more distinct values are the target of a regression."""


def tabular_meta_features(
    X: Any,  # noqa: N803, scikit-learn's name
    y: Any,
    task: Literal["classification", "regression"] | None = None,
) -> dict[str, float | int]:
    """Compute the seven groups of meta-features of a table.

    Args:
        X: Columns of the training rows, before categories are encoded and missing values imputed:
            a data frame or an array, shape (n_instances, n_features). Columns of text, categories
            or truth values are categorical.
        y: Target of the training rows, shape (n_instances,) or (n_instances, 1).
        task: Whether the target is a class or a number. By default, text, categories, truth
            values, and whole numbers with at most 20 distinct values are classes.

    Returns:
        Scalars to pass as ``meta_features`` of the sampler, or to store as user attributes of a
        study: ``n_instances``, ``n_features``, ``n_classes`` (0 in a regression),
        ``categorical_share`` (of the columns, 0 to 1), ``missing_share`` (of the cells, 0 to 1),
        ``imbalance_ratio`` (largest / smallest class, at least 1) and ``class_entropy`` (bits,
        from 0 to log2 of ``n_classes``). A regression has a ratio of 1 and an entropy of 0.

    Raises:
        ValueError: ``X`` is not a table, ``y`` is not a target of the same rows, a target is
            missing, or ``task`` is unknown. The message says what to pass.
    """
    table, target = _table(X), _target(y)
    if len(table) != len(target):
        raise ValueError(
            f"X has {len(table)} rows and y has {len(target)} targets. Pass one target a row."
        )
    if task not in (None, "classification", "regression"):
        raise ValueError(f'task={task!r} must be "classification", "regression" or None.')
    classes = _are_classes(target) if task is None else task == "classification"
    categorical = sum(_is_categorical(table.iloc[:, i]) for i in range(table.shape[1]))
    return {
        "n_instances": len(table),
        "n_features": table.shape[1],
        "categorical_share": categorical / table.shape[1],
        "missing_share": float(table.isna().to_numpy().mean()),
        **_class_features(target.value_counts().tolist() if classes else []),
    }


def _table(columns: Any) -> pd.DataFrame:
    import pandas as pd

    if hasattr(columns, "toarray"):
        raise ValueError(
            "X is a sparse matrix. Pass the columns before they are encoded, as a data frame."
        )
    if np.ndim(columns) != 2 or 0 in np.shape(columns):
        raise ValueError(
            f"X has the shape {np.shape(columns)}, which is not a table. Pass a data frame or an "
            "array of shape (n_instances, n_features)."
        )
    if isinstance(columns, pd.DataFrame):
        return columns
    return pd.DataFrame(np.asarray(columns)).infer_objects()


def _target(values: Any) -> pd.Series[Any]:
    import pandas as pd

    shape = np.shape(values)
    if len(shape) == 2 and shape[1] == 1:
        values = np.asarray(values)[:, 0]
    elif len(shape) != 1:
        raise ValueError(
            f"y has the shape {shape}. Pass the target of each row, shape (n_instances,)."
        )
    target = pd.Series(np.asarray(values)).infer_objects()
    if target.isna().any():
        raise ValueError("y has missing targets. Leave out their rows.")
    return target


def _is_categorical(column: pd.Series[Any]) -> bool:
    import pandas as pd

    numeric = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
    return not numeric and not pd.api.types.is_datetime64_any_dtype(column)


def _are_classes(target: pd.Series[Any]) -> bool:
    if _is_categorical(target):
        return True
    numbers = target.to_numpy(dtype=float)
    return bool((numbers == np.round(numbers)).all() and target.nunique() <= _MAX_CLASSES)


def _class_features(sizes: Sequence[int]) -> dict[str, float | int]:
    if not sizes:
        return {"n_classes": 0, "imbalance_ratio": 1.0, "class_entropy": 0.0}
    shares = np.array(sizes) / sum(sizes)
    return {
        "n_classes": len(sizes),
        "imbalance_ratio": max(sizes) / min(sizes),
        "class_entropy": max(0.0, float(-(shares * np.log2(shares)).sum())),
    }

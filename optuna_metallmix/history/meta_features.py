"""Describe image datasets by meta-features, and measure how similar studies are by them.

The seven groups are those of MetaLLMiX (arXiv 2509.09387): instances, classes, imbalance ratio,
class entropy, resolution, class-size statistics, modality.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from operator import index
from statistics import fmean
from statistics import pstdev
from typing import Any
from typing import TypeAlias

import numpy as np

from optuna_metallmix.history.image_datasets import labels_and_size
from optuna_metallmix.history.image_datasets import labels_of


MetaFeatures: TypeAlias = Mapping[str, float | int | str]

_MAX_TEXT = 64
"""Maximum length of a string meta-feature; longer strings are descriptions."""


def image_meta_features(
    dataset: Any,
    image_size: int | tuple[int, int] | tuple[int, int, int] | None = None,
    modality: str | None = None,
) -> dict[str, float | int | str]:
    """Compute the seven groups of meta-features of an image classification dataset.

    Args:
        dataset: The training images: a dataset with ``len`` and items (image, label), from
            torchvision, medmnist, Hugging Face or your own code. The sizes of up to 100 images are
            read, so leave out transforms that resize. Or, together with ``image_size``, also the
            class of each training image: a list, array, tensor or iterator, shape (n_instances,)
            or one-hot (n_instances, n_classes), or a data frame with a column ``label``. A class
            is text, a whole number or a member of an enumeration.
        image_size: Size in pixels: an integer for square images, (height, width), or
            (height, width, channels). If given, the images of a dataset that stores its labels
            are not read.
        modality: The imaging modality, such as ``"MRI"``, ``"CT"`` or ``"X-ray"``, at most 64
            characters.

    Returns:
        Scalars that can be stored as user attributes of a study: ``n_instances``, ``n_classes``,
        ``imbalance_ratio`` (largest / smallest class, at least 1), ``class_entropy`` (bits, from 0
        to log2 of ``n_classes``), ``image_height`` and ``image_width`` (pixels), ``n_channels`` if
        known, ``class_size_mean``, ``class_size_std`` (population), ``class_size_min`` and
        ``class_size_max`` (instances), and ``modality`` if given.

    Raises:
        ValueError: ``dataset`` is not such a dataset, an image cannot be read or does not have
            exactly one class, there are no labels, or ``image_size`` or ``modality`` is invalid.
            The message says what to pass.
    """
    if modality is not None and not (isinstance(modality, str) and 0 < len(modality) <= _MAX_TEXT):
        raise ValueError(
            f'modality={modality!r} must be a short text, such as "CT", of 1 to {_MAX_TEXT} '
            "characters."
        )
    if image_size is None:
        labels, image_size = labels_and_size(dataset)
    else:
        labels = labels_of(dataset)
    sizes = list(Counter(labels).values())
    if not sizes:
        raise ValueError("There are no labels. Pass the class of each training image.")
    total = sum(sizes)
    features: dict[str, float | int | str] = {
        "n_instances": total,
        "n_classes": len(sizes),
        "imbalance_ratio": max(sizes) / min(sizes),
        "class_entropy": sum(n / total * math.log2(total / n) for n in sizes),
        **_resolution(image_size),
        "class_size_mean": fmean(sizes),
        "class_size_std": pstdev(sizes),
        "class_size_min": min(sizes),
        "class_size_max": max(sizes),
    }
    return features if modality is None else {**features, "modality": modality}


def _resolution(size: int | tuple[int, ...]) -> dict[str, int]:
    try:
        pixels = [index(n) for n in (size if isinstance(size, Iterable) else (size, size))]
    except TypeError:
        pixels = []
    if len(pixels) not in (2, 3) or min(pixels) <= 0:
        raise ValueError(
            f"image_size={size!r} must be a positive number of pixels, (height, width) or "
            "(height, width, channels)."
        )
    if len(pixels) == 3 and pixels[2] > max(4, min(pixels)):
        raise ValueError(
            f"image_size={size!r} has more channels than pixels in a row or column. Pass (height, "
            "width, channels), channels last, or only (height, width)."
        )
    return dict(zip(("image_height", "image_width", "n_channels"), pixels, strict=False))


def scalar_features(attributes: Mapping[str, object]) -> dict[str, float | int | str]:
    """Return the attributes that are meta-features: finite numbers, booleans and short strings."""
    features: dict[str, float | int | str] = {}
    for name, attribute in attributes.items():
        value = attribute.item() if isinstance(attribute, np.generic) else attribute
        value = str(value) if isinstance(value, bool) else value
        if (isinstance(value, str) and len(value) <= _MAX_TEXT) or (
            isinstance(value, int | float) and abs(value) <= sys.float_info.max
        ):
            features[name] = value
    return features


def distances(target: MetaFeatures, others: Sequence[MetaFeatures]) -> list[float | None]:
    """Return the :func:`feature_distance` of each of ``others`` to ``target``."""
    scales = feature_scales([target, *others])
    return [feature_distance(target, other, scales) for other in others]


def feature_distance(
    first: MetaFeatures, second: MetaFeatures, scales: Mapping[str, float]
) -> float | None:
    """Return the distance of two studies, in [0, 3].

    It is the mean over the features they share, ``None`` if they share none. Numbers differ by
    their logarithms (sizes and counts span orders of magnitude), in units of their scale and at
    most 3; strings differ by 0 if equal, else by 1.

    Args:
        first, second: The meta-features of the studies.
        scales: The :func:`feature_scales` of all studies that are compared.
    """
    parts: list[float] = []
    for name, value in first.items():
        theirs = second.get(name)
        if isinstance(value, str) and isinstance(theirs, str):
            parts.append(0.0 if value.casefold() == theirs.casefold() else 1.0)
        elif isinstance(value, int | float) and isinstance(theirs, int | float):
            parts.append(min(abs(_log(value) - _log(theirs)) / scales[name], 3.0))
    return fmean(parts) if parts else None


def feature_scales(studies: Iterable[MetaFeatures]) -> dict[str, float]:
    """Return the standard deviation, over studies, of the logarithm of each numeric feature."""
    logs: dict[str, list[float]] = {}
    for name, value in (item for features in studies for item in features.items()):
        if isinstance(value, int | float):
            logs.setdefault(name, []).append(_log(value))
    return {name: pstdev(values) or 1.0 for name, values in logs.items()}


def _log(value: float) -> float:
    return math.copysign(math.log1p(abs(value)), value)

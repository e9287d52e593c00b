"""Describe image datasets by meta-features, and measure how similar studies are by them.

The seven groups are those of MetaLLMiX (arXiv 2509.09387): instances, classes, imbalance ratio,
class entropy, resolution, class-size statistics, modality.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from operator import index
from statistics import fmean
from statistics import median
from statistics import pstdev
from typing import Any
from typing import TypeAlias

import numpy as np


MetaFeatures: TypeAlias = Mapping[str, float | int | str]

MAX_IMAGES = 100
"""Number of images whose sizes are read: reading thousands would take minutes."""
_MAX_TEXT = 64
"""Maximum length of a string meta-feature; longer strings are descriptions."""
_LABEL_KEYS = ("label", "labels", "target", "class", "fine_label")
_IMAGE_KEYS = ("image", "img", "pixel_values")


def image_meta_features(
    dataset: Any,
    image_size: int | tuple[int, int] | tuple[int, int, int] | None = None,
    modality: str | None = None,
) -> dict[str, float | int | str]:
    """Compute the seven groups of meta-features of an image classification dataset.

    Args:
        dataset: The training images: a dataset with ``len`` and items (image, label), from
            torchvision, medmnist, Hugging Face or your own code. The sizes of up to 100 images are
            read, so leave out transforms that resize. Or, together with ``image_size``, the class
            of each training image, shape (n_instances,), as a list, an array or a tensor.
        image_size: Size in pixels: an integer for square images, (height, width), or
            (height, width, channels). If given, the dataset's images are not read.
        modality: The imaging modality, such as ``"MRI"``, ``"CT"`` or ``"X-ray"``.

    Returns:
        Scalars that can be stored as user attributes of a study: ``n_instances``, ``n_classes``,
        ``imbalance_ratio`` (largest / smallest class, at least 1), ``class_entropy`` (bits, from 0
        to log2 of ``n_classes``), ``image_height`` and ``image_width`` (pixels), ``n_channels`` if
        known, ``class_size_mean``, ``class_size_std`` (population), ``class_size_min`` and
        ``class_size_max`` (instances), and ``modality`` if given.

    Raises:
        ValueError: There are no labels, the image size is not one, two or three positive
            integers, or it is missing and ``dataset`` is not an image dataset.
    """
    labels, size = labels_and_size(dataset) if image_size is None else (dataset, image_size)
    sizes = list(Counter(_plain(label) for label in labels).values())
    if not sizes:
        raise ValueError("There are no labels. Pass the class of each training image.")
    total = sum(sizes)
    features: dict[str, float | int | str] = {
        "n_instances": total,
        "n_classes": len(sizes),
        "imbalance_ratio": max(sizes) / min(sizes),
        "class_entropy": sum(n / total * math.log2(total / n) for n in sizes),
        **_resolution(size),
        "class_size_mean": fmean(sizes),
        "class_size_std": pstdev(sizes),
        "class_size_min": min(sizes),
        "class_size_max": max(sizes),
    }
    return features if modality is None else {**features, "modality": modality}


def _plain(label: Any) -> Hashable:
    """Convert an array or tensor with one element, such as a label of medmnist, to its value.

    Tensors are hashed by identity, so they could not be counted.
    """
    item = getattr(label, "item", None)
    plain: Hashable = item() if callable(item) else label
    return plain


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
    return dict(zip(("image_height", "image_width", "n_channels"), pixels, strict=False))


def labels_and_size(dataset: Any) -> tuple[list[Hashable], tuple[int, ...]]:
    """Return the label of each item, and the median (height, width) and the channels of images.

    Args:
        dataset: Has ``len`` and items (image, label) or ``{"image": ..., "label": ...}``. An image
            is a Pillow image, or an array or tensor of shape (height, width), (height, width,
            channels) or (channels, height, width). Labels are taken from ``targets`` or
            ``labels``, a column of a Hugging Face dataset, or the dataset behind a torch
            ``Subset``, if available, so that not all images need to be read.

    Raises:
        ValueError: ``dataset`` is not such a dataset, or is empty.
    """
    try:
        n = len(dataset)
        items = [dataset[i] for i in range(0, n, max(1, math.ceil(n / MAX_IMAGES)))]
        sizes = [_image_size(_part(item, 0, _IMAGE_KEYS)) for item in items]
        labels = _stored_labels(dataset)
        if labels is None or len(labels) != n:
            labels = [_part(dataset[i], 1, _LABEL_KEYS) for i in range(n)]
        labels = [_plain(label) for label in labels]
        hash(tuple(labels))
    except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
        raise ValueError(
            "Pass the labels and image_size=(height, width), or a dataset with len() and items "
            f"(image, label). This {type(dataset).__name__} is neither: {error}."
        ) from error
    if not sizes:
        raise ValueError("The dataset is empty. Pass the dataset that the network is trained on.")
    height, width, channels = zip(*sizes, strict=True)
    return labels, (round(median(height)), round(median(width)), max(channels))


def _stored_labels(dataset: Any) -> Sequence[Any] | None:
    """Return all labels if the dataset stores them separately from the images."""
    inner, indices = getattr(dataset, "dataset", None), getattr(dataset, "indices", None)
    if inner is not None and indices is not None:  # a Subset of torch
        labels = _stored_labels(inner)
        return None if labels is None else [labels[int(i)] for i in indices]
    columns = getattr(dataset, "column_names", None)
    if isinstance(columns, list):  # a Dataset of Hugging Face
        return next((list(dataset[name]) for name in _LABEL_KEYS if name in columns), None)
    attributes = (getattr(dataset, name, None) for name in ("targets", "labels"))
    return next((labels for labels in attributes if hasattr(labels, "__len__")), None)


def _part(item: Any, position: int, keys: Iterable[str]) -> Any:
    if not isinstance(item, Mapping):
        return item[position]
    for key in keys:
        if key in item:
            return item[key]
    raise KeyError(f"no {' or '.join(keys)} among {', '.join(map(str, item))}")


def _image_size(image: Any) -> tuple[int, int, int]:
    if hasattr(image, "getbands"):  # a Pillow image
        return image.height, image.width, len(image.getbands())
    shape = tuple(int(n) for n in image.shape)
    if len(shape) == 2:
        return (*shape, 1)
    first, *middle, last = shape
    return (middle[0], last, first) if first <= 4 < last else (first, middle[0], last)


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
    """Return the distance of each of ``others`` to ``target``, in [0, 3].

    It is the mean over the features they share, ``None`` if they share none. Numbers differ by
    their logarithms (sizes and counts span orders of magnitude), in standard deviations over all
    studies and at most 3; strings differ by 0 if equal, else by 1.
    """
    scales = {name: _spread(name, [target, *others]) for name in target}
    return [_distance(target, other, scales) for other in others]


def _distance(
    target: MetaFeatures, other: MetaFeatures, scales: Mapping[str, float]
) -> float | None:
    parts: list[float] = []
    for name, value in target.items():
        theirs = other.get(name)
        if isinstance(value, str) and isinstance(theirs, str):
            parts.append(0.0 if value.casefold() == theirs.casefold() else 1.0)
        elif isinstance(value, int | float) and isinstance(theirs, int | float):
            parts.append(min(abs(_log(value) - _log(theirs)) / scales[name], 3.0))
    return fmean(parts) if parts else None


def _spread(name: str, studies: Sequence[MetaFeatures]) -> float:
    values = (features.get(name) for features in studies)
    logs = [_log(value) for value in values if isinstance(value, int | float)]
    return (pstdev(logs) if len(logs) > 1 else 0.0) or 1.0


def _log(value: float) -> float:
    return math.copysign(math.log1p(abs(value)), value)

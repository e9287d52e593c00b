"""a data set of images -> meta-features; meta-features -> how alike two studies are.

The seven groups are those reported for MetaLLMiX (arXiv 2509.09387): instances, classes, imbalance
ratio, class entropy, resolution, class-size statistics, modality.
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


MetaFeatures: TypeAlias = Mapping[str, float | int | str]

_MAX_TEXT = 64
"""Longest text that counts as a meta-feature; longer ones are descriptions, not features."""


def image_meta_features(
    dataset: Any,
    image_size: int | tuple[int, int] | tuple[int, int, int] | None = None,
    modality: str | None = None,
) -> dict[str, float | int | str]:
    """Compute the paper's seven groups of meta-features of an image classification set.

    Args:
        dataset: The training images as a data set with ``len`` and items (image, label): one of
            torchvision, medmnist, Hugging Face or your own (without transforms that resize, for
            the sizes are those of its images; 100 of them are looked at). Or, together with
            ``image_size``, the class of each training image, shape (n_instances,): a list, an
            array or a tensor.
        image_size: Pixels: one number for square images, (height, width), or
            (height, width, channels). Not looked for in the data set where it is given.
        modality: How the images were made, such as ``"MRI"``, ``"CT"``, ``"X-ray"``.

    Returns:
        ``n_instances``, ``n_classes``, ``imbalance_ratio`` (largest / smallest class, from 1),
        ``class_entropy`` (bits, from 0 to log2 of ``n_classes``), ``image_height`` and
        ``image_width`` (pixels), ``n_channels`` where given, ``class_size_mean``,
        ``class_size_std`` (population), ``class_size_min``, ``class_size_max`` (instances), and
        ``modality`` where given: names and scalars, fit for a study's user attributes.

    Raises:
        ValueError: There is no label, the image size is not one, two or three positive numbers, or
            there is none and ``dataset`` is no data set of images.
    """
    labels, size = labels_and_size(dataset) if image_size is None else (dataset, image_size)
    sizes = list(Counter(_plain(label) for label in labels).values())
    if not sizes:
        raise ValueError("There is no label: pass the class of each training image.")
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


def scalar_features(attributes: Mapping[str, object]) -> dict[str, float | int | str]:
    """Keep what can serve as meta-features: finite numbers and short texts."""
    kept: dict[str, float | int | str] = {}
    for name, value in attributes.items():
        if isinstance(value, bool):
            kept[name] = str(value)
        elif isinstance(value, str):
            if len(value) <= _MAX_TEXT:
                kept[name] = value
        elif isinstance(value, int | float) and abs(value) <= sys.float_info.max:
            kept[name] = value
    return kept


def distances(target: MetaFeatures, others: Sequence[MetaFeatures]) -> list[float | None]:
    """Return how far each of ``others`` is from ``target``; 0 is alike, ``None`` unknown.

    The mean over the features that both have: for numbers the difference of their logarithms
    (sizes and counts span orders of magnitude) in standard deviations over all studies, at most
    3; for texts 0 where equal and 1 where not.
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
    values = [_log(v) for v in (one.get(name) for one in studies) if isinstance(v, int | float)]
    return (pstdev(values) if len(values) > 1 else 0.0) or 1.0


def _log(value: float) -> float:
    return math.copysign(math.log1p(abs(value)), value)


def _plain(label: Hashable) -> Hashable:
    item = getattr(label, "item", None)  # a torch tensor hashes by identity, its item by value
    plain: Hashable = item() if callable(item) else label
    return plain


def _resolution(size: int | tuple[int, ...]) -> dict[str, int]:
    try:
        pixels = [index(n) for n in (size if isinstance(size, Iterable) else (size, size))]
    except TypeError:
        pixels = []
    if len(pixels) not in (2, 3) or min(pixels) <= 0:
        raise ValueError(
            f"image_size={size!r} must be one positive number of pixels, (height, width) or "
            "(height, width, channels)."
        )
    return dict(zip(("image_height", "image_width", "n_channels"), pixels, strict=False))


N_LOOKED_AT = 100
"""Images whose sizes are looked at: reading thousands would take minutes."""
_LABELS = ("label", "labels", "target", "class", "fine_label")
_IMAGES = ("image", "img", "pixel_values")


def labels_and_size(dataset: Any) -> tuple[list[Hashable], tuple[int, ...]]:
    """Return each item's label and (height, width, channels), medians over up to 100 images.

    Args:
        dataset: Has ``len`` and items (image, label) or ``{"image": ..., "label": ...}``. An image
            is Pillow's, or an array or tensor of shape (height, width), with channels last or
            first. Labels are taken from ``targets`` or ``labels``, the column of a Hugging Face
            data set or what a torch ``Subset`` is of, where the data set tells them so: that
            spares reading the images.

    Raises:
        ValueError: It is no such data set, or empty.
    """
    try:
        n = len(dataset)
        items = [dataset[i] for i in range(0, n, max(1, math.ceil(n / N_LOOKED_AT)))]
        sizes = [_size(_part(item, 0, _IMAGES)) for item in items]
        labels = _labels(dataset, n)
        hash(tuple(labels))
    except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:
        raise ValueError(
            "Pass the labels and image_size=(height, width), or a data set with len() and items "
            f"(image, label). This {type(dataset).__name__} is neither: {error}."
        ) from error
    if not sizes:
        raise ValueError("The data set is empty: pass the one that the network is trained on.")
    height, width, channels = zip(*sizes, strict=True)
    found = (round(median(height)), round(median(width)), max(channels))
    return labels, found


def _labels(dataset: Any, n: int) -> list[Hashable]:
    told = _told(dataset)
    if told is None or len(told) != n:
        told = [_part(dataset[i], 1, _LABELS) for i in range(n)]
    return [_scalar(one) for one in told]


def _told(dataset: Any) -> Sequence[Any] | None:
    """What the data set says of all its labels at once."""
    inner, indices = getattr(dataset, "dataset", None), getattr(dataset, "indices", None)
    if inner is not None and indices is not None:  # torch's Subset
        whole = _told(inner)
        return None if whole is None else [whole[int(i)] for i in indices]
    columns = getattr(dataset, "column_names", None)
    if isinstance(columns, list):  # Hugging Face's
        return next((list(dataset[name]) for name in _LABELS if name in columns), None)
    told = (getattr(dataset, name, None) for name in ("targets", "labels"))
    return next((one for one in told if hasattr(one, "__len__")), None)


def _part(item: Any, place: int, names: Iterable[str]) -> Any:
    if not isinstance(item, Mapping):
        return item[place]
    for name in names:
        if name in item:
            return item[name]
    raise KeyError(f"no {' or '.join(names)} among {', '.join(map(str, item))}")


def _scalar(label: Any) -> Hashable:
    """Take a label out of an array of one, as medmnist has it."""
    shape = getattr(label, "shape", ())
    plain: Hashable = label.item() if len(shape) and max(shape) == 1 else label
    return plain


def _size(image: Any) -> tuple[int, int, int]:
    if hasattr(image, "getbands"):  # Pillow's
        return image.height, image.width, len(image.getbands())
    shape = tuple(int(n) for n in image.shape)
    if len(shape) == 2:
        return (*shape, 1)
    first, *middle, last = shape
    return (middle[0], last, first) if first <= 4 < last else (first, middle[0], last)

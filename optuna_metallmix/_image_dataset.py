"""a data set of images, as torchvision, medmnist or Hugging Face have it -> its labels and size.

Nothing of them is imported: what an item looks like tells how to read it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from statistics import median
from typing import Any


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

"""Read the class of each image of a dataset, and the size of the images.

Datasets and labels come in many forms. What cannot be read without a guess is an error that says
what to pass instead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from collections.abc import Sized
from contextlib import contextmanager
from enum import Enum
from os import PathLike
from statistics import median
from typing import Any
from typing import TypeAlias

import numpy as np


Label: TypeAlias = str | bytes | int | float | Enum

MAX_IMAGES = 100
"""Number of images whose sizes are read: reading thousands would take minutes."""
_LABEL_KEYS = ("label", "labels", "target", "class", "fine_label")
_IMAGE_KEYS = ("image", "img", "pixel_values")
_FILE_SUFFIXES = (
    ".bmp",
    ".dcm",
    ".gif",
    ".jpeg",
    ".jpg",
    ".npy",
    ".png",
    ".tif",
    ".tiff",
    ".webp",
)
_MAX_SHOWN = 60
_WHAT_TO_PASS = (
    "Pass a dataset with len() and items (image, label), or the class of each training image and "
    "image_size=(height, width)."
)


def labels_and_size(dataset: Any) -> tuple[list[Label], tuple[int, int, int]]:
    """Return the class of each item, and the median (height, width) and the channels of images.

    Args:
        dataset: Has ``len`` and items (image, label) or ``{"image": ..., "label": ...}``. An image
            is a Pillow image, or an array or tensor of shape (height, width), (height, width,
            channels) or (channels, height, width). Labels are those of :func:`labels_of`. They are
            taken from ``targets`` or ``labels``, a column of a Hugging Face dataset, or the
            dataset behind a torch ``Subset``, if these agree with the items that are read, so that
            not all images need to be read.

    Raises:
        ValueError: ``dataset`` is not such a dataset, is empty, or an item cannot be read.
    """
    _check_container(dataset)
    is_indexed = isinstance(dataset, Sized) and hasattr(dataset, "__getitem__")
    if not is_indexed or hasattr(dataset, "columns"):
        raise ValueError(f"This {_kind(dataset)} is not a dataset with images. {_WHAT_TO_PASS}")
    n = len(dataset)
    if n == 0:
        raise ValueError("The dataset is empty. Pass the dataset that the network is trained on.")
    sizes, read = [], {}
    for i in range(0, n, math.ceil(n / MAX_IMAGES)):
        item = _item(dataset, i)
        sizes.append(_image_size(_loaded(_part(item, 0, _IMAGE_KEYS, i), dataset, i), i))
        read[i] = _plain(_part(item, 1, _LABEL_KEYS, i))
    labels = _stored_labels(dataset)
    if labels is None or any(_plain(labels[i]) != label for i, label in read.items()):
        labels = [_part(_item(dataset, i), 1, _LABEL_KEYS, i) for i in range(n)]
    height, width, channels = zip(*sizes, strict=True)
    return _classes(labels), (round(median(height)), round(median(width)), max(channels))


def labels_of(dataset: Any) -> list[Label]:
    """Return the class of each image.

    Args:
        dataset: The classes as a list, array, tensor or iterator, shape (n_instances,),
            (n_instances, 1) or one-hot (n_instances, n_classes); a data frame with a column of
            classes; or a dataset as for :func:`labels_and_size`.

    Raises:
        ValueError: ``dataset`` is none of these, or images have no class or several.
    """
    _check_container(dataset)
    if _are_counts(dataset):
        raise ValueError(
            f"This {_kind(dataset)} has the number of images by class. Pass the class of each "
            "image, such as data['label'], or [label for label, n in counts.items() for _ in "
            "range(n)]."
        )
    labels = _stored_labels(dataset)
    if labels is not None:
        return _classes(labels)
    if hasattr(dataset, "columns"):
        raise ValueError(
            f"It is not clear which of the columns {list(dataset.columns)} has the classes. Pass "
            "that column, such as data['label']."
        )
    if isinstance(dataset, Iterable):
        items = dataset
    elif isinstance(dataset, Sized):  # a Dataset of torch may have no end without it
        items = (_item(dataset, i) for i in range(len(dataset)))
    else:
        raise ValueError(f"This {_kind(dataset)} has no labels. {_WHAT_TO_PASS}")
    return _classes([_label(item, i) for i, item in enumerate(items)])


def _check_container(dataset: Any) -> None:
    """Raise on texts, sets and mappings, whose elements are not labels, and on 0-d arrays."""
    if isinstance(dataset, str | bytes | PathLike) or getattr(dataset, "shape", None) == ():
        raise ValueError(f"{_shown(dataset)} is not a dataset or a list. {_WHAT_TO_PASS}")
    if isinstance(dataset, Mapping | Set):
        raise ValueError(
            f"A {_kind(dataset)} is not a dataset or a list of classes. Of splits, pass the "
            "training split; of classes by image, pass list(labels.values()); of counts by class, "
            "pass [label for label, n in counts.items() for _ in range(n)]."
        )


def _are_counts(dataset: Any) -> bool:
    """Return whether these are pandas's ``value_counts()`` or ``groupby("label").size()``."""
    index: Any = getattr(dataset, "index", None)
    is_series = hasattr(index, "is_unique") and not hasattr(dataset, "columns")
    return is_series and (dataset.name == "count" or index.name in _LABEL_KEYS)


def _stored_labels(dataset: Any) -> Sequence[Any] | None:
    """Return all labels if the dataset stores them separately from the images."""
    inner, indices = getattr(dataset, "dataset", None), getattr(dataset, "indices", None)
    if inner is not None and indices is not None:  # a Subset of torch
        labels = _stored_labels(inner)
        return None if labels is None else [labels[int(i)] for i in indices]
    columns = getattr(dataset, "column_names", getattr(dataset, "columns", None))
    if columns is not None:  # a Dataset of Hugging Face, or a data frame
        found = [name for name in columns if name in _LABEL_KEYS or len(columns) == 1]
        return _as_list(dataset[found[0]]) if len(found) == 1 else None
    if getattr(dataset, "target_transform", None) is not None:  # the stored ones are not used
        return None
    n = len(dataset) if isinstance(dataset, Sized) else None
    for stored in (getattr(dataset, name, None) for name in ("targets", "labels")):
        if isinstance(stored, Sized) and len(stored) == n and not hasattr(stored, "columns"):
            return _as_list(stored)
    return None


def _as_list(labels: Any) -> list[Any]:
    return list(labels.tolist() if hasattr(labels, "tolist") else labels)


def _item(dataset: Any, i: int) -> Any:
    with _naming(dataset, i):
        return dataset[i]


def _loaded(image: Any, dataset: Any, i: int) -> Any:
    """Return an image; a Pillow image is decoded, as only its head may have been read."""
    if hasattr(image, "getbands"):
        with _naming(dataset, i):
            image.load()
    return image


@contextmanager
def _naming(dataset: Any, i: int) -> Iterator[None]:
    """Name the item that cannot be read."""
    try:
        yield
    except Exception as error:  # any: datasets are other people's code, and files may be broken
        raise ValueError(
            f"Item {i} of the {_kind(dataset)} cannot be read ({type(error).__name__}: {error}). "
            "Repair or remove it, or pass the class of each training image and "
            "image_size=(height, width)."
        ) from error


def _part(item: Any, position: int, keys: Sequence[str], i: int) -> Any:
    """Return the image or the label of item ``i``."""
    if isinstance(item, Mapping):
        for key in keys:
            if key in item:
                return item[key]
        raise ValueError(
            f"Item {i} has no {' or '.join(keys)}, only {', '.join(map(str, item))}. Rename the "
            f"right key to {keys[0]!r}. {_WHAT_TO_PASS}"
        )
    if isinstance(item, tuple | list) and len(item) > 1:
        return item[position]
    raise ValueError(f"Item {i} is {_shown(item)}, not (image, label). {_WHAT_TO_PASS}")


def _label(item: Any, i: int) -> Any:
    """Return a label, or the label of an item of a dataset."""
    is_pair = isinstance(item, tuple | list) and len(item) > 1
    if is_pair and (hasattr(item[0], "getbands") or len(getattr(item[0], "shape", ())) > 1):
        _image_size(item[0], i)  # raises if it is a batch of images
    elif not isinstance(item, Mapping):
        return item
    return _part(item, 1, _LABEL_KEYS, i)


def _image_size(image: Any, i: int) -> tuple[int, int, int]:
    """Return (height, width, channels); the channels are the shorter axis, first or last."""
    if hasattr(image, "getbands"):  # a Pillow image
        bands = image.getbands()
        return image.height, image.width, len(bands) + 2 * ("P" in bands)  # a palette is RGB
    shape = tuple(getattr(image, "shape", ()))
    if len(shape) == 2:
        shape = (*shape, 1)
    if len(shape) == 3 and min(shape) > 0:
        first, middle, last = map(int, shape)
        if last <= 4 or last < min(first, middle):
            return first, middle, last
        if first <= 4 or first < min(middle, last):
            return middle, last, first
    what = f"of shape {shape}" if shape else f"{_shown(image)}"
    raise ValueError(
        f"The image of item {i} is {what}. Images must have the shape (height, width), (height, "
        f"width, channels) or (channels, height, width), or be Pillow images. {_WHAT_TO_PASS}"
    )


def _classes(labels: Iterable[Any]) -> list[Label]:
    """Convert labels to plain values, and check that each is a class."""
    plain = [_plain(label) for label in labels]
    if any(isinstance(label, list) for label in plain):
        plain = _from_one_hot(plain)
    for i, label in enumerate(plain):
        if not _is_class(label):
            raise ValueError(
                f"The label of image {i} is {_shown(label)}, which is not a class. Pass text or a "
                "whole number for each image, and leave out images without a class."
            )
    if len({isinstance(label, str) for label in plain}) > 1:
        raise ValueError("Some labels are text, others are not. Convert all of them to text.")
    return plain


def _plain(label: Any) -> Any:
    """Convert scalars, arrays and tensors to Python values; one element is a value of its own."""
    if len(getattr(label, "shape", ())) > 1:
        raise ValueError(
            f"Labels of shape {tuple(label.shape)} are not classes. Pass one class for each "
            "image, shape (n_instances,)."
        )
    if hasattr(label, "tolist"):
        label = label.tolist()
    elif hasattr(label, "__array__"):
        label = np.asarray(label).tolist()
    elif hasattr(label, "item"):
        label = label.item()
    elif hasattr(label, "as_py"):  # a scalar of pyarrow
        label = label.as_py()
    elif isinstance(label, tuple):
        label = list(label)
    while isinstance(label, list) and len(label) == 1:
        label = label[0]
    return label


def _from_one_hot(rows: list[Any]) -> list[int]:
    width = len(rows[0]) if isinstance(rows[0], list) else 0
    for row in rows:
        is_row = isinstance(row, list) and len(row) == width
        if not is_row or (row.count(1), row.count(0)) != (1, width - 1):
            several = next(row for row in rows if isinstance(row, list))
            raise ValueError(
                f"With labels such as {_shown(several)} images do not have one class each. Pass "
                "the most important class of each image, or of probabilities, shape "
                "(n_instances, n_classes), their argmax(axis=1)."
            )
    return [row.index(1) for row in rows]


def _is_class(label: Any) -> bool:
    if isinstance(label, str):  # pandas writes a missing label as one of these
        is_missing = label.strip().lower() in ("", "nan", "nat", "<na>")
        return not (is_missing or label.lower().endswith(_FILE_SUFFIXES))
    if isinstance(label, float):
        return label.is_integer()  # neither NaN nor infinity is
    return isinstance(label, bytes | int | Enum)


def _kind(value: Any) -> str:
    return type(value).__name__


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."

"""Load labelled images without duplicates, and split them once for all trials.

Duplicates are removed *before* the split, so that no image is in both training and validation. An
image with two different labels is removed altogether.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
from functools import cached_property
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from image_sources import Images
from image_sources import Integers
from image_sources import read


SIDE = 128  # pixels; larger images take more memory, so callers have to ask for them
_MIN_PER_CLASS = 5  # a 60/20/20 split needs as many


@dataclass(frozen=True, eq=False)
class ImageData:
    """Labelled images, and their split into training, validation and test images."""

    name: str
    images: Images  # [n, height, width, 3]
    labels: Integers  # [n], in [0, n_classes)
    class_names: tuple[str, ...]
    sizes: Integers  # [n, 2], original height and width in pixels
    n_channels: int  # as stored: 1 for grey, 3 for colour
    train: Integers  # indices, 60 %
    validation: Integers  # indices, 20 %
    test: Integers  # indices, 20 %

    @cached_property
    def digest(self) -> str:
        """Hash of the pixels, by which features of this set are cached."""
        return md5(self.images.tobytes(), usedforsecurity=False).hexdigest()[:16]

    def split_anew(self, seed: int) -> ImageData:
        """Return the same images with a new split, which ignores any split of the source."""
        train, validation, test = _split(self.labels, None, seed)
        return replace(self, train=train, validation=validation, test=test)


def load_images(
    source: str | Path, *, limit: int | None = None, seed: int = 0, side: int = SIDE
) -> ImageData:
    """Read "digits", an image folder, a `.parquet` or a `.npz` file.

    Args:
        source: A folder has a sub-folder for each class, or `train`, `val` and `test` with such
            sub-folders, which is then the split. A table has a column of encoded images
            (`image`, also in Hugging Face's format, or `jpeg128`) and a column of labels
            (`label`, `class_name`). An array file has `images` and `labels`, or MedMNIST's
            `train_images`, `train_labels` and so on, which are pooled.
        limit: Maximum number of images; classes keep their proportions.
        seed: Decides which images are kept and how they are split.
        side: Size in pixels to which images are resized. All are held in memory, 3 side² bytes
            each.

    Raises:
        ValueError: The source has no images, images cannot be read, or a class or a part of the
            split has too few images.
    """
    raw = read(source, side)
    class_names, labels = np.unique([str(label) for label in raw.labels], return_inverse=True)
    parts = None if raw.parts is None else np.array(raw.parts)
    distinct = _distinct(raw.keys, labels)
    _check_counts(labels[distinct], class_names, source, "Add images until it has")
    kept = _thinned(distinct, labels, limit, seed)
    labels = labels[kept].astype(np.int64)
    _check_counts(labels, class_names, f"{source} within the limit", "Raise it to get")
    train, validation, test = _split(labels, None if parts is None else parts[kept], seed)
    _check_training(labels[train], class_names, source)
    return ImageData(
        name=Path(source).resolve().stem,
        images=raw.images[kept],
        labels=labels,
        class_names=tuple(class_names.tolist()),
        sizes=raw.sizes[kept],
        n_channels=raw.n_channels,
        train=train,
        validation=validation,
        test=test,
    )


def meta_features(data: ImageData, modality: str | None = None) -> dict[str, float | int | str]:
    """Describe the images, as user attributes for a study.

    Only the training images are used, because the others are unknown when a search starts.
    """
    from optuna_metallmix import image_meta_features  # not needed by the loaders

    labels = data.labels[data.train].tolist()
    height, width = np.median(data.sizes[data.train], axis=0).round().astype(int).tolist()
    return image_meta_features(labels, (height, width, data.n_channels), modality)


def _distinct(keys: list[str], labels: NDArray[Any]) -> Integers:
    """Return the indices of distinct images, without those that have several labels."""
    table = pd.DataFrame({"key": keys, "label": labels})
    consistent = table.groupby("key")["label"].transform("nunique") == 1
    return table[consistent].drop_duplicates("key").index.to_numpy(dtype=np.int64)


def _thinned(indices: Integers, labels: NDArray[Any], limit: int | None, seed: int) -> Integers:
    n_classes = len(np.unique(labels))
    if limit is None or len(indices) - limit < n_classes:  # too few would be left out to stratify
        return indices
    if limit < n_classes:
        raise ValueError(f"A limit of {limit} images is too low for {n_classes} classes.")
    kept, _ = train_test_split(
        indices, train_size=limit, stratify=labels[indices], random_state=seed
    )
    return np.sort(kept)


def _check_counts(
    labels: Integers, class_names: NDArray[Any], source: str | Path, advice: str
) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    if len(counts) < 2:
        raise ValueError(f"{str(source)!r} has a single class: add images of another class.")
    if counts.min() < _MIN_PER_CLASS:
        raise ValueError(
            f"Class {str(class_names[counts.argmin()])!r} of {str(source)!r} has {counts.min()} "
            f"distinct images. {advice} {_MIN_PER_CLASS}, or leave the class out."
        )


def _check_training(labels: Integers, class_names: NDArray[Any], source: str | Path) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    if counts.min() == 0:
        raise ValueError(
            f"The training part of {str(source)!r} has no image of class "
            f"{str(class_names[counts.argmin()])!r}. Move images there, or leave the class out."
        )


def _split(
    labels: Integers, parts: NDArray[Any] | None, seed: int
) -> tuple[Integers, Integers, Integers]:
    """Return the indices of a stratified 60/20/20 split, or keep the split of the source.

    If the source has no test or no validation part, it is a fifth of the training part.
    """
    train = np.arange(len(labels)) if parts is None else np.flatnonzero(parts == "train")
    held_out: list[Integers] = []
    for name in ("test", "validation"):
        own = np.array([], int) if parts is None else np.flatnonzero(parts == name)
        if not len(own):
            share = 0.25 if held_out and parts is None else 0.2  # a quarter of 80 % is 20 %
            train, own = train_test_split(
                train, test_size=share, stratify=labels[train], random_state=seed
            )
        held_out.append(np.sort(own))
    return np.sort(train), held_out[1], held_out[0]

"""a folder, table, array file or "digits" -> images: no duplicates, split once for every trial.

Duplicates go *before* the split, so that no picture is trained on and then validated with. An
image that stands under two labels has no truth and goes altogether.
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


SIDE = 128  # pixels; larger ones are asked for, for they take memory
_LEAST_PER_CLASS = 5  # fewer cannot be in all of a 60/20/20 split


@dataclass(frozen=True, eq=False)
class ImageData:
    """Labelled images, and which of them are for training, validation and the final test."""

    name: str
    images: Images  # [n, height, width, 3]
    labels: Integers  # [n], in [0, n_classes)
    class_names: tuple[str, ...]
    sizes: Integers  # [n, 2], height and width in pixels before anything was resized
    n_channels: int  # as stored: 1 for grey, 3 for colour
    train: Integers  # indices, 60 %
    validation: Integers  # indices, 20 %
    test: Integers  # indices, 20 %

    @cached_property
    def digest(self) -> str:
        """Name these pixels: features cached under it are never mixed up with another set's."""
        return md5(self.images.tobytes(), usedforsecurity=False).hexdigest()[:16]

    def split_anew(self, seed: int) -> ImageData:
        """Return the same images under another split, also where the source had one."""
        train, validation, test = _split(self.labels, None, seed)
        return replace(self, train=train, validation=validation, test=test)


def load_images(
    source: str | Path, *, limit: int | None = None, seed: int = 0, side: int = SIDE
) -> ImageData:
    """Read "digits", an image folder, a `.parquet` or a `.npz` file.

    Args:
        source: A folder has one sub-folder a class, or `train`, `val` and `test` with such
            sub-folders each, which is then the split. A table has a column of encoded images
            (`image`, also as Hugging Face writes it, or `jpeg128`) and one of labels (`label`,
            `class_name`). An array file has `images` and `labels`, or MedMNIST's `train_images`,
            `train_labels` and so on, which are pooled.
        limit: Keep this many images at most, the classes in proportion.
        seed: Decides which images are kept and how they are split.
        side: Pixels that pictures are resized to; all of them are held in memory, 3 side² bytes
            each.

    Raises:
        ValueError: There is nothing to read, pictures are broken, a part of the split or a class
            has too few images. The message says what to do.
    """
    raw = read(source, side)
    class_names, labels = np.unique([str(label) for label in raw.labels], return_inverse=True)
    parts = None if raw.parts is None else np.array(raw.parts)
    distinct = _distinct(raw.keys, labels)
    _check_counts(labels[distinct], class_names, source, "Add images until it has")
    kept = _thinned(distinct, labels, limit, seed)
    labels = labels[kept].astype(np.int64)
    _check_counts(labels, class_names, f"{source} within the limit", "Raise it until there are")
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
    """What a study's user attributes say about the images it trains on.

    Only the training part is looked at, for the rest is not known when a search starts.
    """
    from optuna_metallmix import image_meta_features  # the loaders alone do without it

    labels = data.labels[data.train].tolist()
    height, width = np.median(data.sizes[data.train], axis=0).round().astype(int).tolist()
    return image_meta_features(labels, (height, width, data.n_channels), modality)


def _distinct(keys: list[str], labels: NDArray[Any]) -> Integers:
    """Indices of one image of each kind, without those that stand under several labels."""
    table = pd.DataFrame({"key": keys, "label": labels})
    truthful = table.groupby("key")["label"].transform("nunique") == 1
    return table[truthful].drop_duplicates("key").index.to_numpy(dtype=np.int64)


def _thinned(indices: Integers, labels: NDArray[Any], limit: int | None, seed: int) -> Integers:
    n_classes = len(np.unique(labels))
    if limit is None or len(indices) - limit < n_classes:  # one of each class can be left out
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
        raise ValueError(f"{str(source)!r} has a single class. A classifier needs at least two.")
    if counts.min() < _LEAST_PER_CLASS:
        raise ValueError(
            f"Class {str(class_names[counts.argmin()])!r} of {str(source)!r} has {counts.min()} "
            f"distinct images. {advice} {_LEAST_PER_CLASS}, or leave the class out."
        )


def _check_training(labels: Integers, class_names: NDArray[Any], source: str | Path) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    if counts.min() == 0:
        raise ValueError(
            f"The training part of {str(source)!r} has no image of class "
            f"{str(class_names[counts.argmin()])!r}. Move some there, or leave the class out."
        )


def _split(
    labels: Integers, parts: NDArray[Any] | None, seed: int
) -> tuple[Integers, Integers, Integers]:
    """60/20/20, the classes in proportion; a source's own parts stay what they are.

    Where a source has no test or no validation part, a fifth of its training part becomes that.
    """
    train = np.arange(len(labels)) if parts is None else np.flatnonzero(parts == "train")
    found: list[Integers] = []
    for name in ("test", "validation"):
        own = np.array([], int) if parts is None else np.flatnonzero(parts == name)
        if not len(own):
            share = 0.25 if found and parts is None else 0.2  # of what is left: 20 % of all
            train, own = train_test_split(
                train, test_size=share, stratify=labels[train], random_state=seed
            )
        found.append(np.sort(own))
    return np.sort(train), found[1], found[0]

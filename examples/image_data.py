"""a folder, table, array file or "digits" -> images: no duplicates, split once for every trial.

Duplicates go *before* the split, so that no picture is trained on and then validated with. An
image that stands under two labels has no truth and goes altogether.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import md5
from pathlib import Path
from typing import Any
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


SIDE = 128  # pixels; the largest size the objective asks for, so nothing larger is kept
_LEAST_PER_CLASS = 5  # fewer cannot be in all of a 60/20/20 split
_IMAGE_SUFFIXES = frozenset(Image.registered_extensions())

Images = NDArray[np.uint8]
Integers = NDArray[np.int64]


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


class _Raw(NamedTuple):
    images: Images
    labels: Iterable[Any]
    sizes: Integers
    n_channels: int
    keys: list[str]  # equal for equal images


def load_images(source: str | Path, *, limit: int | None = None, seed: int = 0) -> ImageData:
    """Read "digits", an image folder (one sub-folder a class), a `.parquet` or a `.npz` file.

    Args:
        source: A table has the columns `jpeg128` (encoded images) and `class_name`; an array file
            has `images` and `labels`, or MedMNIST's `train_images`, `train_labels` and so on.
        limit: Keep this many images at most, the classes in proportion.
        seed: Decides which images are kept and how they are split.
    """
    raw = _read(source)
    class_names, labels = np.unique([str(label) for label in raw.labels], return_inverse=True)
    kept = _thinned(_distinct(raw.keys, labels), labels, limit, seed)
    labels = labels[kept].astype(np.int64)
    _check_counts(labels, class_names, source)
    train, validation, test = _split(labels, seed)
    return ImageData(
        name=Path(source).stem,
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


def _read(source: str | Path) -> _Raw:
    if source == "digits":
        return _read_digits()
    path = Path(source)
    if path.is_dir():
        return _read_folder(path)
    readers = {".parquet": _read_parquet, ".npz": _read_npz}
    if path.is_file() and path.suffix in readers:
        return readers[path.suffix](path)
    raise ValueError(
        f"No images found at {str(source)!r}. Name a folder with one sub-folder per class, "
        'a .parquet or .npz file, or "digits".'
    )


def _read_digits() -> _Raw:
    digits = load_digits()
    return _from_arrays((digits.images * 255 / 16).astype(np.uint8), digits.target)


def _read_npz(path: Path) -> _Raw:
    with np.load(path) as arrays:
        names = [name for name in arrays if name.endswith("images")]
        if not names:
            raise ValueError(f"{str(path)!r} holds no array whose name ends in 'images'. Add one.")
        images = np.concatenate([arrays[name] for name in names])
        labels = [arrays[name.removesuffix("images") + "labels"].ravel() for name in names]
    return _from_arrays(images.astype(np.uint8), np.concatenate(labels))


def _read_parquet(path: Path) -> _Raw:
    table = pd.read_parquet(path)
    encoded = table["jpeg128"].tolist()
    raw = _from_pictures((Image.open(io.BytesIO(data)) for data in encoded), table["class_name"])
    if "md5_64" in table:
        raw = raw._replace(keys=table["md5_64"].tolist())
    if {"orig_h", "orig_w"} <= set(table):
        raw = raw._replace(sizes=table[["orig_h", "orig_w"]].to_numpy(dtype=np.int64))
    return raw


def _read_folder(path: Path) -> _Raw:
    files = sorted(file for file in path.glob("*/*") if file.suffix.lower() in _IMAGE_SUFFIXES)
    if not files:
        raise ValueError(
            f"{str(path)!r} has no images. Put each class in a sub-folder of its own."
        )
    return _from_pictures(
        (Image.open(file) for file in files), [file.parent.name for file in files]
    )


def _from_pictures(pictures: Iterable[Image.Image], labels: Iterable[Any]) -> _Raw:
    arrays, sizes, n_channels = [], [], 1
    for picture in pictures:
        sizes.append((picture.height, picture.width))
        if picture.mode not in ("1", "L", "I;16"):
            n_channels = 3
        arrays.append(np.asarray(picture.convert("RGB").resize((SIDE, SIDE))))
    images = np.stack(arrays)
    return _Raw(images, labels, np.array(sizes), n_channels, _keys(images))


def _from_arrays(images: Images, labels: Iterable[Any]) -> _Raw:
    n_channels = 1 if images.ndim == 3 else images.shape[-1]
    if images.ndim == 3:
        images = images[..., np.newaxis]
    images = np.broadcast_to(images[..., :3], (*images.shape[:3], 3))
    sizes = np.tile(np.array(images.shape[1:3]), (len(images), 1))
    return _Raw(images, labels, sizes, n_channels, _keys(images))


def _keys(images: Images) -> list[str]:
    return [md5(image.tobytes(), usedforsecurity=False).hexdigest() for image in images]


def _distinct(keys: list[str], labels: NDArray[Any]) -> Integers:
    """Indices of one image of each kind, without those that stand under several labels."""
    table = pd.DataFrame({"key": keys, "label": labels})
    truthful = table.groupby("key")["label"].transform("nunique") == 1
    return table[truthful].drop_duplicates("key").index.to_numpy(dtype=np.int64)


def _thinned(indices: Integers, labels: NDArray[Any], limit: int | None, seed: int) -> Integers:
    if limit is None or len(indices) <= limit:
        return indices
    kept, _ = train_test_split(
        indices, train_size=limit, stratify=labels[indices], random_state=seed
    )
    return np.sort(kept)


def _check_counts(labels: Integers, class_names: NDArray[Any], source: str | Path) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    if len(counts) < 2:
        raise ValueError(f"{str(source)!r} has a single class. A classifier needs at least two.")
    if counts.min() < _LEAST_PER_CLASS:
        raise ValueError(
            f"Class {str(class_names[counts.argmin()])!r} of {str(source)!r} has {counts.min()} "
            f"distinct images. Add images until it has {_LEAST_PER_CLASS}, or leave it out."
        )


def _split(labels: Integers, seed: int) -> tuple[Integers, Integers, Integers]:
    everything = np.arange(len(labels))
    train, rest = train_test_split(everything, test_size=0.4, stratify=labels, random_state=seed)
    validation, test = train_test_split(
        rest, test_size=0.5, stratify=labels[rest], random_state=seed
    )
    return np.sort(train), np.sort(validation), np.sort(test)

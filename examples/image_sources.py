"""Read all images and labels of a folder, a table, an array file or scikit-learn's digits."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path
from typing import Any
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from tqdm import tqdm


Images = NDArray[np.uint8]
Integers = NDArray[np.int64]
Labels = Sequence[Any] | NDArray[Any]

PARTS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
"""Common names of the folders of a split."""
_SUFFIXES = frozenset(
    [".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"]
)
_GREY_MODES = ("1", "L", "LA", "I", "F")
_DEEP_MODES = ("I", "F")  # and "I;16" with either order of bytes
_IMAGE_COLUMNS = ("jpeg128", "image", "img", "jpeg", "png", "bytes")
_LABEL_COLUMNS = ("class_name", "label", "labels", "class", "target")


class Raw(NamedTuple):
    """Images and their labels, before duplicates are removed."""

    images: Images  # [n, height, width, 3]
    labels: Labels
    sizes: Integers  # [n, 2], original height and width in pixels
    n_channels: int
    keys: list[str]  # equal for equal images
    parts: list[str] | None = None  # "train", "validation" or "test", if the source has a split


def read(source: str | Path, side: int) -> Raw:
    """Read a source; images of a folder or table are resized to ``side`` x ``side`` pixels.

    Raises:
        ValueError: The source does not exist, has no images, or has images that cannot be read.
    """
    if source == "digits":
        digits = load_digits()
        return _from_arrays((digits.images * 255 / 16).astype(np.uint8), digits.target)
    path = Path(source)
    if path.is_dir():
        return _read_folder(path, side)
    if path.is_file() and path.suffix == ".npz":
        return _read_npz(path)
    if path.is_file() and path.suffix == ".parquet":
        return _read_parquet(path, side)
    raise ValueError(
        f"No images found at {str(source)!r}. Name a folder with one sub-folder per class, "
        'a .parquet or .npz file, or "digits".'
    )


def _read_folder(path: Path, side: int) -> Raw:
    found = [file for file in _files(path) if len(file.relative_to(path).parts) > 1]
    files = [file for file in found if _is_picture(file)]
    places = [file.relative_to(path).parts[:-1] for file in files]
    parts = [PARTS.get(place[0].lower(), "") for place in places]
    _check_kinds(path, found, has_parts=any(parts))
    if not files:
        raise ValueError(f"{str(path)!r} has no images: put each class into its own sub-folder.")
    if not any(parts):
        return _from_pictures(files, [place[0] for place in places], side)
    # folder/train/class/picture
    if strays := sorted({place[0] for place in places if place[0].lower() not in PARTS}):
        raise ValueError(
            f"{str(path)!r} has parts such as train and test, but also {strays[0]!r}. Move it "
            "away, or pass the folder whose sub-folders are the classes."
        )
    kept = [i for i, place in enumerate(places) if len(place) > 1]
    if not kept:
        raise ValueError(f"The parts of {str(path)!r} have no sub-folders: make one per class.")
    raw = _from_pictures([files[i] for i in kept], [places[i][1] for i in kept], side)
    return raw._replace(parts=[parts[i] for i in kept])


def _check_kinds(path: Path, files: Sequence[Path], *, has_parts: bool) -> None:
    """Raise ValueError if a class has files, but none of a known kind."""
    by_class: dict[str, list[Path]] = {}
    for file in files:
        place = file.relative_to(path).parts[:-1]
        if not has_parts:
            by_class.setdefault(place[0], []).append(file)
        elif place[0].lower() in PARTS and len(place) > 1:
            by_class.setdefault("/".join(place[:2]), []).append(file)
    unknown = {name: own for name, own in by_class.items() if not any(map(_is_picture, own))}
    if unknown:
        shown = "; ".join(
            f"{name!r} ({len(own)} such as {own[0].name!r})"
            for name, own in list(unknown.items())[:5]
        )
        raise ValueError(
            f"All files of {len(unknown)} of {len(by_class)} class folders in {str(path)!r} are "
            f"of unknown kinds: {shown}. Convert them to PNG or JPEG, or move the folders away. "
            f"Known kinds: {', '.join(sorted(_SUFFIXES))}."
        )


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in _SUFFIXES


def _files(path: Path) -> list[Path]:
    """List the files below a folder; follows links, skips hidden ones."""
    found: list[Path] = []
    for folder, folders, names in os.walk(path, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _read_parquet(path: Path, side: int) -> Raw:
    with _naming(path):
        table = pd.read_parquet(path)
    pictures = table[_column(table, _IMAGE_COLUMNS, "encoded images", path)].tolist()
    labels = table[_column(table, _LABEL_COLUMNS, "labels", path)].tolist()
    raw = _from_pictures([_encoded(cell) for cell in pictures], labels, side)
    if "md5_64" in table:
        raw = raw._replace(keys=table["md5_64"].tolist())
    if {"orig_h", "orig_w"} <= set(table):
        raw = raw._replace(sizes=table[["orig_h", "orig_w"]].to_numpy(dtype=np.int64))
    return raw


def _encoded(cell: Any) -> io.BytesIO:
    """Return an encoded image; a cell without one is empty, and its row is named later."""
    if isinstance(cell, dict):  # Hugging Face stores {"bytes": ..., "path": ...}
        cell = cell.get("bytes")
    return io.BytesIO(cell if isinstance(cell, bytes) else b"")


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the file that cannot be read."""
    try:
        yield
    except (
        OSError,
        ValueError,
        TypeError,
        EOFError,
        RuntimeError,
        BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"{str(path)!r} cannot be read ({type(error).__name__}: {error}). Replace it by a "
            "complete copy."
        ) from error


def _column(table: pd.DataFrame, names: Sequence[str], what: str, path: Path) -> str:
    for name in names:
        if name in table:
            return name
    raise ValueError(
        f"{str(path)!r} has no column of {what}, only {', '.join(map(str, table.columns))}. "
        f"Rename the right column to {names[0]!r}."
    )


def _read_npz(path: Path) -> Raw:
    with _naming(path), path.open("rb") as opened, np.load(opened) as file:
        arrays = {name: file[name] for name in file if name.endswith(("images", "labels"))}
    names = [name for name in arrays if name.endswith("images")]
    if not names:
        raise ValueError(f"{str(path)!r} has no array whose name ends in 'images': add it.")
    kinds = [name.removesuffix("images") for name in names]
    if absent := [f"{kind}labels" for kind in kinds if f"{kind}labels" not in arrays]:
        raise ValueError(f"{str(path)!r} has no array {absent[0]!r}: add it.")
    images = np.concatenate([arrays[name] for name in names])
    labels = np.concatenate([arrays[f"{kind}labels"] for kind in kinds])
    if len(images) != len(labels):
        raise ValueError(f"{str(path)!r} has {len(images)} images, but {len(labels)} labels.")
    return _from_arrays(_as_bytes(images, path), _as_classes(labels))


def _as_bytes(images: NDArray[Any], path: Path) -> Images:
    """Convert images of any dtype, channels first or last, to uint8 with channels last."""
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3, 4):
        images = images.transpose(0, 2, 3, 1)
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3, 4)):
        raise ValueError(
            f"The images of {str(path)!r} have shape {images.shape}. Store them as (n, height, "
            "width) or (n, height, width, channels), with 1 or 3 channels."
        )
    if images.dtype == np.uint8:
        return images
    low, high = float(images.min()), float(images.max())
    if not np.isfinite([low, high]).all():
        raise ValueError(f"The images of {str(path)!r} contain NaN or infinity: replace them.")
    if low >= 0 and 1 < high <= 255:
        return images.round().astype(np.uint8)
    spread: Images = ((images - low) / ((high - low) or 1.0) * 255).round().astype(np.uint8)
    return spread


def _as_classes(labels: NDArray[Any]) -> NDArray[Any]:
    """Flatten labels, which may be numbers, names, a column or one-hot rows."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        labels = labels.argmax(axis=1)
    flat = labels.ravel()
    names: NDArray[Any] = np.char.decode(flat) if flat.dtype.kind == "S" else flat
    return names


def _from_pictures(files: Sequence[Path | io.BytesIO], labels: Sequence[Any], side: int) -> Raw:
    images = np.empty((len(files), side, side, 3), np.uint8)
    sizes, n_channels, unreadable = [], 1, []
    for i, file in enumerate(tqdm(files, desc="reading", leave=False, disable=None)):
        try:
            with Image.open(file) as picture:
                picture.load()  # decodes it: until here only its head was read
                images[i] = np.asarray(_rgb(picture).resize((side, side)))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            unreadable.append(str(file) if isinstance(file, Path) else f"row {i}")
            continue
        sizes.append((picture.height, picture.width))
        is_grey = picture.mode in _GREY_MODES or picture.mode.startswith("I;16")
        n_channels = max(n_channels, 1 if is_grey else 3)
    if unreadable:
        raise ValueError(
            f"{len(unreadable)} of {len(files)} images cannot be read: "
            f"{', '.join(unreadable[:5])}. Repair or remove them."
        )
    return Raw(images, labels, np.array(sizes), n_channels, _keys(images))


def _rgb(picture: Image.Image) -> Image.Image:
    """Convert to RGB; images of 16 or 32 bits are first scaled to their own range."""
    if picture.mode not in _DEEP_MODES and not picture.mode.startswith("I;16"):
        return picture.convert("RGB")
    values = np.asarray(picture, dtype=np.float64)
    span = (values.max() - values.min()) or 1.0
    return Image.fromarray(((values - values.min()) / span * 255).astype(np.uint8)).convert("RGB")


def _from_arrays(images: Images, labels: Labels) -> Raw:
    n_channels = 1 if images.ndim == 3 else images.shape[-1]
    if images.ndim == 3:
        images = images[..., np.newaxis]
    images = np.broadcast_to(images[..., :3], (*images.shape[:3], 3))
    sizes = np.tile(np.array(images.shape[1:3]), (len(images), 1))
    return Raw(images, labels, sizes, n_channels, _keys(images))


def _keys(images: Images) -> list[str]:
    return [md5(image.tobytes(), usedforsecurity=False).hexdigest() for image in images]

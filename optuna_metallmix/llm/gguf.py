"""Read the header of a GGUF file, without loading the model: metadata, number of parameters.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any


# Types of values, in the file's order.
_TYPES = ("B", "b", "H", "h", "I", "i", "f", "?", "string", "array", "Q", "q", "d")


def n_parameters(path: Path) -> int | None:
    """Return the number of values in the tensors of a GGUF file.

    None if the file cannot be read, or is one of several parts of a model.
    """
    return _read(path)[1]


def read_metadata(path: Path) -> Mapping[str, Any]:
    """Return the metadata of a GGUF file; the value of an array is None.

    Empty if the file cannot be read.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[Mapping[str, Any], int | None]:
    try:
        status = path.stat()
    except OSError:
        return {}, None
    return _read_version(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _read_version(path: Path, size: int, modified: int) -> tuple[Mapping[str, Any], int | None]:
    # Size and time are part of the cache key, so that a replaced file is read again.
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            header = _Header(data)
            return header.metadata, header.n_parameters()
    except (OSError, ValueError, IndexError, OverflowError, struct.error):
        return {}, None


class _Header:
    """The header of a GGUF file, read from its beginning."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 4  # after the word GGUF
        self._version = self._scalar("I")
        self._n_tensors, n_keys = self._scalar("Q"), self._scalar("Q")
        self.metadata = {self._string(): self._value(self._type()) for _ in range(n_keys)}

    def n_parameters(self) -> int | None:
        """Read the descriptions of the tensors, once."""
        if self._version < 2 or self.metadata.get("split.count", 0) not in (0, 1):
            return None
        return sum(self._tensor_size() for _ in range(self._n_tensors)) or None

    def _tensor_size(self) -> int:
        self._string()
        shape = [self._scalar("Q") for _ in range(self._scalar("I"))]
        self._at += 12  # its type and offset
        return math.prod(shape)

    def _value(self, kind: str) -> object:
        """Read a value; None for an array, whose values are skipped."""
        if kind == "string":
            return self._string()
        if kind != "array":
            return self._scalar(kind)
        kind, n = self._type(), self._scalar("Q")
        if kind in ("string", "array"):
            for _ in range(n):
                self._value(kind)
        else:
            self._at += n * struct.calcsize(f"<{kind}")
        return None

    def _type(self) -> str:
        return _TYPES[self._scalar("I")]

    def _string(self) -> str:
        n = self._scalar("Q")
        self._at += n
        return self._data[self._at - n : self._at].decode()

    def _scalar(self, kind: str) -> Any:
        (value,) = struct.unpack_from(f"<{kind}", self._data, self._at)
        self._at += struct.calcsize(f"<{kind}")
        return value

"""Write small GGUF files by hand."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path


UINT32, FLOAT32, STRING, ARRAY = 4, 6, 8, 9


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def value_of(value: object) -> bytes:
    """Write a value behind its type."""
    if isinstance(value, str):
        return struct.pack("<I", STRING) + text(value)
    if isinstance(value, float):
        return struct.pack("<If", FLOAT32, value)
    if isinstance(value, int):
        return struct.pack("<II", UINT32, value)
    assert isinstance(value, Sequence)
    kind, items = value_of(value[0])[:4], b"".join(value_of(item)[4:] for item in value)
    return struct.pack("<I", ARRAY) + kind + struct.pack("<Q", len(value)) + items


def write_gguf(
    path: Path,
    metadata: Mapping[str, object],
    shapes: Mapping[str, Sequence[int]],
    *,
    fill: float = 0.0,
) -> Path:
    """Write a file of float32 tensors with equal values, in format version 3."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(metadata))
    head += b"".join(text(key) + value_of(value) for key, value in metadata.items())
    data = b""
    for name, shape in shapes.items():
        head += text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        head += struct.pack("<IQ", 0, len(data))
        data += struct.pack("<f", fill) * math.prod(shape)
        data += bytes(-len(data) % 32)
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return path

"""this machine -> the memory that a language model may take on it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


_LEAST_ACCELERATOR = 4 * 10**9
"""Bytes in all below which an accelerator holds no model worth asking, and is left out."""

_AMD_CARDS = Path("/sys/class/drm")


@dataclass(frozen=True)
class FreeMemory:
    """Memory that is free for a language model.

    Attributes:
        size: Bytes, at least 0.
        is_accelerator: Whether it is an accelerator's; else it is the machine's own.
    """

    size: int
    is_accelerator: bool


def free_memory() -> FreeMemory | None:
    """Look at the accelerator with most free memory; without one, at the machine's own memory.

    NVIDIA by ``nvidia-smi``, AMD on Linux by what its driver lists, Apple silicon as half of the
    memory it shares with the machine. Others are not found. None where nothing can be told.
    """
    cards = [*_nvidia_cards(), *_amd_cards(), *_apple_cards()]
    free = [free for total, free in cards if total >= _LEAST_ACCELERATOR]
    if free:
        return FreeMemory(max(free), is_accelerator=True)
    own = _own_memory()
    return None if own is None else FreeMemory(own, is_accelerator=False)


def _nvidia_cards() -> Iterable[tuple[int, int]]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return
    asked = [program, "--query-gpu=memory.total,memory.free", "--format=csv,noheader,nounits"]
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=True)
        for line in done.stdout.splitlines():
            total, free = line.split(",")
            yield int(total) * 2**20, int(free) * 2**20


def _amd_cards() -> Iterable[tuple[int, int]]:
    for total_file in _AMD_CARDS.glob("card*/device/mem_info_vram_total"):
        with suppress(OSError, ValueError):
            total = int(total_file.read_text())
            yield total, total - int(total_file.with_name("mem_info_vram_used").read_text())


def _apple_cards() -> Iterable[tuple[int, int]]:
    if (platform.system(), platform.machine()) != ("Darwin", "arm64"):
        return []
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return [(total, total // 2)]


def _own_memory() -> int | None:
    with suppress(OSError, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        (available,) = [line for line in lines if line.startswith("MemAvailable:")]
        return int(available.split()[1]) * 1024
    return None

"""this machine -> the memory that a language model may take on it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from optuna_metallmix.llm.ollama.server import InstalledModel
from optuna_metallmix.llm.ollama.server import installed_models
from optuna_metallmix.llm.ollama.server import loaded_bytes
from optuna_metallmix.llm.ollama.server import server_at


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


LEAST_CONTEXT = 4096
"""Tokens that a question (3,000) and its answer (1,024) take."""

_MOST_BYTES = 16 * 10**9
"""Bytes of weights that an ordinary accelerator holds beside a training."""

_MOST_BYTES_WITHOUT = 3 * 10**9
"""The same without an accelerator: more than 4 billion parameters (at 4 bits) read a question of
3,000 tokens for minutes there."""

_OVERHEAD = 1.2, 10**9
"""Memory of a loaded model: its weights times the first, and the second in bytes for context."""

# What a name says of a model that was not made to follow instructions in words, the least unfit
# first. Pictures, code and mathematics were learned on top of instructions, the others instead.
_MADE_FOR = (
    (r"llava|moondream|vision|[\d-]vl\b|minicpm-v|ocr", "pictures"),
    (r"code|coder|codestral|devstral|sql", "code"),
    (r"math", "mathematics"),
    (r"translat", "translation"),
    (r"[:-](base|text)\b", "going on with a text, not following instructions"),
    (r"guard|shield", "telling harmful texts"),
)
_EMBEDDING = re.compile(r"embed|minilm|\bbge|rerank|\bgte\b")


@dataclass(frozen=True)
class Ranked:
    """One of the models, in the order of preference.

    Attributes:
        name: As Ollama calls it.
        usable: Whether it could be asked at all; the first that is usable is chosen.
        why: One sentence, without the name, on where it stands.
    """

    name: str
    usable: bool
    why: str


def rank_models(
    models: Iterable[InstalledModel], memory: FreeMemory | None = None
) -> list[Ranked]:
    """Rank models by how well they can be trusted to answer in time.

    Usable are those that write text, have their weights on the server, and hold 4,096 tokens. Of
    these come first those that fit: weights of at most 16 GB (3 GB where there is no
    accelerator), with a fifth and 1 GB more in free memory; then those made to follow
    instructions; then, among those that fit, the larger, among the others the smaller.

    Args:
        models: The models, with what the server tells of each.
        memory: What is free where the server runs; None where that is not known.
    """
    models = list(models)
    unusable = [Ranked(one.name, False, why) for one in models if (why := _why_not(one))]
    names = {one.name for one in unusable}
    usable = sorted(
        (one for one in models if one.name not in names), key=lambda one: _order(one, memory)
    )
    return [*(Ranked(one.name, True, _why(one, memory)) for one in usable), *unusable]


def rank_installed(host: str | None = None) -> list[Ranked]:
    """Rank what an Ollama server has; nothing is loaded, and nothing pulled.

    Args:
        host: As for :class:`OllamaLLM`.

    Raises:
        LLMError: Nothing at that address answers as Ollama does.
    """
    models = installed_models(host, details=True)
    server = server_at(host)
    memory = free_memory() if server.is_local else None
    if memory is not None and memory.is_accelerator:
        memory = FreeMemory(memory.size + loaded_bytes(server), is_accelerator=True)
    return rank_models(models, memory)


def _why_not(model: InstalledModel) -> str | None:
    able = model.capabilities
    if model.is_remote:
        return "Its weights are not on the server."
    # Old servers list no capabilities: their models are judged by name.
    writes = not _EMBEDDING.search(model.name.lower()) if able is None else "completion" in able
    if not writes:
        return "It does not write text."
    if model.context_length is not None and model.context_length < LEAST_CONTEXT:
        return (
            f"It holds {model.context_length:,} tokens, a question and its answer take "
            f"{LEAST_CONTEXT:,}."
        )
    return None


def _order(model: InstalledModel, memory: FreeMemory | None) -> tuple[bool, int, int, str]:
    fits = model.size <= _most_bytes(memory)
    return (not fits, _unfitness(model.name), -model.size if fits else model.size, model.name)


def _most_bytes(memory: FreeMemory | None) -> float:
    if memory is None:
        return _MOST_BYTES
    factor, context = _OVERHEAD
    most = _MOST_BYTES if memory.is_accelerator else _MOST_BYTES_WITHOUT
    return min(most, (memory.size - context) / factor)


def _unfitness(name: str) -> int:
    for unfitness, (pattern, _) in enumerate(_MADE_FOR, start=1):
        if re.search(pattern, name.lower()):
            return unfitness
    return 0


def _why(model: InstalledModel, memory: FreeMemory | None) -> str:
    most = _most_bytes(memory)
    fits = "fit" if model.size <= most else "are more than"
    where = "beside a training"
    if memory is not None:
        place = "on the accelerator" if memory.is_accelerator else "without an accelerator"
        where = f"{place} with {_gb(memory.size)} free"
    unfitness = _unfitness(model.name)
    made_for = _MADE_FOR[unfitness - 1][1] if unfitness else "instructions"
    return f"Made for {made_for}; its {_gb(model.size)} {fits} the {_gb(max(most, 0))} {where}."


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"

"""Rank the models of an Ollama server, so that the best model that fits is chosen.

The ranking uses what the server reports of each model, the words in its name, and the memory that
is free on this machine.
"""

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
from optuna_metallmix.llm.protocol import SMALL_MODEL


# In tokens: a question (3,000) and its answer (1,024).
_MIN_CONTEXT = 4096

# Bytes of weights that fit on a common accelerator alongside training. Without an accelerator,
# models of more than 4 billion parameters (at 4 bits) take minutes to read a question.
_MAX_WEIGHTS = 16 * 10**9
_MAX_WEIGHTS_CPU = 3 * 10**9

# A loaded model takes this multiple of its weights, plus these bytes for its context.
_MEMORY_FACTOR = 1.2
_CONTEXT_BYTES = 10**9

# Bytes of total memory below which an accelerator is ignored.
_MIN_ACCELERATOR = 4 * 10**9

_AMD_CARDS = Path("/sys/class/drm")

# Patterns in the names of models that are not primarily for chat, least unsuitable first. Vision,
# code and math models are still instruction-tuned; the others are not.
_KINDS = (
    (r"llava|moondream|vision|[\d-]vl\b|minicpm-v|ocr", "Vision model"),
    (r"code|coder|codestral|devstral|sql", "Code model"),
    (r"math", "Math model"),
    (r"translat", "Translation model"),
    (r"[:-](base|text)\b", "Base model"),
    (r"guard|shield", "Moderation model"),
)
_EMBEDDING = re.compile(r"embed|minilm|\bbge|rerank|\bgte\b")


@dataclass(frozen=True)
class FreeMemory:
    """Memory that is free for a language model.

    Attributes:
        size: Bytes, at least 0.
        is_accelerator: Whether it is an accelerator's memory, not the machine's.
    """

    size: int
    is_accelerator: bool


@dataclass(frozen=True)
class Ranked:
    """A model in a ranking.

    Attributes:
        name: Ollama's name of the model.
        usable: Whether the model may be chosen without naming it; the first usable model is.
        why: A sentence, without the name, that explains the rank.
    """

    name: str
    usable: bool
    why: str


def rank_models(
    models: Iterable[InstalledModel], memory: FreeMemory | None = None
) -> list[Ranked]:
    """Rank models by how likely they are to answer well and in time.

    Models are usable if they write text, have their weights on the server, a context of at least
    4,096 tokens, and at least 1.5 billion parameters as far as the server reports them: smaller
    models can be asked a short question only, and have to be named. Of these, models that fit
    come first: at most 16 GB of weights (3 GB without an accelerator), and 1.2 times their
    weights plus 1 GB within the free memory. Then instruction-tuned models come first; then
    larger models, or smaller models among those that do not fit.

    Args:
        models: The models, as the server reports them.
        memory: The free memory of the server's machine; None if unknown.

    Returns:
        All models, the best first and the unusable last; of these, the small models first.
    """
    ranked = []
    for model in sorted(models, key=lambda model: _sort_key(model, memory)):
        why_not = _problem(model) or _too_small(model)
        ranked.append(Ranked(model.name, why_not is None, why_not or _explain(model, memory)))
    return ranked


def rank_installed(host: str | None = None) -> list[Ranked]:
    """Rank the models of an Ollama server, without loading or pulling any.

    Args:
        host: As for :class:`OllamaLLM`.

    Raises:
        LLMError: No Ollama server answers at that address.
    """
    models = installed_models(host, details=True)
    server = server_at(host)
    memory = free_memory() if server.is_local else None
    if memory is not None and memory.is_accelerator:
        memory = FreeMemory(memory.size + loaded_bytes(server), is_accelerator=True)
    return rank_models(models, memory)


def free_memory() -> FreeMemory | None:
    """Return the free memory of the best accelerator, or of the machine if it has none.

    Finds NVIDIA cards by ``nvidia-smi``, AMD cards on Linux by their driver's files, and Apple
    silicon, of whose shared memory half counts. None if the memory is unknown.
    """
    cards = [*_nvidia_cards(), *_amd_cards(), *_apple_cards()]
    free = [free for total, free in cards if total >= _MIN_ACCELERATOR]
    if free:
        return FreeMemory(max(free), is_accelerator=True)
    available = _main_memory()
    return None if available is None else FreeMemory(available, is_accelerator=False)


def _problem(model: InstalledModel) -> str | None:
    if model.is_remote:
        return "Its weights are not on the server."
    # Old servers report no capabilities; their models are judged by name.
    if model.capabilities is None:
        writes_text = not _EMBEDDING.search(model.name.lower())
    else:
        writes_text = "completion" in model.capabilities
    if not writes_text:
        return "It does not write text."
    if model.context_length is not None and model.context_length < _MIN_CONTEXT:
        return (
            f"Its context of {model.context_length:,} tokens is shorter than a question and its "
            f"answer, {_MIN_CONTEXT:,} tokens."
        )
    return None


def _too_small(model: InstalledModel) -> str | None:
    if model.n_parameters is None or model.n_parameters >= SMALL_MODEL:
        return None
    return (
        f"It has {model.n_parameters / 1e9:.3g} billion parameters, fewer than the "
        f"{SMALL_MODEL / 1e9:g} billion of a model that is chosen without its name: name it "
        f"`ollama:{model.name}` to use it."
    )


def _sort_key(model: InstalledModel, memory: FreeMemory | None) -> tuple[bool | int | str, ...]:
    is_unusable, is_small = _problem(model) is not None, _too_small(model) is not None
    fits = model.size <= _max_weights(memory)
    size = -model.size if fits else model.size
    return (is_unusable, is_small, not fits, _kind(model.name)[0], size, model.name)


def _explain(model: InstalledModel, memory: FreeMemory | None) -> str:
    limit = _max_weights(memory)
    fits = "fit in" if model.size <= limit else "exceed"
    budget = "available alongside training"
    if memory is not None:
        device = "on the accelerator" if memory.is_accelerator else "without an accelerator"
        budget = f"usable {device} ({_gigabytes(memory.size)} free)"
    return (
        f"{_kind(model.name)[1]}; its weights ({_gigabytes(model.size)}) {fits} the "
        f"{_gigabytes(max(limit, 0))} {budget}."
    )


def _max_weights(memory: FreeMemory | None) -> float:
    if memory is None:
        return _MAX_WEIGHTS
    limit = _MAX_WEIGHTS if memory.is_accelerator else _MAX_WEIGHTS_CPU
    return min(limit, (memory.size - _CONTEXT_BYTES) / _MEMORY_FACTOR)


def _kind(name: str) -> tuple[int, str]:
    """Return how unsuitable a kind of model is, from 0, and the kind itself."""
    for rank, (pattern, kind) in enumerate(_KINDS, start=1):
        if re.search(pattern, name.lower()):
            return rank, kind
    return 0, "Instruction-tuned"


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def _nvidia_cards() -> Iterable[tuple[int, int]]:
    """Return total and free bytes of each card."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return
    command = [program, "--query-gpu=memory.total,memory.free", "--format=csv,noheader,nounits"]
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
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


def _main_memory() -> int | None:
    with suppress(OSError, ValueError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        (available,) = [line for line in lines if line.startswith("MemAvailable:")]
        return int(available.split()[1]) * 1024
    return None

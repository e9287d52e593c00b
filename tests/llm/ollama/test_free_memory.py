"""Free memory is read from the files and programs of each kind of accelerator, faked here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from optuna_metallmix.llm.ollama import ranking
from optuna_metallmix.llm.ollama.ranking import FreeMemory
from optuna_metallmix.llm.ollama.ranking import free_memory


GIB = 2**30


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without an accelerator."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(ranking, "_AMD_CARDS", tmp_path)
    return tmp_path


def install_nvidia_smi(folder: Path, body: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)


needs_shell = pytest.mark.skipif(os.name == "nt", reason="plays nvidia-smi by a shell script")


@needs_shell
@pytest.mark.parametrize(
    ("printed", "free"), [("24576, 20480", 20), ("8192, 6144\\n24576, 1024", 6)]
)
def test_nvidia_card_with_most_free_memory(bare: Path, printed: str, free: int) -> None:
    install_nvidia_smi(bare, f"printf '{printed}\\n'")
    assert free_memory() == FreeMemory(free * GIB, is_accelerator=True)


@needs_shell
@pytest.mark.parametrize(
    "body", ["exit 9", "echo No devices were found", "printf '2048, 2000\\n'"]
)
def test_nvidia_card_that_is_no_help(bare: Path, body: str) -> None:
    install_nvidia_smi(bare, body)
    memory = free_memory()
    assert memory is None or not memory.is_accelerator


def test_amd_card(bare: Path) -> None:
    device = bare / "card0" / "device"
    device.mkdir(parents=True)
    (device / "mem_info_vram_total").write_text(f"{16 * GIB}\n")
    (device / "mem_info_vram_used").write_text(f"{4 * GIB}\n")
    assert free_memory() == FreeMemory(12 * GIB, is_accelerator=True)


def test_apple_chip_shares_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "sysconf"):
        pytest.skip("needs os.sysconf")
    monkeypatch.setattr(ranking.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(ranking.platform, "machine", lambda: "arm64")
    pages = {"SC_PHYS_PAGES": 32 * GIB // 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    assert free_memory() == FreeMemory(16 * GIB, is_accelerator=True)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/meminfo")
def test_machine_without_an_accelerator() -> None:
    memory = free_memory()
    assert memory is not None
    assert not memory.is_accelerator
    assert memory.size > 0

"""The number of parameters is read from the header of a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gguf_files import write_gguf

from optuna_metallmix.llm import INSTALL_COMMAND
from optuna_metallmix.llm import EmbeddedLLM
from optuna_metallmix.llm import is_embedded_installed
from optuna_metallmix.llm.gguf import n_parameters
from optuna_metallmix.llm.gguf import read_metadata


METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "general.alignment": 32,
    "general.scale": 0.5,
    "tokenizer.tokens": ["a", "ä", "", "<|end|>"],
    "tokenizer.scores": [0.5, 1.5],
    "nested": [[1, 2], [3]],
}
SHAPES = {"token_embd.weight": (8, 5), "output_norm.weight": (8,), "experts": (2, 3, 4)}


@pytest.mark.parametrize("metadata", [METADATA, {}, {"split.count": 1}])
def test_values_of_all_tensors_are_counted(tmp_path: Path, metadata: dict[str, Any]) -> None:
    path = write_gguf(tmp_path / "m.gguf", metadata, SHAPES)
    assert n_parameters(path) == 40 + 8 + 24
    assert EmbeddedLLM(path).n_parameters == 72


def test_part_of_a_model_says_nothing(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", {"split.count": 3}, SHAPES)
    assert n_parameters(path) is None


def test_file_without_tensors_says_nothing(tmp_path: Path) -> None:
    assert n_parameters(write_gguf(tmp_path / "m.gguf", METADATA, {})) is None


@pytest.mark.parametrize("size", [0, 4, 8, 23, 24, 60, 200])
def test_damaged_file_says_nothing(tmp_path: Path, size: int) -> None:
    path = write_gguf(tmp_path / "m.gguf", METADATA, SHAPES)
    path.write_bytes(path.read_bytes()[:size])
    assert n_parameters(path) is None


def test_lost_file_says_nothing(tmp_path: Path) -> None:
    assert n_parameters(tmp_path / "lost.gguf") is None


def test_nonsense_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 500)
    assert n_parameters(path) is None


def test_replaced_file_is_read_again(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", {}, SHAPES)
    assert n_parameters(path) == 72
    write_gguf(path, {}, {"bias": (7,)})
    assert n_parameters(path) == 7


@pytest.mark.skipif(not is_embedded_installed(), reason=f"run {INSTALL_COMMAND}")
def test_packaged_model() -> None:
    assert EmbeddedLLM().n_parameters == 134_515_008


def test_metadata_are_read(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", {**METADATA, "general.name": "ä model"}, SHAPES)
    found = read_metadata(path)
    assert found["general.name"] == "ä model"
    assert found["general.alignment"] == 32
    assert found["tokenizer.tokens"] is None
    assert read_metadata(tmp_path / "lost.gguf") == {}
    path.write_bytes(path.read_bytes()[:60])
    assert read_metadata(path) == {}

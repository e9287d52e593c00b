"""Which of the installed models is preferred, and the sentence that explains it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

import pytest

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import InstalledModel
from optuna_metallmix.llm import rank_installed
from optuna_metallmix.llm import rank_models
from optuna_metallmix.llm.ollama import ranking
from optuna_metallmix.llm.ollama.ranking import FreeMemory


if TYPE_CHECKING:
    from conftest import FakeOllama


GB = 10**9
WRITES = ("completion",)


def model(name: str, gb: float = 5.0, **facts: Any) -> InstalledModel:
    return InstalledModel(name, int(gb * GB), **{"capabilities": WRITES, **facts})


def order(models: list[InstalledModel], memory: FreeMemory | None = None) -> list[str]:
    return [ranked.name for ranked in rank_models(models, memory)]


@pytest.mark.parametrize(
    "other",
    [
        *("codellama:13b", "qwen2.5-coder:14b", "starcoder2:15b", "devstral:24b", "sqlcoder:7b"),
        *("llava:13b", "llama3.2-vision:11b", "qwen2.5vl:7b", "qwen3-vl:8b", "moondream:1.8b"),
        *("llama3:8b-text", "llama3.1:8b-text-q4_0", "mistral:7b-base", "hf.co/q/Qwen3-8B-Base"),
        *("llama-guard3:8b", "shieldgemma:9b", "qwen2-math:7b", "translategemma:12b"),
    ],
)
def test_instructions_are_followed_best_by_who_learned_to(other: str) -> None:
    assert order([model(other, 9), model("qwen3:8b", 5)]) == ["qwen3:8b", other]


@pytest.mark.parametrize(
    "name",
    ["qwen3:8b", "llama3.1:8b-instruct-q4_K_M", "gemma3:12b", "gpt-oss:20b", "database-tuner:8b"],
)
def test_name_of_a_model_that_follows_instructions(name: str) -> None:
    (ranked,) = rank_models([model(name)])
    assert ranked.usable
    assert ranked.why.startswith("Instruction-tuned; its weights (5.0 GB) fit in the 16.0 GB")


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (None, ["m:14b", "m:8b", "m:1b", "m:30b", "m:70b"]),
        (FreeMemory(80 * GB, True), ["m:14b", "m:8b", "m:1b", "m:30b", "m:70b"]),
        (FreeMemory(8 * GB, True), ["m:8b", "m:1b", "m:14b", "m:30b", "m:70b"]),
        (FreeMemory(64 * GB, False), ["m:1b", "m:8b", "m:14b", "m:30b", "m:70b"]),
        (FreeMemory(1 * GB, False), ["m:1b", "m:8b", "m:14b", "m:30b", "m:70b"]),
    ],
)
def test_the_largest_that_fits_then_the_smallest(
    memory: FreeMemory | None, expected: list[str]
) -> None:
    sizes = {"m:70b": 40, "m:1b": 1, "m:14b": 9, "m:30b": 19, "m:8b": 5}
    assert order([model(name, gb) for name, gb in sizes.items()], memory) == expected


def test_code_that_fits_comes_before_instructions_that_do_not() -> None:
    assert order([model("m:70b", 40), model("codellama:7b", 4)]) == ["codellama:7b", "m:70b"]


@pytest.mark.parametrize(
    ("unusable", "why"),
    [
        (model("m:cloud", is_remote=True), "weights are not on the server"),
        (model("nomic", capabilities=("embedding",)), "does not write text"),
        (model("nomic-embed-text", capabilities=None), "does not write text"),
        (model("bge-m3", capabilities=None), "does not write text"),
        (model("old:7b", context_length=2048), r"holds 2,048 tokens, .* 4,096"),
    ],
)
def test_what_cannot_be_asked_comes_last(unusable: InstalledModel, why: str) -> None:
    first, last = rank_models([unusable, model("tiny:1b", 0.5)])
    assert (first.name, first.usable) == ("tiny:1b", True)
    assert (last.name, last.usable) == (unusable.name, False)
    assert why.split()[-1].rstrip(".") in last.why


@pytest.mark.parametrize(
    ("n_parameters", "usable"),
    [(1_499_999_999, False), (1_500_000_000, True), (8_000_000_000, True), (None, True)],
)
def test_small_model_is_not_chosen_without_its_name(
    n_parameters: int | None, usable: bool
) -> None:
    (ranked,) = rank_models([model("m:1b", n_parameters=n_parameters)])
    assert ranked.usable is usable
    if not usable:
        assert ranked.why.endswith(": name it `ollama:m:1b` to use it.")


def test_small_models_come_before_what_cannot_be_asked() -> None:
    small = {"n_parameters": 10**9}
    models = [
        model("nomic", 0.3, capabilities=("embedding",), **small),
        model("tiny:135m", 0.1, **small),
        model("b:70b", 40),
        model("tiny:1b", 0.8, **small),
    ]
    assert order(models) == ["b:70b", "tiny:1b", "tiny:135m", "nomic"]


def test_every_reason_is_one_sentence() -> None:
    models = [
        *(model("a:8b"), model("b:70b", 40), model("c:cloud", is_remote=True)),
        model("d:1b", n_parameters=1_240_000_000),
    ]
    for memory in (None, FreeMemory(GB // 2, True), FreeMemory(8 * GB, False)):
        for ranked in rank_models(models, memory):
            assert ranked.why.count(". ") == 0
            assert ranked.why.endswith(".")
    assert rank_models([]) == []


@pytest.mark.shared
def test_recorded_server_is_ranked_without_loading_or_pulling(
    play: Callable[[str], dict[str, Any]], ollama_server: FakeOllama
) -> None:
    play("02_list")
    play("03_show")
    (ranked,) = rank_installed()
    assert (ranked.name, ranked.usable) == ("smollm2:135m", False)
    assert "has 0.135 billion parameters" in ranked.why
    asked = {path for path, _ in ollama_server.requests}
    assert asked <= {"/api/tags", "/api/show"}


def test_model_in_memory_makes_room_for_another(
    ollama_server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [
        {"model": name, "size": size * GB, "capabilities": WRITES}
        for name, size in {"m:14b": 9, "m:1b": 1}.items()
    ]
    ollama_server.reply("/api/tags", {"models": listed})
    monkeypatch.setattr(ranking, "free_memory", lambda: FreeMemory(3 * GB, True))
    ollama_server.reply("/api/ps", {"models": []})
    assert rank_installed()[0].name == "m:1b"
    ollama_server.reply("/api/ps", {"models": [{"model": "m:14b", "size_vram": 10 * GB}]})
    assert rank_installed()[0].name == "m:14b"


def test_absent_server_is_an_error() -> None:
    with pytest.raises(LLMError, match="No Ollama server answers"):
        rank_installed("127.0.0.1:1")

"""A small model of the same kind learns, a stopped training continues, and the file is read."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optuna_metallmix.llm.gguf import n_parameters
from optuna_metallmix.llm.gguf import read_metadata


torch = pytest.importorskip("torch", reason="pip install --group models")
torch.set_num_threads(1)  # more are slow beside other work
for package in ("transformers", "peft", "gguf", "safetensors"):
    pytest.importorskip(package, reason="pip install --group models")

from models import convert  # noqa: E402
from models import train  # noqa: E402


# Of peft, about a name of transformers.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

BASE = {
    "general.name": "a small model",
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
}
N_LAYERS = train.FROZEN + 1


@pytest.fixture
def base() -> Any:
    from transformers import LlamaConfig
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=32,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=N_LAYERS,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.3,
        )
    ).to(torch.bfloat16)


def example(i: int) -> train.Example:
    return train.Example([1, 2, 3 + i % 2], [5, 7 + i % 2, 6], [0.2, train.CHOICE, 1.0])


EXAMPLES = [example(i) for i in range(30 * train.BATCH)]


def test_the_loss_falls(base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "RATE", 1e-2)  # a model this small needs larger steps
    losses = train.train(base, EXAMPLES, tmp_path, 30)
    assert len(losses) == 30
    assert losses[-1] < 0.6 * losses[0]


def test_lower_layers_have_no_adapter(base: Any, tmp_path: Path) -> None:
    train.train(base, EXAMPLES, tmp_path, 1)
    from safetensors.torch import load_file

    weights = load_file(tmp_path / "adapter_model.safetensors")
    assert {key.split(".layers.")[1].split(".")[0] for key in weights} == {str(train.FROZEN)}
    assert len(weights) == 2 * len(train.LINEAR)
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


def test_a_stopped_training_continues(
    base: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(examples: list[train.Example], folder: str) -> list[float]:
        torch.manual_seed(0)
        return train.train(copy.deepcopy(base), examples, tmp_path / folder, 6)

    whole = run(EXAMPLES, "whole")
    monkeypatch.setattr(train, "SAVED_EVERY", 2)
    with pytest.raises(IndexError):
        run(Stopped(EXAMPLES[: 5 * train.BATCH]), "parts")  # after the fifth step
    assert run(EXAMPLES, "parts") == pytest.approx(whole[4:], rel=1e-3)
    assert run(EXAMPLES, "parts") == []


class Stopped(list[train.Example]):
    """Questions that end with an error, as a training does that is stopped."""

    def __getitem__(self, index: Any) -> Any:
        if not (found := super().__getitem__(index)):
            raise IndexError
        return found


def test_easy_questions_come_first() -> None:
    rows = [
        {"question": f"Candidates:\n1. a={i}\n{2 + i % 2}. a=0", "candidates": 2 + i % 5}
        for i in range(2_500)
    ]
    ordered = train.in_order(rows, 4_000)
    assert len(ordered) == 4_000
    easy, others = ordered[: train.N_EASY], ordered[train.N_EASY :]
    assert {row["candidates"] for row in easy} == {2, 3}
    assert {row["candidates"] for row in others} == {2, 3, 4, 5, 6}
    plain = [*easy, *others[: train.N_HARDER]]
    assert not [row for row in plain if "\n3. " in row["question"]]
    assert [row for row in others if "\n3. " in row["question"]]
    assert ordered == train.in_order(rows, 4_000)


def test_the_candidate_counts_most() -> None:
    class Tokenizer:
        eos_token = "$"

        def apply_chat_template(self, messages: Any, **options: Any) -> str:
            return f"user: {messages[0]['content']}"

        def __call__(self, text: str) -> dict[str, list[int]]:
            return {"input_ids": [ord(letter) for letter in text]}

        def decode(self, tokens: list[int]) -> str:
            return "".join(map(chr, tokens))

    answer = '{"candidate":2,"evidence":["E13"]}'
    found = train.encode(Tokenizer(), "Which?", answer, 2)
    weights = dict(zip(answer, found.weights, strict=False))
    assert found.choice == answer.index("2")
    assert (weights["2"], weights["1"], weights["E"]) == (3.0, 1.0, 0.2)
    assert found.answer[-1] == ord("$")


def test_conversion_writes_a_file_that_the_library_reads(base: Any, tmp_path: Path) -> None:
    train.train(base, EXAMPLES, tmp_path, 2)
    path = tmp_path / "new" / "reader.gguf"
    convert.convert(tmp_path, path, BASE)
    metadata = read_metadata(path)
    assert metadata["general.type"] == "adapter"
    assert metadata["general.license"] == "apache-2.0"
    assert metadata["general.base_model.0.name"] == "a small model"
    assert metadata["adapter.lora.alpha"] == 2 * train.RANK
    hidden, inner = 32, 48
    attention = 2 * (hidden + hidden) + 2 * (hidden + hidden // 2)
    assert n_parameters(path) == train.RANK * (attention + 3 * (hidden + inner))


def test_untrained_maps_are_left_out(tmp_path: Path) -> None:
    key = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    weights = {key.format(layer, side): torch.ones(8, 8) for layer in (0, 1) for side in "AB"}
    weights[key.format(0, "B")] *= 0
    names = [name for name, _ in convert._tensors(weights, BASE)]
    assert names == ["blk.1.attn_q.weight.lora_a", "blk.1.attn_q.weight.lora_b"]


def test_rows_of_a_head_are_interleaved() -> None:
    rows = np.arange(8, dtype=np.float32).reshape(8, 1)
    found = convert._interleaved(rows, 2).ravel().tolist()
    assert found == [0, 2, 1, 3, 4, 6, 5, 7]  # halves of each head, (0, 1) and (2, 3)

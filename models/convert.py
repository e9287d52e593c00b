"""Convert the adapter to the GGUF file that the package ships: ``python -m models.convert``.

The file says which model it fits: its ``general.base_model.0.name`` is the ``general.name`` of the
packaged model's file.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file

from models import ADAPTER
from models import READER
from optuna_metallmix.llm import EmbeddedLLM
from optuna_metallmix.llm.gguf import read_metadata


NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""Names of a layer's linear maps in llama.cpp, by name in transformers."""
KEY = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.(.*)\.lora_([AB])\.weight")


def main() -> None:
    """Convert the adapter and print the size."""
    parser = argparse.ArgumentParser(prog="python -m models.convert", description=__doc__)
    parser.add_argument("--adapter", type=Path, default=ADAPTER, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=READER, help="default: %(default)s")
    args = parser.parse_args()
    base = read_metadata(EmbeddedLLM(adapter=None).path)
    convert(args.adapter, args.out, base)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB")


def convert(adapter: Path, out: Path, base: Mapping[str, Any]) -> None:
    """Write the adapter of a PEFT folder in float16.

    Args:
        adapter: The folder of the adapter.
        out: The file to write.
        base: The metadata of the base model's GGUF file.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(out, "llama")
    _describe(writer, float(config["lora_alpha"]), base)
    for name, values in _tensors(load_file(adapter / "adapter_model.safetensors"), base):
        writer.add_tensor(name, np.ascontiguousarray(values, dtype=np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: gguf.GGUFWriter, alpha: float, base: Mapping[str, Any]) -> None:
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    writer.add_name("optuna-metallmix reader for SmolLM2-135M-Instruct")
    writer.add_license("apache-2.0")
    writer.add_base_model_count(1)
    writer.add_base_model_name(0, base["general.name"])


def _tensors(
    weights: Mapping[str, Any], base: Mapping[str, Any]
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the tensors with llama.cpp's names, except those of maps that were not trained."""
    n_query, n_key = (base[f"llama.attention.head_count{kind}"] for kind in ("", "_kv"))
    heads = {"attn_q": n_query, "attn_k": n_key}
    for key, tensor in sorted(weights.items()):
        match = KEY.fullmatch(key)
        assert match is not None, key
        layer, part, side = match.groups()
        name, values = NAMES[part], tensor.float().numpy()
        if not weights[key.replace("lora_A", "lora_B")].any():
            continue
        if side == "B" and name in heads:
            values = _interleaved(values, heads[name])
        yield f"blk.{layer}.{name}.weight.lora_{side.lower()}", values


def _interleaved(values: NDArray[np.float32], n_heads: int) -> NDArray[np.float32]:
    """Reorder the rows of each head: llama.cpp rotates neighbours, transformers halves."""
    halves = values.reshape(n_heads, 2, -1, values.shape[1])
    return halves.swapaxes(1, 2).reshape(values.shape)


if __name__ == "__main__":
    main()

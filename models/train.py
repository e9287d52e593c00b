"""Train a LoRA adapter on the questions: ``python -m models.train``.

The base is the packaged SmolLM2-135M-Instruct, dequantised to bfloat16; the adapter is kept in
float32. Every 20 steps the training is saved, and continues from there when it is started again.
It uses a CUDA card if there is one, else two processes that share each batch: two threads take
more than twice as long.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as distributed
from peft import LoraConfig
from peft import PeftModel
from peft import get_peft_model
from torch import Tensor
from torch import multiprocessing
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM
from transformers import AutoTokenizer
from transformers import GgufConfig

from models import ADAPTER
from models import QUESTIONS
from optuna_metallmix.llm import EmbeddedLLM


BATCH, STEPS = 8, 200
N_EASY, MAX_EASY = 280, 3
"""The first questions, which have at most three candidates, numbered without gaps."""
N_HARDER = 640
"""Questions with any number of candidates, numbered without gaps."""
RANK, FROZEN = 8, 10
"""The rank, and the number of lowest layers that stay as they are."""
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
RATE, WARM_UP, FALLING = 1.4e-3, 6, 1 / 3
"""The learning rate, the steps in which it rises to it, and the last part in which it falls."""
CHOICE, CITED, SYNTAX = 3.0, 1.0, 0.2
"""Weights in the loss: the candidate's number, the numbers of the evidence, and all else."""
SAVED_EVERY = 20


@dataclass(frozen=True)
class Example:
    """A question as tokens: ``prompt`` and ``answer``, and the weight of each of the answer's."""

    prompt: list[int]
    answer: list[int]
    weights: list[float]

    @property
    def choice(self) -> int:
        """The place of the candidate's number in the answer."""
        return self.weights.index(CHOICE)


def main() -> None:
    """Train, and print the progress."""
    parser = argparse.ArgumentParser(prog="python -m models.train", description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS, help="default: %(default)s")
    steps = parser.parse_args().steps
    n_processes = 1 if torch.cuda.is_available() else 2
    with TemporaryDirectory() as folder:
        address = (Path(folder) / "address").as_uri()
        multiprocessing.spawn(_run, (n_processes, address, steps), nprocs=n_processes)  # type: ignore[attr-defined, no-untyped-call]


def _run(rank: int, n_processes: int, address: str, steps: int) -> None:
    """Train as one of the processes."""
    distributed.init_process_group("gloo", address, rank=rank, world_size=n_processes)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer, base = load_base()
    rows = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    examples = [encode(tokenizer, **row) for row in in_order(rows, steps * BATCH)]
    train(base.to(device), examples, ADAPTER, steps)


def load_base() -> tuple[Any, Any]:
    """Return the tokenizer and the model of the packaged file."""
    path = EmbeddedLLM(adapter=None).path
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    return tokenizer, model


def in_order(rows: Sequence[dict[str, Any]], n: int) -> list[dict[str, Any]]:
    """Return ``n`` questions to learn from: easy ones, harder ones, then any, again if necessary.

    With the others from the start, nothing was learned within 45 steps.
    """
    plain = [row for row in rows if _is_plain(row)]
    easy = [row for row in plain if row["candidates"] <= MAX_EASY][:N_EASY]
    harder = [row for row in plain if row not in easy][:N_HARDER]
    rest = [row for row in rows if row not in easy and row not in harder]
    rng = random.Random(0)
    ordered = easy + harder
    while len(ordered) < n:
        ordered = ordered + rng.sample(rest or easy, len(rest or easy))
    return ordered[:n]


def _is_plain(row: dict[str, Any]) -> bool:
    """Return whether the candidates are numbered without gaps."""
    numbers = re.findall(r"^(\d+)\. ", row["question"], re.MULTILINE)
    return numbers == [str(i) for i in range(1, len(numbers) + 1)]


def encode(tokenizer: Any, question: str, answer: str, candidates: int) -> Example:
    """Tokenize a question and its answer; what has to be read counts most."""
    message = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
    tokens = tokenizer(answer + tokenizer.eos_token)["input_ids"]
    weights = [CITED if tokenizer.decode([t]).strip().isdigit() else SYNTAX for t in tokens]
    weights[weights.index(CITED)] = CHOICE  # the answer begins with the candidate
    return Example(tokenizer(prompt)["input_ids"], tokens, weights)


def train(base: Any, examples: Sequence[Example], folder: Path, steps: int) -> list[float]:
    """Train an adapter, or continue; return the loss of each step.

    The first process prints and saves.

    Args:
        base: The model, of any number of layers above ``FROZEN``.
        examples: The questions in order, ``BATCH`` for each step.
        folder: Where the adapter and the state of the training are saved.
        steps: The number of steps.
    """
    model, optimizer, done = _resume(base, folder)
    losses, start = [], time.perf_counter()
    for step in range(done, steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * _share(step, steps)
        batch = examples[step * BATCH : (step + 1) * BATCH]
        loss, right = _step(model, optimizer, batch)
        losses.append(loss)
        if _share_of_work()[0] > 0:
            continue
        seconds = time.perf_counter() - start
        print(
            f"step {step + 1}/{steps} loss {loss:.3f} right {right:.2f} {seconds:.0f} s",
            flush=True,
        )
        if (step + 1) % SAVED_EVERY == 0 or step + 1 == steps:
            model.save_pretrained(folder)
            torch.save(
                {"optimizer": optimizer.state_dict(), "steps": step + 1}, folder / "state.pt"
            )
    return losses


def _resume(base: Any, folder: Path) -> tuple[Any, torch.optim.Optimizer, int]:
    """Return the adapted model, its optimizer, and the number of steps made."""
    state = folder / "state.pt"
    if state.is_file():
        model = PeftModel.from_pretrained(base, folder, is_trainable=True)
    else:
        layers = list(range(FROZEN, base.config.num_hidden_layers))
        config = LoraConfig(
            r=RANK,
            lora_alpha=2 * RANK,
            target_modules=list(LINEAR),
            layers_to_transform=layers,
            task_type="CAUSAL_LM",
        )
        model = get_peft_model(base, config)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    if not state.is_file():
        return model, optimizer, 0
    saved = torch.load(state)
    optimizer.load_state_dict(saved["optimizer"])
    return model, optimizer, saved["steps"]


def _step(
    model: Any, optimizer: torch.optim.Optimizer, batch: Sequence[Example]
) -> tuple[float, float]:
    """Make a step; return the mean loss before it, and the share of right candidates."""
    rank, n_processes = _share_of_work()
    sums = torch.zeros(2)
    for example in batch[rank::n_processes]:
        loss, is_right = _loss(model, example)
        torch.autograd.backward(loss / len(batch))
        sums += torch.tensor([loss.item(), is_right])
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if n_processes > 1:
        for tensor in (sums, *(parameter.grad for parameter in trained)):
            distributed.all_reduce(tensor)
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    total, right = (sums / len(batch)).tolist()
    return total, right


def _share_of_work() -> tuple[int, int]:
    """Return the number of this process, from 0, and the number of processes."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def _loss(model: Any, example: Example) -> tuple[Tensor, bool]:
    """Return the weighted loss of the answer, and whether its candidate is most likely."""
    n, device = len(example.answer), model.device
    tokens = torch.tensor([example.prompt + example.answer[:-1]], device=device)
    logits = model(input_ids=tokens, logits_to_keep=n, use_cache=False).logits[0].float()
    answer = torch.tensor(example.answer, device=device)
    weights = torch.tensor(example.weights, device=device)
    loss = (cross_entropy(logits, answer, reduction="none") * weights).sum() / weights.sum()
    return loss, bool(logits[example.choice].argmax() == answer[example.choice])


def _share(step: int, steps: int) -> float:
    """Return the share of the learning rate."""
    return min(1.0, (step + 1) / WARM_UP, (steps - step) / (FALLING * steps))


if __name__ == "__main__":
    main()

"""model + inputs + configuration -> its best epoch: one training run, epoch by epoch."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import optuna
import torch
from sklearn.metrics import accuracy_score
from sklearn.metrics import balanced_accuracy_score
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from image_data import ImageData
from image_sources import Integers
from timm_features import Network


Params = dict[str, Any]

COMPILED_FROM = 3_000
"""Steps on a GPU. `torch.compile` takes a minute or two of a trial, so short trials do without."""


class Training:
    """One configuration's training run, on inputs that are already features or still images.

    Args:
        model: What is trained, on the device; parameters that need no gradient stay as they are.
        inputs: Features [n, n_features] or images uint8 [n, 3, side, side], of all of the set.
        data: Labels and split.
        params: What `Space.suggest` returns.
        device: Where to train. On a GPU a network is trained in mixed precision.
        seed: Of the batches, the flips and the dropout.
        patience: Epochs without a better one, after which the run ends.
        compiled: Whether to use `torch.compile`; by default where it pays, see `COMPILED_FROM`.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        data: ImageData,
        params: Params,
        device: torch.device,
        seed: int,
        *,
        patience: int = 5,
        compiled: bool | None = None,
    ) -> None:
        self.model, self.data, self.params, self.device = model, data, params, device
        self.patience = patience
        # Images stay where they are: a large set would fill a card, a batch is soon there.
        self.inputs = inputs.to(device) if params["trained"] == "head" else inputs
        self.labels = torch.from_numpy(data.labels).to(device)
        self.class_weights = class_weights(data).to(device) if self._balanced() else None
        self.optimizer = build_optimizer(params, model)
        self.precision = mixed_precision(params, device)
        self.scaler = torch.amp.GradScaler(
            device.type, enabled=self.precision is torch.float16 and device.type == "cuda"
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.best_weights: dict[str, Tensor] = {}
        if compiled or (compiled is None and self._is_compiling_worth_it()):
            compile_network(model, must=bool(compiled))

    def fit(self, trial: optuna.Trial) -> float:
        """Train and report every epoch; return the best epoch's balanced accuracy, and go to it.

        Raises:
            optuna.TrialPruned: The study's pruner gives the trial up.
        """
        start = time.perf_counter()
        best, best_epoch, epochs = -math.inf, 0, self.params["epochs"]
        for epoch in tqdm(range(epochs), leave=False, disable=None):
            self._train_epoch(epoch)
            value = self.score(self.data.validation)
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
            if value > best:
                best, best_epoch = value, epoch
                self.best_weights = copy.deepcopy(self.model.state_dict())
            if epoch - best_epoch >= self.patience:
                break
        self.model.load_state_dict(self.best_weights)
        trial.set_user_attr("seconds", round(time.perf_counter() - start, 3))
        return best

    def test(self) -> dict[str, float]:
        """Return what the best epoch is worth on the test images, each from 0 to 1."""
        labels, logits = self.data.labels[self.data.test], self._logits(self.data.test)
        predicted = logits.argmax(1).numpy()
        found = {
            "test_accuracy": accuracy_score(labels, predicted),
            "test_balanced_accuracy": self.score(self.data.test),
            "test_macro_auc": macro_auc(labels, logits.softmax(1).numpy()),
        }
        return {name: round(float(value), 6) for name, value in found.items()}

    def checkpoint(self) -> dict[str, Any]:
        """Return what `timm_checkpoint.load_classifier` makes the best epoch's classifier of."""
        return {
            "params": self.params,
            "class_names": list(self.data.class_names),
            "weights": {name: weight.cpu() for name, weight in self.best_weights.items()},
        }

    def score(self, indices: Integers) -> float:
        """Balanced accuracy; a run that diverged to NaN is at chance, which is what it earned."""
        predicted = self._logits(indices).argmax(1).numpy()
        return round(float(balanced_accuracy_score(self.data.labels[indices], predicted)), 6)

    def _train_epoch(self, epoch: int = 0) -> None:
        self.model.train()
        rate = 1.0
        if self.params["schedule"] == "cosine":
            rate = (1 + math.cos(math.pi * epoch / self.params["epochs"])) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["initial_lr"]
        for batch in self._batches():
            self._step(batch)

    def _batches(self) -> Iterator[Tensor]:
        train = torch.from_numpy(self.data.train)
        shuffled = train[torch.randperm(len(train), generator=self.generator)]
        for batch in torch.split(shuffled, self.params["batch_size"]):
            if len(batch) > 1:  # batch normalisation cannot be trained on a single image
                yield batch

    def _step(self, batch: Tensor) -> None:
        inputs = self._inputs_of(batch)
        if self.params.get("augment") == "flip":
            flipped = torch.rand(len(batch), generator=self.generator) < 0.5
            inputs = torch.where(
                flipped.to(self.device)[:, None, None, None], inputs.flip(3), inputs
            )
        with self._mixed_precision():
            loss = functional.cross_entropy(
                self.model(inputs),
                self.labels[batch.to(self.device)],
                weight=self.class_weights,
                label_smoothing=self.params["label_smoothing"],
            )
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()

    @torch.inference_mode()
    def _logits(self, indices: Integers) -> Tensor:
        """Float [n, n_classes] on the processor."""
        self.model.eval()
        # What fits in training fits here; a processor has memory enough.
        size = 256 if self.device.type == "cpu" else self.params["batch_size"]
        batches = torch.split(torch.from_numpy(indices), size)
        with self._mixed_precision():
            parts = [self.model(self._inputs_of(batch)).float().cpu() for batch in batches]
        return torch.cat(parts)

    def _inputs_of(self, rows: Tensor) -> Tensor:
        return self.inputs[rows.to(self.inputs.device)].to(self.device)

    def _mixed_precision(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, dtype=self.precision, enabled=self.precision is not None
        )

    def _balanced(self) -> bool:
        return bool(self.params["class_weight"] == "balanced")

    def _is_compiling_worth_it(self) -> bool:
        per_epoch = math.ceil(len(self.data.train) / self.params["batch_size"])
        is_long = per_epoch * self.params["epochs"] >= COMPILED_FROM
        return is_long and self.device.type == "cuda" and self.params["trained"] != "head"


def mixed_precision(params: Params, device: torch.device) -> torch.dtype | None:
    """Networks on a GPU in bfloat16 where it has that, else float16. Heads and CPUs gain nothing.

    (On an AVX-512 processor small networks trained 1.1 to 2 times slower in bfloat16, 2026-11.)
    """
    if device.type != "cuda" or params["trained"] == "head":
        return None
    with torch.cuda.device(device):  # older cards emulate bfloat16, slowly
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bfloat16 else torch.float16


def compile_network(model: nn.Module, *, must: bool) -> None:
    """Have torch compile it at its first batch.

    Each trial begins anew: torch counts what it compiled in a process and gives up after eight.
    Where nobody asked for it, a machine without a compiler trains without.
    """
    torch.compiler.reset()
    torch._dynamo.config.suppress_errors = not must
    model.compile()


def class_weights(data: ImageData) -> Tensor:
    """Weigh classes inversely to their training images, 1 on average: float [n_classes]."""
    counts = np.bincount(data.labels[data.train], minlength=len(data.class_names))
    return torch.from_numpy(counts.sum() / (len(counts) * counts)).float()


def macro_auc(labels: Integers, probabilities: np.ndarray[Any, np.dtype[np.float32]]) -> float:
    """Mean over the classes of the area under one-against-the-rest's ROC curve; .5 is chance."""
    if not np.isfinite(probabilities).all():
        return 0.5
    areas = [
        roc_auc_score(labels == label, probabilities[:, label])
        for label in range(probabilities.shape[1])
        if 0 < (labels == label).sum() < len(labels)
    ]
    return float(np.mean(areas)) if areas else 0.5


def build_optimizer(params: Params, model: nn.Module) -> torch.optim.Optimizer:
    """A pretrained network learns at `backbone_lr_factor` of the new head's rate."""
    networks = [one for one in model.modules() if isinstance(one, Network)]
    slow = {id(p) for network in networks for p in network.parameters()}
    rate = params["learning_rate"]
    groups = [
        {"params": [p for p in model.parameters() if (id(p) in slow) == own], "initial_lr": lr}
        for own, lr in ((False, rate), (True, rate * params.get("backbone_lr_factor", 1.0)))
    ]
    groups = [{**group, "lr": group["initial_lr"]} for group in groups if group["params"]]
    decay = params["weight_decay"]
    if params["optimizer"] == "sgd":
        return torch.optim.SGD(groups, momentum=params["momentum"], weight_decay=decay)
    return torch.optim.AdamW(groups, weight_decay=decay)

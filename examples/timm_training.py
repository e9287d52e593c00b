"""Train a configuration and keep its best epoch."""

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
"""Training steps on a GPU from which `torch.compile`, which takes a minute or two, saves time."""


class Training:
    """Training of a head on features, or of a network on images.

    Args:
        model: Model on the device; parameters without gradient stay unchanged.
        inputs: Features [n, n_features] or images uint8 [n, 3, side, side] of the whole set.
        data: Labels and split.
        params: Configuration from `Space.suggest`.
        device: Device to train on. Networks on a GPU are trained in mixed precision.
        seed: Seed of batches, flips and dropout.
        patience: Training stops after this many epochs without improvement.
        compiled: Whether to use `torch.compile`; None to decide by `COMPILED_FROM`.
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
        # Images stay in main memory, because a large set does not fit on a GPU.
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
        """Train, report every epoch, restore the best and return its balanced accuracy.

        Raises:
            optuna.TrialPruned: The study's pruner stops the trial.
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
        """Return the best epoch's scores on the test images, each in [0, 1]."""
        labels, logits = self.data.labels[self.data.test], self._logits(self.data.test)
        predicted = logits.argmax(1).numpy()
        scores = {
            "test_accuracy": accuracy_score(labels, predicted),
            "test_balanced_accuracy": self.score(self.data.test),
            "test_macro_auc": macro_auc(labels, logits.softmax(1).numpy()),
        }
        return {name: round(float(value), 6) for name, value in scores.items()}

    def checkpoint(self) -> dict[str, Any]:
        """Return the best epoch's classifier for `timm_checkpoint.load_classifier`."""
        return {
            "params": self.params,
            "class_names": list(self.data.class_names),
            "weights": {name: weight.cpu() for name, weight in self.best_weights.items()},
        }

    def score(self, indices: Integers) -> float:
        """Return the balanced accuracy, which is at chance level after divergence to NaN."""
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
            if len(batch) > 1:  # batch normalization needs two images
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
        """Return logits [n, n_classes] on the CPU."""
        self.model.eval()
        # On a GPU, a batch that fits in training also fits here.
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
    """Return bfloat16 for networks on GPUs that have it, float16 on other GPUs, else None.

    Heads gain nothing. On an AVX-512 CPU, small networks trained 1.1 to 2 times slower in bfloat16
    (measured 2026-11).
    """
    if device.type != "cuda" or params["trained"] == "head":
        return None
    with torch.cuda.device(device):  # older cards emulate bfloat16, slowly
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bfloat16 else torch.float16


def compile_network(model: nn.Module, *, must: bool) -> None:
    """Make torch compile the model at its first batch.

    The reset is needed because torch stops compiling after eight graphs in a process. Unless
    ``must`` is true, a machine without a compiler trains uncompiled.
    """
    torch.compiler.reset()
    torch._dynamo.config.suppress_errors = not must
    model.compile()


def class_weights(data: ImageData) -> Tensor:
    """Return inverse class frequencies of the training images: float [n_classes]."""
    counts = np.bincount(data.labels[data.train], minlength=len(data.class_names))
    return torch.from_numpy(counts.sum() / (len(counts) * counts)).float()


def macro_auc(labels: Integers, probabilities: np.ndarray[Any, np.dtype[np.float32]]) -> float:
    """Return the mean one-vs-rest area under the ROC curve; 0.5 is chance level."""
    if not np.isfinite(probabilities).all():
        return 0.5
    areas = [
        roc_auc_score(labels == label, probabilities[:, label])
        for label in range(probabilities.shape[1])
        if 0 < (labels == label).sum() < len(labels)
    ]
    return float(np.mean(areas)) if areas else 0.5


def build_optimizer(params: Params, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer; a network learns at `backbone_lr_factor` times the head's rate."""
    networks = [module for module in model.modules() if isinstance(module, Network)]
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

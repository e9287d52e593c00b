"""model + inputs + configuration -> balanced accuracy: one training run, epoch by epoch."""

from __future__ import annotations

import time
from typing import Any

import optuna
import torch
from image_data import ImageData
from image_data import Integers
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor
from torch import nn
from torch.nn import functional
from tqdm import tqdm


Params = dict[str, Any]


class Training:
    """One configuration's training run, on inputs that are already features or still images."""

    def __init__(
        self,
        model: nn.Module,
        inputs: Tensor,
        data: ImageData,
        params: Params,
        device: torch.device,
        seed: int,
    ) -> None:
        self.model, self.data, self.params, self.device = model, data, params, device
        self.inputs = inputs.to(device)
        self.labels = torch.from_numpy(data.labels).to(device)
        self.optimizer = build_optimizer(params, model)
        self.scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
        self.shuffle = torch.Generator().manual_seed(seed)

    def fit(self, trial: optuna.Trial) -> float:
        """Train, reporting every epoch; return the last epoch's validation score."""
        start = time.perf_counter()
        value = 0.0
        for epoch in tqdm(range(self.params["epochs"]), leave=False, disable=None):
            self._train_epoch()
            value = self.score(self.data.validation)
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        trial.set_user_attr("seconds", round(time.perf_counter() - start, 3))
        trial.set_user_attr("test_balanced_accuracy", self.score(self.data.test))
        return value

    def _train_epoch(self) -> None:
        self.model.train()
        train = torch.from_numpy(self.data.train)
        shuffled = train[torch.randperm(len(train), generator=self.shuffle)].to(self.device)
        for batch in torch.split(shuffled, self.params["batch_size"]):
            if len(batch) > 1:  # batch normalisation cannot be trained on a single image
                self._step(batch)

    def _step(self, batch: Tensor) -> None:
        with self._mixed_precision():
            loss = functional.cross_entropy(
                self.model(self.inputs[batch]),
                self.labels[batch],
                label_smoothing=self.params["label_smoothing"],
            )
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()

    @torch.inference_mode()
    def score(self, indices: Integers) -> float:
        """Balanced accuracy; a run that diverged to NaN is at chance, which is what it earned."""
        self.model.eval()
        with self._mixed_precision():
            rows = torch.from_numpy(indices).to(self.device)
            predicted = torch.cat(
                [self.model(self.inputs[b]).argmax(1) for b in torch.split(rows, 256)]
            )
        value = balanced_accuracy_score(self.data.labels[indices], predicted.cpu().numpy())
        return round(float(value), 6)

    def _mixed_precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, enabled=self.scaler.is_enabled())


def build_optimizer(params: Params, model: nn.Module) -> torch.optim.Optimizer:
    rates = {"lr": params["learning_rate"], "weight_decay": params["weight_decay"]}
    if params["optimizer"] == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=params["momentum"], **rates)
    return torch.optim.AdamW(model.parameters(), **rates)

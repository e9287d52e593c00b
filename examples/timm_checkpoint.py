"""a trained configuration <-> a file that stands for itself: weights, classes, how to use them.

    network, class_names = load_classifier("checkpoint.pt")
    network(images).argmax(1)  # images: uint8 [n, 3, height, width]

Images of any size are resized as in the training.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import optuna
import torch
from optuna.artifacts import upload_artifact
from torch import Tensor
from torch import nn
from torch.nn import functional

from timm_features import Network


if TYPE_CHECKING:
    from optuna.artifacts._protocol import ArtifactStore


Params = dict[str, Any]


class Classifier(nn.Module):
    """Images of any size -> logits [n, n_classes]."""

    def __init__(self, network: Network, head: nn.Module, side: int) -> None:
        super().__init__()
        self.network, self.head, self.side = network, head, side

    def forward(self, images: Tensor) -> Tensor:
        """Resize as in the training, and classify."""
        resized = functional.interpolate(
            images.float(), (self.side, self.side), mode="bilinear", antialias=True
        )
        logits: Tensor = self.head(self.network(resized.round().to(torch.uint8)))
        return logits


def build_head(params: Params, n_features: int, n_classes: int) -> nn.Module:
    """A linear layer, or one with a hidden layer before it."""
    dropout = nn.Dropout(params["dropout"])
    if params["head"] == "linear":
        return nn.Sequential(dropout, nn.Linear(n_features, n_classes))
    hidden = params["hidden_units"]
    return nn.Sequential(
        nn.Linear(n_features, hidden), nn.ReLU(), dropout, nn.Linear(hidden, n_classes)
    )


def load_classifier(path: str | Path) -> tuple[Classifier, tuple[str, ...]]:
    """Read a checkpoint: the classifier, ready to use on the processor, and its classes' names."""
    kept = torch.load(path, map_location="cpu", weights_only=True)
    params: Params = kept["params"]
    frozen = params["trained"] == "head"  # then the weights are the pretrained ones
    network = Network(
        params["network"], params["pooling"], side=params["image_size"], pretrained=frozen
    )
    head = build_head(params, network.n_features, len(kept["class_names"]))
    (head if frozen else nn.Sequential(network, head)).load_state_dict(kept["weights"])
    return Classifier(network, head, params["image_size"]).eval(), tuple(kept["class_names"])


def keep_if_best(
    trial: optuna.Trial, value: float, store: ArtifactStore, checkpoint: dict[str, Any]
) -> None:
    """Upload the trial's weights as its artifact if no trial of the study was as good before."""
    done = trial.study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    if any(one.value is not None and one.value >= value for one in done):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        torch.save(checkpoint | {"value": value}, path)
        upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=trial)

"""Save and load trained classifiers, each in a single file.

    network, class_names = load_classifier("checkpoint.pt")
    network(images).argmax(1)  # images: uint8 [n, 3, height, width]

Images of any size are resized as in training.
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
    """A network and its head; maps images of any size to logits [n, n_classes]."""

    def __init__(self, network: Network, head: nn.Module, side: int) -> None:
        super().__init__()
        self.network, self.head, self.side = network, head, side

    def forward(self, images: Tensor) -> Tensor:
        """Resize as in training, and classify."""
        resized = functional.interpolate(
            images.float(), (self.side, self.side), mode="bilinear", antialias=True
        )
        logits: Tensor = self.head(self.network(resized.round().to(torch.uint8)))
        return logits


def build_head(params: Params, n_features: int, n_classes: int) -> nn.Module:
    """Build a linear layer, or a hidden layer followed by a linear layer."""
    dropout = nn.Dropout(params["dropout"])
    if params["head"] == "linear":
        return nn.Sequential(dropout, nn.Linear(n_features, n_classes))
    hidden = params["hidden_units"]
    return nn.Sequential(
        nn.Linear(n_features, hidden), nn.ReLU(), dropout, nn.Linear(hidden, n_classes)
    )


def load_classifier(path: str | Path) -> tuple[Classifier, tuple[str, ...]]:
    """Load a classifier for use on the CPU, and the names of its classes."""
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    params: Params = checkpoint["params"]
    frozen = params["trained"] == "head"  # the network then has its pretrained weights
    network = Network(
        params["network"], params["pooling"], side=params["image_size"], pretrained=frozen
    )
    head = build_head(params, network.n_features, len(checkpoint["class_names"]))
    (head if frozen else nn.Sequential(network, head)).load_state_dict(checkpoint["weights"])
    return Classifier(network, head, params["image_size"]).eval(), tuple(checkpoint["class_names"])


def keep_if_best(
    trial: optuna.Trial, value: float, store: ArtifactStore, checkpoint: dict[str, Any]
) -> None:
    """Upload the trial's weights as its artifact if it is the best trial so far."""
    done = trial.study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    if any(other.value is not None and other.value >= value for other in done):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pt"
        torch.save(checkpoint | {"value": value}, path)
        upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=trial)

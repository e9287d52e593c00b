"""Make up a small past, so that a model can be asked what a first trial would ask it."""

from __future__ import annotations

import math

import numpy as np
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution

from optuna_metallmix.history import History
from optuna_metallmix.history import MetaFeatures
from optuna_metallmix.history import PastStudy
from optuna_metallmix.history import PastTrial
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace


EXAMPLE_SPACE: SearchSpace = {
    "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
    "weight_decay": FloatDistribution(1e-6, 1e-2, log=True),
    "optimizer": CategoricalDistribution(["sgd", "adam", "adamw"]),
    "batch_size": CategoricalDistribution([16, 32, 64, 128]),
    "dropout": FloatDistribution(0.0, 0.6),
    "n_frozen_layers": IntDistribution(0, 8),
}
EXAMPLE_FEATURES: MetaFeatures = {"n_instances": 1_500, "modality": "dermoscopy"}

_TASKS: dict[str, MetaFeatures] = {
    "skin": {"n_instances": 2_000, "modality": "dermoscopy"},
    "chest": {"n_instances": 5_000, "modality": "CT"},
    "retina": {"n_instances": 900, "modality": "fundus"},
    "blood": {"n_instances": 12_000, "modality": "microscopy"},
}
_N_TRIALS = 20


def example_history() -> History:
    """Return four past studies of 20 trials, always the same."""
    rng = np.random.default_rng(0)
    return History(tuple(_study(name, features, rng) for name, features in _TASKS.items()))


def _study(name: str, features: MetaFeatures, rng: np.random.Generator) -> PastStudy:
    configs = [_random_config(rng) for _ in range(_N_TRIALS)]
    configs.sort(key=_accuracy, reverse=True)
    ranks = np.linspace(1.0, 0.0, _N_TRIALS).tolist()
    trials = tuple(
        PastTrial(config, rank, _accuracy(config), seconds=None)
        for config, rank in zip(configs, ranks, strict=True)
    )
    return PastStudy(name, EXAMPLE_SPACE, trials, features)


def _random_config(rng: np.random.Generator) -> Config:
    return {
        "learning_rate": float(10 ** rng.uniform(-5, -1)),
        "weight_decay": float(10 ** rng.uniform(-6, -2)),
        "optimizer": str(rng.choice(["sgd", "adam", "adamw"])),
        "batch_size": int(rng.choice([16, 32, 64, 128])),
        "dropout": float(rng.uniform(0.0, 0.6)),
        "n_frozen_layers": int(rng.integers(0, 9)),
    }


def _accuracy(config: Config) -> float:
    """Score a configuration: best with AdamW, a learning rate of 1e-3 and half of the layers."""
    accuracy = 0.9 - 0.1 * abs(math.log10(config["learning_rate"]) + 3)
    accuracy -= {"sgd": 0.08, "adam": 0.03, "adamw": 0.0}[config["optimizer"]]
    accuracy -= 0.1 * abs(config["dropout"] - 0.2) + 0.01 * abs(config["n_frozen_layers"] - 4)
    return float(accuracy)

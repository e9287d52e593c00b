"""OptunaHub's package: the sampler of `optuna-metallmix`, and no logic."""

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import image_meta_features


__all__ = ["MetaLLMiXSampler", "image_meta_features"]

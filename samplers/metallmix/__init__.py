"""The sampler of the package ``optuna-metallmix``, for OptunaHub."""

import optuna_metallmix


MetaLLMiXSampler = optuna_metallmix.MetaLLMiXSampler
image_meta_features = optuna_metallmix.image_meta_features

__all__ = ["MetaLLMiXSampler", "image_meta_features"]

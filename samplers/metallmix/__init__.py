"""The sampler of the package ``optuna-metallmix``, for OptunaHub."""

try:
    import optuna_metallmix
except ImportError as error:
    raise ImportError(
        f"samplers/metallmix needs the package optuna-metallmix ({error}). Run: pip install "
        '"optuna-metallmix[dashboard] @ git+https://github.com/optuna-metallmix/optuna-metallmix"'
    ) from error


MetaLLMiXSampler = optuna_metallmix.MetaLLMiXSampler
image_meta_features = optuna_metallmix.image_meta_features

__all__ = ["MetaLLMiXSampler", "image_meta_features"]

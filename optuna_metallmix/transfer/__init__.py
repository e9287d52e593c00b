"""Sample the trials after the first by transfer from past studies."""

from optuna_metallmix.transfer.per_study_sampler import PerStudySampler
from optuna_metallmix.transfer.sampler import TransferSampler


__all__ = [
    "PerStudySampler",
    "TransferSampler",
]

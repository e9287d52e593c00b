"""Trials after the first: a Gaussian process around what the past expects."""

from optuna_metallmix.transfer.sampler import TransferSampler


__all__ = [
    "TransferSampler",
]

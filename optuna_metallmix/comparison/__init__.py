"""Comparison of finished studies: best value after n trials, and trials saved."""

from optuna_metallmix.comparison.comparison import Comparison
from optuna_metallmix.comparison.comparison import compare


__all__ = ["Comparison", "compare"]

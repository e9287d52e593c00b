"""Candidates: valid, diverse configurations that the past expects to do well."""

from optuna_metallmix.candidates.pool import PAST_BEST
from optuna_metallmix.candidates.pool import RANDOM
from optuna_metallmix.candidates.pool import build_pool
from optuna_metallmix.candidates.selection import Candidate
from optuna_metallmix.candidates.selection import CostTradeoff
from optuna_metallmix.candidates.selection import best_predicted
from optuna_metallmix.candidates.selection import cost_tradeoff
from optuna_metallmix.candidates.selection import diverse
from optuna_metallmix.candidates.selection import propose_candidates
from optuna_metallmix.candidates.selection import spread_candidates


__all__ = [
    "PAST_BEST",
    "RANDOM",
    "Candidate",
    "CostTradeoff",
    "best_predicted",
    "build_pool",
    "cost_tradeoff",
    "diverse",
    "propose_candidates",
    "spread_candidates",
]

"""Candidates: valid, diverse configurations with good predicted scores."""

from optuna_metallmix.candidates.pool import PAST_BEST
from optuna_metallmix.candidates.pool import PROPOSAL_ATTR
from optuna_metallmix.candidates.pool import RANDOM
from optuna_metallmix.candidates.pool import build_pool
from optuna_metallmix.candidates.pool import fit_into
from optuna_metallmix.candidates.pool import known_choices
from optuna_metallmix.candidates.pool import unfinished_config
from optuna_metallmix.candidates.selection import Candidate
from optuna_metallmix.candidates.selection import CostTradeoff
from optuna_metallmix.candidates.selection import best_predicted
from optuna_metallmix.candidates.selection import candidates_without_history
from optuna_metallmix.candidates.selection import cost_tradeoff
from optuna_metallmix.candidates.selection import propose_candidates
from optuna_metallmix.candidates.selection import select_diverse


__all__ = [
    "PAST_BEST",
    "PROPOSAL_ATTR",
    "RANDOM",
    "Candidate",
    "CostTradeoff",
    "best_predicted",
    "build_pool",
    "candidates_without_history",
    "cost_tradeoff",
    "fit_into",
    "known_choices",
    "propose_candidates",
    "select_diverse",
    "unfinished_config",
]

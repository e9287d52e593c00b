"""Predict scores and training costs of configurations from past studies, with CatBoost."""

from optuna_metallmix.metalearner.dataset import FULL_WEIGHT
from optuna_metallmix.metalearner.dataset import NO_PAST
from optuna_metallmix.metalearner.dataset import MetaDataset
from optuna_metallmix.metalearner.dataset import build_meta_dataset
from optuna_metallmix.metalearner.dataset import evenly_spaced
from optuna_metallmix.metalearner.dataset import limit_studies
from optuna_metallmix.metalearner.dataset import max_trials
from optuna_metallmix.metalearner.dataset import to_frame
from optuna_metallmix.metalearner.ensemble import Floats
from optuna_metallmix.metalearner.ensemble import Trees
from optuna_metallmix.metalearner.ensemble import fit_regressor
from optuna_metallmix.metalearner.meta_learner import MAX_COLUMNS
from optuna_metallmix.metalearner.meta_learner import MIN_TRUST
from optuna_metallmix.metalearner.meta_learner import MetaLearner
from optuna_metallmix.metalearner.meta_learner import Prediction
from optuna_metallmix.metalearner.meta_learner import fit_meta_learner
from optuna_metallmix.metalearner.training_cost import CostModel
from optuna_metallmix.metalearner.training_cost import cheapest_equal
from optuna_metallmix.metalearner.training_cost import fit_cost_model


__all__ = [
    "FULL_WEIGHT",
    "MAX_COLUMNS",
    "MIN_TRUST",
    "NO_PAST",
    "CostModel",
    "Floats",
    "MetaDataset",
    "MetaLearner",
    "Prediction",
    "Trees",
    "build_meta_dataset",
    "cheapest_equal",
    "evenly_spaced",
    "fit_cost_model",
    "fit_meta_learner",
    "fit_regressor",
    "limit_studies",
    "max_trials",
    "to_frame",
]

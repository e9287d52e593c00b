"""Tune LightGBM in a first study, whose past comes with the package.

    pip install lightgbm scikit-learn
    python examples/no_past_lightgbm.py

The storage is empty. The first trial is suggested from 65 studies of LightGBM on other data sets,
which the package brings along. They have `reg_alpha` and `subsample`, the objective asks for
`lambda_l1` and `bagging_fraction`: LightGBM's other names are known. Takes less than a minute,
and writes `hpo.db`; look at it with `optuna-dashboard sqlite:///hpo.db`.
"""

from __future__ import annotations

from typing import Any

import optuna
from lightgbm import LGBMClassifier
from sklearn.datasets import load_wine
from sklearn.model_selection import StratifiedKFold
from sklearn.model_selection import cross_val_score

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import tabular_meta_features


X, y = load_wine(return_X_y=True, as_frame=True)  # not among the 65 data sets


def log_loss(**params: Any) -> float:
    """Return the cross-validated log loss of LightGBM with some parameters."""
    model = LGBMClassifier(**params, n_jobs=1, verbosity=-1)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    return -float(cross_val_score(model, X, y, cv=folds, scoring="neg_log_loss").mean())


def objective(trial: optuna.Trial) -> float:
    """Return the log loss, to be minimized."""
    return log_loss(
        lambda_l1=trial.suggest_float("lambda_l1", 1e-8, 10.0, log=True),
        lambda_l2=trial.suggest_float("lambda_l2", 1e-8, 10.0, log=True),
        num_leaves=trial.suggest_int("num_leaves", 2, 256),
        feature_fraction=trial.suggest_float("feature_fraction", 0.4, 1.0),
        bagging_fraction=trial.suggest_float("bagging_fraction", 0.4, 1.0),
        bagging_freq=trial.suggest_int("bagging_freq", 1, 7),
        min_child_samples=trial.suggest_int("min_child_samples", 5, 100),
    )


def main() -> None:
    """Run ten trials, and print the first and the best beside LightGBM's defaults."""
    sampler = MetaLLMiXSampler(
        source_storage="shipped:lightgbm", meta_features=tabular_meta_features(X, y)
    )
    study = optuna.create_study(study_name="wine", storage="sqlite:///hpo.db", sampler=sampler)
    study.optimize(objective, n_trials=10)
    first, default = study.trials[0], log_loss()
    print(f"log loss: default {default:.3f}, first {first.value:.3f}, best {study.best_value:.3f}")
    print(f"first trial: {first.user_attrs['metallmix:why']}")


if __name__ == "__main__":
    main()

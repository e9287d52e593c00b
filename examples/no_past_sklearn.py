"""Tune a pipeline of scikit-learn in a first study, whose past comes with the package.

    pip install scikit-learn
    python examples/no_past_sklearn.py

The storage is empty. The first trial is suggested from studies of support vector machines on
other data sets, which the package brings along. They have `C` and `gamma`, the objective asks for
`svc__C` and `svc__gamma`: the prefixes of pipelines are known. Takes less than a minute, and
writes `hpo.db`; look at it with `optuna-dashboard sqlite:///hpo.db`.
"""

from __future__ import annotations

from typing import Any

import optuna
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import tabular_meta_features


X, y = load_digits(return_X_y=True)  # not among the recorded data sets


def accuracy(**params: Any) -> float:
    """Return the cross-validated accuracy of a pipeline with some parameters."""
    pipeline = make_pipeline(StandardScaler(), SVC()).set_params(**params)
    return float(cross_val_score(pipeline, X, y, cv=3).mean())


def objective(trial: optuna.Trial) -> float:
    """Return the accuracy, to be maximized."""
    params: dict[str, Any] = {
        "svc__C": trial.suggest_float("svc__C", 1e-3, 1e3, log=True),
        "svc__kernel": trial.suggest_categorical("svc__kernel", ["rbf", "poly", "sigmoid"]),
        "svc__gamma": trial.suggest_float("svc__gamma", 1e-5, 10.0, log=True),
    }
    if params["svc__kernel"] == "poly":
        params["svc__degree"] = trial.suggest_int("svc__degree", 2, 5)
    if params["svc__kernel"] != "rbf":
        params["svc__coef0"] = trial.suggest_float("svc__coef0", 0.0, 1.0)
    return accuracy(**params)


def main() -> None:
    """Run ten trials, and print the first and the best beside scikit-learn's defaults."""
    sampler = MetaLLMiXSampler(
        source_storage="shipped:svm", meta_features=tabular_meta_features(X, y)
    )
    study = optuna.create_study(
        study_name="digits", storage="sqlite:///hpo.db", direction="maximize", sampler=sampler
    )
    study.optimize(objective, n_trials=10)
    first, default = study.trials[0], accuracy()
    print(f"accuracy: default {default:.3f}, first {first.value:.3f}, best {study.best_value:.3f}")
    print(f"first trial: {first.user_attrs['metallmix:why']}")


if __name__ == "__main__":
    main()

"""Define the search spaces of the tabular studies, and build their models.

Parameters have the names and, where there are any, the conditions of the library's own
scikit-learn interface. Ranges are those that its documentation and common examples use; upper
bounds of `n_estimators`, `iterations` and `max_iter` keep a trial within seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from typing import Literal

import numpy as np
import optuna
import pandas as pd

from tabular_sets import CLASSIFICATION
from tabular_sets import COMMON
from tabular_sets import SEED
from tabular_sets import SETS
from tabular_sets import TabularSet
from tabular_sets import Task


Params = dict[str, Any]
Form = Literal["category", "text", "one-hot", "scaled"]
MAX_SVM_ITERATIONS = 100_000  # a linear kernel with a large C may need hours


@dataclass(frozen=True)
class Library:
    """A library's models and their search space.

    Attributes:
        name: Name of its file of studies.
        packages: Packages whose versions are recorded.
        form: How columns are encoded, see `encode`.
        suggest: Suggests the parameters of a trial.
        build: Builds a model of a task from parameters; no parameters: the library's default.
        sets: Data sets that it is recorded on.
        max_rows: Rows of a data set that are drawn.
    """

    name: str
    packages: tuple[str, ...]
    form: Form
    suggest: Callable[[optuna.Trial, Task], Params]
    build: Callable[[Params, Task], Any]
    sets: tuple[TabularSet, ...] = COMMON
    max_rows: int = 1_000


def encode(train: pd.DataFrame, test: pd.DataFrame, form: Form) -> tuple[Any, Any]:
    """Encode the columns for a library, fitted on the training rows.

    Args:
        train: Columns of type float64 or category, shape (n_train, n_features).
        test: The same columns, shape (n_test, n_features).
        form: "category" leaves them as they are; "text" makes categories text, with "missing" as
            a category; "one-hot" makes categories columns of 0 and 1, and leaves NaN in numbers;
            "scaled" also imputes the median and scales each column to mean 0 and deviation 1.
    """
    if form == "category":
        return train, test
    categorical = [str(name) for name in train if train[name].dtype == "category"]
    if form == "text":
        return _texts(train, categorical), _texts(test, categorical)
    encoder = _encoder(categorical, scaled=form == "scaled")
    return encoder.fit_transform(train), encoder.transform(test)


def _texts(frame: pd.DataFrame, categorical: list[str]) -> pd.DataFrame:
    text = {name: frame[name].astype(object).fillna("missing") for name in categorical}
    return frame.assign(**text)


def _encoder(categorical: list[str], scaled: bool) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder
    from sklearn.preprocessing import StandardScaler

    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    numbers = SimpleImputer(strategy="median") if scaled else "passthrough"
    columns = make_column_transformer((one_hot, categorical), remainder=numbers)
    return make_pipeline(columns, StandardScaler()) if scaled else columns


def _lightgbm_space(trial: optuna.Trial, task: Task) -> Params:
    params: Params = {
        "n_estimators": trial.suggest_int("n_estimators", 50, 500, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 0.005, 0.3, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 4, 128, log=True),
        "max_depth": trial.suggest_int("max_depth", 3, 12),
        "min_child_samples": trial.suggest_int("min_child_samples", 1, 100, log=True),
        "min_split_gain": trial.suggest_float("min_split_gain", 1e-8, 1.0, log=True),
        "subsample_freq": trial.suggest_int("subsample_freq", 0, 7),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 1.0),
        "reg_alpha": trial.suggest_float("reg_alpha", 1e-8, 10.0, log=True),
        "reg_lambda": trial.suggest_float("reg_lambda", 1e-8, 10.0, log=True),
    }
    if params["subsample_freq"] > 0:
        params["subsample"] = trial.suggest_float("subsample", 0.4, 1.0)
    return params


def _lightgbm(params: Params, task: Task) -> Any:
    from lightgbm import LGBMClassifier
    from lightgbm import LGBMRegressor

    model = LGBMClassifier if task == "classification" else LGBMRegressor
    return model(n_jobs=1, verbosity=-1, random_state=SEED, **params)


def _xgboost_space(trial: optuna.Trial, task: Task) -> Params:
    params: Params = {
        "n_estimators": trial.suggest_int("n_estimators", 50, 300, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
        "grow_policy": trial.suggest_categorical("grow_policy", ["depthwise", "lossguide"]),
        "max_depth": trial.suggest_int("max_depth", 2, 10),
        "min_child_weight": trial.suggest_float("min_child_weight", 0.1, 50.0, log=True),
        "subsample": trial.suggest_float("subsample", 0.4, 1.0),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 1.0),
        "colsample_bylevel": trial.suggest_float("colsample_bylevel", 0.3, 1.0),
        "gamma": trial.suggest_float("gamma", 1e-8, 10.0, log=True),
        "reg_alpha": trial.suggest_float("reg_alpha", 1e-8, 10.0, log=True),
        "reg_lambda": trial.suggest_float("reg_lambda", 1e-8, 10.0, log=True),
    }
    if params["grow_policy"] == "lossguide":
        params["max_leaves"] = trial.suggest_int("max_leaves", 4, 128, log=True)
    return params


def _xgboost(params: Params, task: Task) -> Any:
    from xgboost import XGBClassifier
    from xgboost import XGBRegressor

    model = XGBClassifier if task == "classification" else XGBRegressor
    fixed = {"tree_method": "hist", "enable_categorical": True, "n_jobs": 1, "verbosity": 0}
    return model(random_state=SEED, **fixed, **params)


def _catboost_space(trial: optuna.Trial, task: Task) -> Params:
    params: Params = {
        "iterations": trial.suggest_int("iterations", 40, 150, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 0.03, 0.3, log=True),
        "grow_policy": trial.suggest_categorical("grow_policy", ["SymmetricTree", "Depthwise"]),
        "depth": trial.suggest_int("depth", 2, 8),
        "l2_leaf_reg": trial.suggest_float("l2_leaf_reg", 0.1, 30.0, log=True),
        "random_strength": trial.suggest_float("random_strength", 0.01, 10.0, log=True),
        "rsm": trial.suggest_float("rsm", 0.3, 1.0),
        "bootstrap_type": trial.suggest_categorical(
            "bootstrap_type", ["Bayesian", "Bernoulli", "MVS"]
        ),
    }
    if params["grow_policy"] == "Depthwise":
        params["min_data_in_leaf"] = trial.suggest_int("min_data_in_leaf", 1, 100, log=True)
    if params["bootstrap_type"] == "Bayesian":
        params["bagging_temperature"] = trial.suggest_float("bagging_temperature", 0.0, 10.0)
    else:
        params["subsample"] = trial.suggest_float("subsample", 0.4, 1.0)
    return params


def _catboost(params: Params, task: Task) -> Any:
    from catboost import CatBoostClassifier
    from catboost import CatBoostRegressor

    model = CatBoostClassifier if task == "classification" else CatBoostRegressor
    fixed = {"thread_count": 1, "verbose": False, "allow_writing_files": False}
    return model(random_seed=SEED, **fixed, **params)


def _random_forest_space(trial: optuna.Trial, task: Task) -> Params:
    params: Params = {
        "n_estimators": trial.suggest_int("n_estimators", 20, 100, log=True),
        "max_features": trial.suggest_float("max_features", 0.05, 1.0),
        "max_depth": trial.suggest_int("max_depth", 2, 32, log=True),
        "min_samples_split": trial.suggest_int("min_samples_split", 2, 20, log=True),
        "min_samples_leaf": trial.suggest_int("min_samples_leaf", 1, 20, log=True),
        "bootstrap": trial.suggest_categorical("bootstrap", [True, False]),
    }
    if params["bootstrap"]:
        params["max_samples"] = trial.suggest_float("max_samples", 0.3, 1.0)
    if task == "classification":
        params["criterion"] = trial.suggest_categorical("criterion", ["gini", "entropy"])
        params["class_weight"] = _class_weight(trial)
    return params


def _random_forest(params: Params, task: Task) -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.ensemble import RandomForestRegressor

    model = RandomForestClassifier if task == "classification" else RandomForestRegressor
    return model(random_state=SEED, **params)


def _svm_space(trial: optuna.Trial, task: Task) -> Params:
    params: Params = {
        "C": trial.suggest_float("C", 1e-3, 1e3, log=True),
        "kernel": trial.suggest_categorical("kernel", ["rbf", "linear", "poly", "sigmoid"]),
    }
    if params["kernel"] != "linear":
        params["gamma"] = trial.suggest_float("gamma", 1e-5, 10.0, log=True)
    if params["kernel"] == "poly":
        params["degree"] = trial.suggest_int("degree", 2, 5)
    if params["kernel"] in ("poly", "sigmoid"):
        params["coef0"] = trial.suggest_float("coef0", 0.0, 1.0)
    if task == "classification":
        params["class_weight"] = _class_weight(trial)
    else:
        params["epsilon"] = trial.suggest_float("epsilon", 1e-3, 1.0, log=True)
    return params


def _svm(params: Params, task: Task) -> Any:
    from sklearn.svm import SVC
    from sklearn.svm import SVR

    return (SVC if task == "classification" else SVR)(max_iter=MAX_SVM_ITERATIONS, **params)


def _mlp_space(trial: optuna.Trial, task: Task) -> Params:
    # scikit-learn's `hidden_layer_sizes` is a tuple, which Optuna cannot search.
    params: Params = {
        "n_layers": trial.suggest_int("n_layers", 1, 3),
        "n_units": trial.suggest_int("n_units", 16, 128, log=True),
        "activation": trial.suggest_categorical("activation", ["relu", "tanh", "logistic"]),
        "solver": trial.suggest_categorical("solver", ["adam", "sgd"]),
        "alpha": trial.suggest_float("alpha", 1e-7, 1.0, log=True),
        "learning_rate_init": trial.suggest_float("learning_rate_init", 1e-4, 1e-1, log=True),
        "batch_size": trial.suggest_int("batch_size", 16, 256, log=True),
        "max_iter": trial.suggest_int("max_iter", 20, 100, log=True),
        "early_stopping": trial.suggest_categorical("early_stopping", [True, False]),
    }
    if params["solver"] == "sgd":
        params["momentum"] = trial.suggest_float("momentum", 0.5, 0.99)
        params["learning_rate"] = trial.suggest_categorical(
            "learning_rate", ["constant", "invscaling", "adaptive"]
        )
    return params


def _mlp(params: Params, task: Task) -> Any:
    from sklearn.neural_network import MLPClassifier
    from sklearn.neural_network import MLPRegressor

    own = {name: value for name, value in params.items() if name not in ("n_layers", "n_units")}
    if "n_units" in params:
        own["hidden_layer_sizes"] = (params["n_units"],) * params["n_layers"]
    model = MLPClassifier if task == "classification" else MLPRegressor
    return model(random_state=SEED, **own)


def _logistic_space(trial: optuna.Trial, task: Task) -> Params:
    params: Params = {
        "C": trial.suggest_float("C", 1e-4, 1e3, log=True),
        "solver": trial.suggest_categorical("solver", ["lbfgs", "newton-cholesky", "saga"]),
        "class_weight": _class_weight(trial),
        "max_iter": trial.suggest_int("max_iter", 50, 500, log=True),
        "tol": trial.suggest_float("tol", 1e-6, 1e-2, log=True),
    }
    if params["solver"] == "saga":
        params["l1_ratio"] = trial.suggest_float("l1_ratio", 0.0, 1.0)
    return params


def _logistic(params: Params, task: Task) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(random_state=SEED, **params)


def _class_weight(trial: optuna.Trial) -> str | None:
    weight: str | None = trial.suggest_categorical("class_weight", [None, "balanced"])  # type: ignore[assignment]
    return weight


def scores(model: Any, features: Any, target: np.ndarray, task: Task) -> dict[str, float]:
    """Return the metrics of a fitted model on test rows; the first is the objective's.

    The area under the ROC curve is the mean over classes, each against the rest. It needs no
    probabilities, which a support vector machine does not have.
    """
    from sklearn import metrics

    if task == "regression":
        predicted = model.predict(features)
        return {
            "r2": float(metrics.r2_score(target, predicted)),
            "mae": float(metrics.mean_absolute_error(target, predicted)),
        }
    predicted = np.ravel(model.predict(features))
    found = {
        "roc_auc": 0.0,
        "balanced_accuracy": float(metrics.balanced_accuracy_score(target, predicted)),
        "accuracy": float(metrics.accuracy_score(target, predicted)),
    }
    if hasattr(model, "predict_proba"):
        confidence = model.predict_proba(features)
        found["log_loss"] = float(metrics.log_loss(target, confidence))
    else:
        confidence = model.decision_function(features)
    found["roc_auc"] = _roc_auc(target, confidence)
    return found


def _roc_auc(target: np.ndarray, confidence: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    if confidence.ndim == 1:
        return float(roc_auc_score(target, confidence))
    if confidence.shape[1] == 2:
        return float(roc_auc_score(target, confidence[:, 1]))
    classes = np.arange(confidence.shape[1])
    one_hot = (target[:, None] == classes).astype(int)
    return float(roc_auc_score(one_hot, confidence, average="macro"))


LIBRARIES = (
    Library("lightgbm", ("lightgbm",), "category", _lightgbm_space, _lightgbm, SETS, 2_000),
    Library("xgboost", ("xgboost-cpu",), "category", _xgboost_space, _xgboost),
    Library("logistic-regression", (), "scaled", _logistic_space, _logistic, CLASSIFICATION),
    Library("svm", (), "scaled", _svm_space, _svm),
    Library("catboost", ("catboost",), "text", _catboost_space, _catboost),
    Library("mlp", (), "scaled", _mlp_space, _mlp),
    Library("random-forest", (), "one-hot", _random_forest_space, _random_forest),
)
"""In the order of recording. All rows and sets for all libraries would take hours more."""

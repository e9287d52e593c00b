"""SHAP evidence: why the meta-learner expects what it expects."""

from optuna_metallmix.explain.explanation import Evidence
from optuna_metallmix.explain.explanation import Explanation
from optuna_metallmix.explain.explanation import NearestStudy
from optuna_metallmix.explain.explanation import bearing
from optuna_metallmix.explain.explanation import explain
from optuna_metallmix.explain.shap_adapter import encode
from optuna_metallmix.explain.shap_adapter import shap_view


__all__ = [
    "Evidence",
    "Explanation",
    "NearestStudy",
    "bearing",
    "encode",
    "explain",
    "shap_view",
]

"""Explain the meta-learner's predictions with SHAP values."""

from optuna_metallmix.explain.explanation import MIN_EFFECT
from optuna_metallmix.explain.explanation import Evidence
from optuna_metallmix.explain.explanation import Explanation
from optuna_metallmix.explain.explanation import NearestStudy
from optuna_metallmix.explain.explanation import evidence_sign
from optuna_metallmix.explain.explanation import explain
from optuna_metallmix.explain.shap_adapter import encode
from optuna_metallmix.explain.shap_adapter import shap_view


__all__ = [
    "MIN_EFFECT",
    "Evidence",
    "Explanation",
    "NearestStudy",
    "encode",
    "evidence_sign",
    "explain",
    "shap_view",
]

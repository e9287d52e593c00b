"""Comparison of language models on held-out past studies."""

from optuna_metallmix.evaluation.models import NO_MODEL
from optuna_metallmix.evaluation.models import Evaluate
from optuna_metallmix.evaluation.models import ModelAnswer
from optuna_metallmix.evaluation.models import ModelAnswers
from optuna_metallmix.evaluation.models import compare_models
from optuna_metallmix.evaluation.order_bias import Choice
from optuna_metallmix.evaluation.render import as_frame
from optuna_metallmix.evaluation.render import as_markdown
from optuna_metallmix.evaluation.render import draw


__all__ = [
    "NO_MODEL",
    "Choice",
    "Evaluate",
    "ModelAnswer",
    "ModelAnswers",
    "as_frame",
    "as_markdown",
    "compare_models",
    "draw",
]

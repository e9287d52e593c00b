"""Comparison of language models on past studies that are held out."""

from optuna_metallmix.evaluation.models import WITHOUT
from optuna_metallmix.evaluation.models import Evaluate
from optuna_metallmix.evaluation.models import ModelAnswer
from optuna_metallmix.evaluation.models import ModelAnswers
from optuna_metallmix.evaluation.models import compare_models
from optuna_metallmix.evaluation.render import as_markdown
from optuna_metallmix.evaluation.render import draw
from optuna_metallmix.evaluation.render import write_csv


__all__ = [
    "WITHOUT",
    "Evaluate",
    "ModelAnswer",
    "ModelAnswers",
    "as_markdown",
    "compare_models",
    "draw",
    "write_csv",
]

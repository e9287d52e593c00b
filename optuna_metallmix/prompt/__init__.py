"""Write the prompts of a language model and the schema of its answer."""

from optuna_metallmix.prompt.context import DEFAULT_VARIANT
from optuna_metallmix.prompt.context import PROMPT_VERSION
from optuna_metallmix.prompt.context import SHORT
from optuna_metallmix.prompt.context import VARIANTS
from optuna_metallmix.prompt.context import PromptView
from optuna_metallmix.prompt.context import Question
from optuna_metallmix.prompt.context import Variant
from optuna_metallmix.prompt.context import fit_view
from optuna_metallmix.prompt.context import question_for
from optuna_metallmix.prompt.context import variant_named
from optuna_metallmix.prompt.messages import MAX_REASONING
from optuna_metallmix.prompt.messages import MAX_WHY
from optuna_metallmix.prompt.messages import closed_object
from optuna_metallmix.prompt.messages import prompt_view
from optuna_metallmix.prompt.messages import rejection
from optuna_metallmix.prompt.messages import suggestion_messages
from optuna_metallmix.prompt.messages import suggestion_schema
from optuna_metallmix.prompt.sections import configuration
from optuna_metallmix.prompt.sections import evidence_section


__all__ = [
    "DEFAULT_VARIANT",
    "MAX_REASONING",
    "MAX_WHY",
    "PROMPT_VERSION",
    "SHORT",
    "VARIANTS",
    "PromptView",
    "Question",
    "Variant",
    "closed_object",
    "configuration",
    "evidence_section",
    "fit_view",
    "prompt_view",
    "question_for",
    "rejection",
    "suggestion_messages",
    "suggestion_schema",
    "variant_named",
]

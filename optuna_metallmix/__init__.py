"""An Optuna sampler whose first trial is suggested from past studies by a local language model.

The public interface is ``__all__`` of this package and of :mod:`optuna_metallmix.llm`. Everything
else may change in any release.
"""

from optuna_metallmix.comparison import Comparison
from optuna_metallmix.comparison import compare
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.errors import LLMError
from optuna_metallmix.errors import MetaLLMiXError
from optuna_metallmix.errors import ProposalError
from optuna_metallmix.history import image_meta_features
from optuna_metallmix.history import tabular_meta_features
from optuna_metallmix.importer import study_from_dataframe
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import EmbeddedLLM
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import OpenAILLM
from optuna_metallmix.llm import ScriptedLLM
from optuna_metallmix.pipeline import suggest
from optuna_metallmix.report import read_record
from optuna_metallmix.report import save_figures
from optuna_metallmix.sampler import MetaLLMiXSampler
from optuna_metallmix.shipped import shipped_past
from optuna_metallmix.suggestion import Suggestion
from optuna_metallmix.transfer import TransferSampler


__all__ = [
    "LLM",
    "Comparison",
    "EmbeddedLLM",
    "HistoryError",
    "LLMError",
    "MetaLLMiXError",
    "MetaLLMiXSampler",
    "OllamaLLM",
    "OpenAILLM",
    "ProposalError",
    "ScriptedLLM",
    "Suggestion",
    "TransferSampler",
    "compare",
    "image_meta_features",
    "read_record",
    "save_figures",
    "shipped_past",
    "study_from_dataframe",
    "suggest",
    "tabular_meta_features",
]
__version__ = "0.1.0"

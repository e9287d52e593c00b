"""past studies in an Optuna storage -> a checked, explained first trial."""

from optuna_metallmix._comparison import Comparison
from optuna_metallmix._comparison import compare
from optuna_metallmix._errors import HistoryError
from optuna_metallmix._errors import LLMError
from optuna_metallmix._errors import MetaLLMiXError
from optuna_metallmix._errors import ProposalError
from optuna_metallmix._meta_features import image_meta_features
from optuna_metallmix._provenance import read_record
from optuna_metallmix._sampler import MetaLLMiXSampler
from optuna_metallmix._showing import save_figures
from optuna_metallmix._suggested import Suggestion
from optuna_metallmix._suggestion import suggest
from optuna_metallmix._transfer import TransferSampler
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import EmbeddedLLM
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import OpenAILLM
from optuna_metallmix.llm import ScriptedLLM


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
    "suggest",
]
__version__ = "0.1.0"

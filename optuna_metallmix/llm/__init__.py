"""Language models, and the protocol that any other model can implement.

``__all__`` is the public interface. Names imported as themselves (``ask as ask``) are for the
package's other sub-packages only.
"""

from optuna_metallmix.llm.auto import MODEL_VARIABLE
from optuna_metallmix.llm.auto import NO_MODEL_HINT
from optuna_metallmix.llm.auto import ForeignLLM
from optuna_metallmix.llm.auto import LLMSpec
from optuna_metallmix.llm.auto import Resolved
from optuna_metallmix.llm.auto import check_spec
from optuna_metallmix.llm.auto import release
from optuna_metallmix.llm.auto import resolve_llm
from optuna_metallmix.llm.budget import TimeBudget as TimeBudget
from optuna_metallmix.llm.embedded import INSTALL_COMMAND
from optuna_metallmix.llm.embedded import EmbeddedLLM
from optuna_metallmix.llm.embedded import check_packaged as check_packaged
from optuna_metallmix.llm.embedded import is_embedded_installed
from optuna_metallmix.llm.ollama import InstalledModel
from optuna_metallmix.llm.ollama import OllamaLLM
from optuna_metallmix.llm.ollama import Ranked
from optuna_metallmix.llm.ollama import installed_models
from optuna_metallmix.llm.ollama import rank_installed
from optuna_metallmix.llm.ollama import rank_models
from optuna_metallmix.llm.openai import OpenAILLM
from optuna_metallmix.llm.protocol import LLM
from optuna_metallmix.llm.protocol import Attempt as Attempt
from optuna_metallmix.llm.protocol import Message
from optuna_metallmix.llm.protocol import Usage
from optuna_metallmix.llm.protocol import ask as ask
from optuna_metallmix.llm.protocol import format_usage as format_usage
from optuna_metallmix.llm.protocol import is_small as is_small
from optuna_metallmix.llm.protocol import model_build as model_build
from optuna_metallmix.llm.protocol import model_name as model_name
from optuna_metallmix.llm.scripted import ScriptedAnswer
from optuna_metallmix.llm.scripted import ScriptedCall
from optuna_metallmix.llm.scripted import ScriptedLLM


__all__ = [
    "INSTALL_COMMAND",
    "LLM",
    "MODEL_VARIABLE",
    "NO_MODEL_HINT",
    "EmbeddedLLM",
    "ForeignLLM",
    "InstalledModel",
    "LLMSpec",
    "Message",
    "OllamaLLM",
    "OpenAILLM",
    "Ranked",
    "Resolved",
    "ScriptedAnswer",
    "ScriptedCall",
    "ScriptedLLM",
    "Usage",
    "check_spec",
    "installed_models",
    "is_embedded_installed",
    "rank_installed",
    "rank_models",
    "release",
    "resolve_llm",
]

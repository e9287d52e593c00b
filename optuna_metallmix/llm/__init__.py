"""messages + JSON schema -> text: the plug point for language models."""

from optuna_metallmix.llm.auto import MODEL_VARIABLE
from optuna_metallmix.llm.auto import NO_MODEL_HINT
from optuna_metallmix.llm.auto import ForeignLLM
from optuna_metallmix.llm.auto import LLMSpec
from optuna_metallmix.llm.auto import Resolved
from optuna_metallmix.llm.auto import check_spec
from optuna_metallmix.llm.auto import release
from optuna_metallmix.llm.auto import resolve_llm
from optuna_metallmix.llm.embedded import INSTALL_COMMAND
from optuna_metallmix.llm.embedded import EmbeddedLLM
from optuna_metallmix.llm.embedded import check_packaged
from optuna_metallmix.llm.embedded import is_embedded_installed
from optuna_metallmix.llm.ollama import InstalledModel
from optuna_metallmix.llm.ollama import OllamaLLM
from optuna_metallmix.llm.ollama import Ranked
from optuna_metallmix.llm.ollama import installed_models
from optuna_metallmix.llm.ollama import rank_installed
from optuna_metallmix.llm.ollama import rank_models
from optuna_metallmix.llm.openai import OpenAILLM
from optuna_metallmix.llm.protocol import LLM
from optuna_metallmix.llm.protocol import Attempt
from optuna_metallmix.llm.protocol import Message
from optuna_metallmix.llm.protocol import Usage
from optuna_metallmix.llm.protocol import ask
from optuna_metallmix.llm.protocol import cost_of
from optuna_metallmix.llm.protocol import model_build
from optuna_metallmix.llm.protocol import model_name
from optuna_metallmix.llm.scripted import ScriptedAnswer
from optuna_metallmix.llm.scripted import ScriptedCall
from optuna_metallmix.llm.scripted import ScriptedLLM


__all__ = [
    "INSTALL_COMMAND",
    "LLM",
    "MODEL_VARIABLE",
    "NO_MODEL_HINT",
    "Attempt",
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
    "ask",
    "check_packaged",
    "check_spec",
    "cost_of",
    "installed_models",
    "is_embedded_installed",
    "model_build",
    "model_name",
    "rank_installed",
    "rank_models",
    "release",
    "resolve_llm",
]

"""messages + JSON schema -> text: the plug point for language models."""

from optuna_metallmix.llm._auto import MODEL_VARIABLE
from optuna_metallmix.llm._auto import NO_MODEL_HINT
from optuna_metallmix.llm._auto import ForeignLLM
from optuna_metallmix.llm._auto import LLMSpec
from optuna_metallmix.llm._auto import Resolved
from optuna_metallmix.llm._auto import check_spec
from optuna_metallmix.llm._auto import release
from optuna_metallmix.llm._auto import resolve_llm
from optuna_metallmix.llm._embedded import EmbeddedLLM
from optuna_metallmix.llm._gguf import INSTALL_COMMAND
from optuna_metallmix.llm._gguf import is_embedded_installed
from optuna_metallmix.llm._ollama import OllamaLLM
from optuna_metallmix.llm._ollama_choice import Ranked
from optuna_metallmix.llm._ollama_choice import rank_installed
from optuna_metallmix.llm._ollama_choice import rank_models
from optuna_metallmix.llm._ollama_models import InstalledModel
from optuna_metallmix.llm._ollama_models import installed_models
from optuna_metallmix.llm._openai import OpenAILLM
from optuna_metallmix.llm._protocol import LLM
from optuna_metallmix.llm._protocol import Message
from optuna_metallmix.llm._protocol import Usage
from optuna_metallmix.llm._scripted import ScriptedAnswer
from optuna_metallmix.llm._scripted import ScriptedCall
from optuna_metallmix.llm._scripted import ScriptedLLM


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

"""Language models of an Ollama server."""

from optuna_metallmix.llm.ollama.client import OllamaLLM
from optuna_metallmix.llm.ollama.ranking import Ranked
from optuna_metallmix.llm.ollama.ranking import rank_installed
from optuna_metallmix.llm.ollama.ranking import rank_models
from optuna_metallmix.llm.ollama.server import InstalledModel
from optuna_metallmix.llm.ollama.server import installed_models


__all__ = [
    "InstalledModel",
    "OllamaLLM",
    "Ranked",
    "installed_models",
    "rank_installed",
    "rank_models",
]

"""Train the embedded model to read the short question: questions, training, conversion."""

from pathlib import Path

from benchmarks.paths import CACHE
from benchmarks.paths import ROOT


FOLDER = CACHE / "models"
QUESTIONS = FOLDER / "questions.jsonl"
ADAPTER = FOLDER / "adapter"
READER: Path = ROOT / "optuna_metallmix" / "llm" / "data" / "smollm2-135m-reader.gguf"
"""The adapter that the package ships."""

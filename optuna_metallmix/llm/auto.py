"""what the user asked for, or nothing -> the language model to use, and why."""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import TypeAlias

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm.embedded import INSTALL_COMMAND
from optuna_metallmix.llm.embedded import EmbeddedLLM
from optuna_metallmix.llm.ollama import OllamaLLM
from optuna_metallmix.llm.ollama import rank_installed
from optuna_metallmix.llm.openai import OpenAILLM
from optuna_metallmix.llm.openai import openai_model
from optuna_metallmix.llm.openai_server import is_spec
from optuna_metallmix.llm.openai_server import read_spec
from optuna_metallmix.llm.protocol import LLM
from optuna_metallmix.llm.protocol import Message
from optuna_metallmix.llm.protocol import Usage
from optuna_metallmix.llm.scripted import ScriptedLLM


LLMSpec: TypeAlias = LLM | str | os.PathLike[str] | bool | None
"""What a user may ask for: see :func:`resolve_llm`."""

MODEL_VARIABLE = "OPTUNA_METALLMIX_MODEL"

NO_MODEL_HINT = (
    "To get a language model, run `ollama pull qwen3:8b` beside an Ollama server, or "
    f"`{INSTALL_COMMAND}` for a tiny one inside this process."
)

_ACCEPTED = (
    'None (automatic), False (no model), "ollama", "ollama:MODEL", "openai:URL#MODEL", '
    '"embedded", the path of a .gguf file, or an object with a method '
    "generate(messages, *, schema) -> str"
)


@dataclass(frozen=True)
class Resolved:
    """A language model, or none, and how that came about.

    Attributes:
        llm: The model; None where there is none, or none was wanted.
        tried: A sentence for each thing tried before, in order, saying why it is not used.
    """

    llm: LLM | None
    tried: tuple[str, ...] = ()


class ForeignLLM:
    """Somebody else's model: whatever goes wrong in it becomes an ``LLMError``.

    Attributes:
        name: The object's own ``name``, else its class's.
    """

    def __init__(self, llm: LLM) -> None:
        """Wrap ``llm``."""
        self._llm = llm
        self.name = str(self._told("name") or type(llm).__name__)

    @property
    def last_usage(self) -> Usage | None:
        """What the most recent answer cost, where the object tells it as a :class:`Usage`."""
        usage = self._told("last_usage")
        return usage if isinstance(usage, Usage) else None

    @property
    def build(self) -> object:
        """Which build of it answers, where the object tells."""
        return self._told("build")

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Pass the question on.

        Raises:
            LLMError: The object raised, or answered something that is not text.
        """
        try:
            answer: object = self._llm.generate(messages, schema=schema)
        except LLMError:
            raise
        except Exception as error:  # The boundary to other people's code: it may raise anything.
            raise LLMError(
                f"Model {self.name} raised {type(error).__name__} ({error}): mend its `generate`."
            ) from error
        if not isinstance(answer, str):
            raise LLMError(
                f"Model {self.name} answered {type(answer).__name__}, not str: mend its "
                "`generate` to return text."
            )
        return answer

    def _told(self, attribute: str) -> object:
        try:
            return getattr(self._llm, attribute, None)
        except Exception:  # A property of other people's: what it would tell is worth no trial.
            return None


def check_spec(spec: LLMSpec) -> None:
    """Refuse at once what :func:`resolve_llm` could never use; opens no file and no connection.

    Raises:
        TypeError: ``spec`` is of no accepted kind.
        ValueError: ``spec``, or the variable ``OPTUNA_METALLMIX_MODEL`` where it counts, is a
            string that means nothing.
    """
    if spec is None:
        _check_text(os.environ.get(MODEL_VARIABLE) or "none", MODEL_VARIABLE)
    elif isinstance(spec, str):
        _check_text(spec, "llm")
    elif spec is not False and not isinstance(spec, os.PathLike) and not _can_generate(spec):
        raise TypeError(f"llm={spec!r} is not a language model. Accepted are {_ACCEPTED}.")


def resolve_llm(spec: LLMSpec = None) -> Resolved:
    """Find the language model that ``spec`` asks for.

    ==========================  =================================================================
    ``spec``                    language model
    ==========================  =================================================================
    ``None``                    what the variable ``OPTUNA_METALLMIX_MODEL`` says (one of the
                                strings below); else ``"ollama"`` where a server answers within a
                                second; else ``"embedded"`` where it is installed; else none
    ``False``, ``"none"``       none
    ``"ollama"``                the server's best model as ``rank_models`` sees it: the largest
                                that fits, made for instructions; nothing is pulled
    ``"ollama:qwen3:8b"``       that one
    ``"openai:URL#MODEL"``      that model of an OpenAI-compatible server; without ``#MODEL`` the
                                first that it lists, without ``URL`` at http://localhost:8000/v1
    ``"embedded"``              SmolLM2-135M-Instruct in this process
    path ending in ``.gguf``    that file in this process (any path, where it is a ``Path``)
    object                      itself; :class:`ForeignLLM` around it where it is not ours
    ==========================  =================================================================

    Raises:
        LLMError: What was asked for by name is not there.
        TypeError: As :func:`check_spec`.
        ValueError: As :func:`check_spec`.
    """
    check_spec(spec)
    if spec is None:
        named = os.environ.get(MODEL_VARIABLE)
        return _named(named) if named else _automatic()
    if isinstance(spec, str):
        return _named(spec)
    if isinstance(spec, bool):
        return Resolved(None)
    if isinstance(spec, os.PathLike):
        return Resolved(EmbeddedLLM(spec))
    ours = isinstance(spec, OllamaLLM | OpenAILLM | EmbeddedLLM | ScriptedLLM | ForeignLLM)
    return Resolved(spec if ours else ForeignLLM(spec))


def release(llm: LLM | None) -> None:
    """Give back the memory that one of this package's models holds; never raises.

    Somebody else's object may have a ``close`` that ends it: it is left alone.
    """
    if isinstance(llm, OllamaLLM | EmbeddedLLM):
        llm.close()


def _named(spec: str) -> Resolved:
    if spec == "none":
        return Resolved(None)
    if spec == "embedded":
        return Resolved(EmbeddedLLM())
    if spec == "ollama":
        return Resolved(_best_of_ollama())
    if spec.startswith("ollama:"):
        return Resolved(OllamaLLM(spec.removeprefix("ollama:")))
    if is_spec(spec):
        return Resolved(openai_model(spec))
    return Resolved(EmbeddedLLM(spec))


def _automatic() -> Resolved:
    tried: list[str] = []
    attempts: tuple[Callable[[], LLM], ...] = (_best_of_ollama, EmbeddedLLM)
    for attempt in attempts:
        try:
            return Resolved(attempt(), tuple(tried))
        except LLMError as error:
            tried.append(str(error))
    return Resolved(None, tuple(tried))


def _best_of_ollama() -> OllamaLLM:
    models = rank_installed()
    if models and models[0].usable:
        return OllamaLLM(models[0].name)
    listed = " ".join(f"{model.name}: {model.why}" for model in models) or "nothing"
    raise LLMError(
        "Ollama has no model of its own that writes text and holds a question (installed: "
        f"{listed}): run `ollama pull qwen3:8b`."
    )


def _check_text(spec: str, where: str) -> None:
    if is_spec(spec):
        try:
            read_spec(spec)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        return
    known = spec in ("none", "ollama", "embedded") or spec.lower().endswith(".gguf")
    model = spec.removeprefix("ollama:") if spec.startswith("ollama:") else ""
    if not known and not model.strip():
        raise ValueError(f"{where}={spec!r} names no language model. Accepted are {_ACCEPTED}.")


def _can_generate(spec: object) -> bool:
    return callable(getattr(spec, "generate", None)) and not isinstance(spec, type)

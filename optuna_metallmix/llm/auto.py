"""Find the language model that the user requested, or the best available model."""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from typing import TypeAlias
from typing import TypeGuard

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm.embedded import INSTALL_COMMAND
from optuna_metallmix.llm.embedded import EmbeddedLLM
from optuna_metallmix.llm.embedded import is_embedded_installed
from optuna_metallmix.llm.ollama import OllamaLLM
from optuna_metallmix.llm.ollama import rank_installed
from optuna_metallmix.llm.openai import DEFAULT_URL
from optuna_metallmix.llm.openai import OpenAILLM
from optuna_metallmix.llm.openai import checked_url
from optuna_metallmix.llm.openai import openai_model
from optuna_metallmix.llm.protocol import LLM
from optuna_metallmix.llm.protocol import MAX_NAME
from optuna_metallmix.llm.protocol import Message
from optuna_metallmix.llm.protocol import Usage
from optuna_metallmix.llm.scripted import ScriptedLLM
from optuna_metallmix.text import cut_middle
from optuna_metallmix.text import describe_error


LLMSpec: TypeAlias = LLM | str | os.PathLike[str] | bool | None
"""The accepted values of ``llm``: see :func:`resolve_llm`."""

MODEL_VARIABLE = "OPTUNA_METALLMIX_MODEL"

NO_MODEL_HINT = (
    f"To use one, run `ollama pull qwen3:8b`, or `{INSTALL_COMMAND}`, or pass "
    'llm="ollama:MODEL", llm="openai:URL#MODEL", llm="path/to/model.gguf" or an object with '
    "`generate`. llm=False expects none."
)

_ACCEPTED = (
    'None ({default}), False (no model), "ollama", "ollama:MODEL", "openai:URL#MODEL", '
    '"embedded", the path of a .gguf file, or an object with a method '
    "generate(messages, *, schema) -> str"
)


@dataclass(frozen=True)
class Resolved:
    """The outcome of a search for a language model.

    Attributes:
        llm: The model; None if no model is available, or none was requested.
        tried: Why no model is available although none was requested, in sentences.
    """

    llm: LLM | None
    tried: tuple[str, ...] = ()


class ForeignLLM:
    """Wraps a user's own model, and turns its exceptions into :class:`LLMError`.

    Attributes:
        wrapped: The object.
        name: Its ``name``, or else the name of its class.
    """

    def __init__(self, llm: LLM) -> None:
        """Wrap ``llm``."""
        self.wrapped = llm
        self.name = cut_middle(self._text("name"), MAX_NAME) or type(llm).__name__

    @property
    def last_usage(self) -> Usage | None:
        """The cost of the most recent answer, if the object has it as a :class:`Usage`."""
        usage = self._attribute("last_usage")
        return usage if isinstance(usage, Usage) else None

    @property
    def build(self) -> object:
        """The object's ``build``, or None."""
        return self._attribute("build")

    @property
    def n_parameters(self) -> object:
        """The object's ``n_parameters``, or None."""
        return self._attribute("n_parameters")

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Pass the question on.

        Raises:
            LLMError: The object raised an exception, or its answer is not text.
        """
        try:
            answer: object = self.wrapped.generate(messages, schema=schema)
        except LLMError:
            raise
        except Exception as error:  # a user's own code may raise anything
            raise LLMError(
                f"Model {self.name} raised {describe_error(error)}: check its `generate`."
            ) from error
        if not isinstance(answer, str):
            raise LLMError(
                f"Model {self.name} returned {type(answer).__name__} instead of str: check its "
                "`generate`."
            )
        return answer

    def _text(self, name: str) -> str:
        try:
            return str(self._attribute(name) or "")
        except Exception:  # as below: the object may not have a text
            return ""

    def _attribute(self, name: str) -> object:
        try:
            return getattr(self.wrapped, name, None)
        except Exception:  # a user's property may raise anything, which must not stop the trial
            return None


def check_spec(spec: LLMSpec, argument: str = "llm") -> None:
    """Validate ``spec`` without opening a file or a connection.

    Args:
        spec: See :func:`resolve_llm`.
        argument: The argument that it was passed as, for the error.

    Raises:
        TypeError: ``spec`` has none of the accepted types.
        ValueError: ``spec``, or the variable ``OPTUNA_METALLMIX_MODEL`` if it applies, is not an
            accepted string.
    """
    _factory(spec, argument)


def resolve_llm(spec: LLMSpec = None, argument: str = "llm") -> Resolved:
    """Find the language model that ``spec`` requests.

    ==========================  =================================================================
    ``spec``                    language model
    ==========================  =================================================================
    ``None``                    the value of ``OPTUNA_METALLMIX_MODEL`` (any string below); else
                                ``"ollama"`` if a server answers within a second; else
                                ``"embedded"`` if it is installed; else no model
    ``False``, ``"none"``       no model
    ``"ollama"``                the best installed model according to :func:`rank_models`: the
                                largest instruct model that fits, of at least 1.5 billion
                                parameters; nothing is pulled
    ``"ollama:qwen3:8b"``       this model of the Ollama server
    ``"openai:URL#MODEL"``      this model of an OpenAI-compatible server; the default URL is
                                http://localhost:8000/v1, the default model the first listed
    ``"embedded"``              SmolLM2-135M-Instruct inside this process
    path ending in ``.gguf``    this file inside this process (a ``Path`` may have any ending)
    object                      the object itself, wrapped in :class:`ForeignLLM` unless it is a
                                model of this package
    ==========================  =================================================================

    ``argument`` is the argument that ``spec`` was passed as, for the errors.

    Raises:
        LLMError: A model was requested by name, and is not available.
        TypeError: As :func:`check_spec`.
        ValueError: As :func:`check_spec`.
    """
    create = _factory(spec, argument)
    return _automatic() if create is None else Resolved(create())


def holds_memory(llm: LLM | None) -> TypeGuard[OllamaLLM | EmbeddedLLM]:
    """Return whether ``llm`` is a model of this package that has to be unloaded."""
    return isinstance(llm, OllamaLLM | EmbeddedLLM)


def release(llm: LLM | None) -> None:
    """Unload ``llm`` if it is a model of this package; never raises.

    A user's own model is left alone, because its ``close`` may be final.
    """
    if holds_memory(llm):
        llm.close()


def _factory(spec: LLMSpec, argument: str) -> Callable[[], LLM | None] | None:
    """Return a factory for the model that ``spec`` names; None for automatic selection."""
    if spec is None:
        name = os.environ.get(MODEL_VARIABLE)
        return _named(name, MODEL_VARIABLE) if name else None
    if isinstance(spec, str):
        return _named(spec, argument)
    if spec is False:
        return lambda: None
    if isinstance(spec, os.PathLike):
        return partial(EmbeddedLLM, spec)
    if isinstance(spec, bool | type) or not callable(getattr(spec, "generate", None)):
        raise TypeError(f"{argument}={spec!r} is not a language model. {_accepted(argument)}")
    is_ours = isinstance(spec, OllamaLLM | OpenAILLM | EmbeddedLLM | ScriptedLLM | ForeignLLM)
    llm = spec if is_ours else ForeignLLM(spec)
    return lambda: llm


def _named(spec: str, source: str) -> Callable[[], LLM | None]:
    """Return a factory for the model that ``spec`` names; errors mention its ``source``."""
    factories: dict[str, Callable[[], LLM | None]] = {
        "none": lambda: None,
        "ollama": _best_of_ollama,
        "embedded": EmbeddedLLM,
    }
    if spec in factories:
        return factories[spec]
    kind, _, rest = spec.partition(":")
    if kind == "openai":
        url, _, model = rest.partition("#")
        try:
            return partial(openai_model, checked_url(url or DEFAULT_URL), model.strip() or None)
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
    if kind == "ollama" and rest.strip():
        return lambda: OllamaLLM(rest)
    if spec.lower().endswith(".gguf"):
        return lambda: EmbeddedLLM(spec)
    raise ValueError(f"{source}={spec!r} names no language model. {_accepted(source)}")


def _accepted(argument: str) -> str:
    default = "the model that proposes" if argument == "judge" else "automatic"
    return f"Accepted are {_ACCEPTED.format(default=default)}."


def _automatic() -> Resolved:
    try:
        return Resolved(_best_of_ollama())
    except LLMError as error:
        reason = str(error)
    return Resolved(EmbeddedLLM()) if is_embedded_installed() else Resolved(None, (reason,))


def _best_of_ollama() -> OllamaLLM:
    models = rank_installed()
    if models and models[0].usable:
        return OllamaLLM(models[0].name)
    listed = " ".join(f"{model.name}: {model.why}" for model in models) or "none"
    raise LLMError(
        "Ollama has no installed local text model of at least 1.5 billion parameters with a large "
        f"enough context (installed: {listed}): run `ollama pull qwen3:8b`."
    )

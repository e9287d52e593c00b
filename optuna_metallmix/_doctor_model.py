"""what is asked for, or nothing -> findings: Ollama, the model that would be asked, its answer."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

from optuna_metallmix._errors import LLMError
from optuna_metallmix._finding import Finding
from optuna_metallmix.llm import INSTALL_COMMAND
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import MODEL_VARIABLE
from optuna_metallmix.llm import NO_MODEL_HINT
from optuna_metallmix.llm import EmbeddedLLM
from optuna_metallmix.llm import InstalledModel
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import OpenAILLM
from optuna_metallmix.llm import Usage
from optuna_metallmix.llm import check_spec
from optuna_metallmix.llm import installed_models
from optuna_metallmix.llm import is_embedded_installed
from optuna_metallmix.llm import rank_installed
from optuna_metallmix.llm import release
from optuna_metallmix.llm import resolve_llm
from optuna_metallmix.llm._gguf import check_packaged


_MESSAGES = [
    {"role": "system", "content": "You answer with one JSON object and nothing else."},
    {"role": "user", "content": 'Give "sum", which is 2 + 3, and then "state", which is "ready".'},
]
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "sum": {"type": "integer"},
        "state": {"type": "string", "enum": ["ready", "not ready"]},
    },
    "required": ["sum", "state"],
    "additionalProperties": False,
}


def check_ollama() -> Iterator[Finding]:
    """Ask Ollama for its models. It need not be there: a warning, where it is not."""
    try:
        models = installed_models()
    except LLMError as error:
        yield Finding("warning", "Ollama", str(error))
        return
    where = f"answers at {OllamaLLM('any').host}"
    if models:
        yield Finding("ok", "Ollama", f"{where} and has {', '.join(map(_sized, models))}")
    else:
        yield Finding(
            "warning", "Ollama", f"{where} and has no model: run `ollama pull qwen3:8b`."
        )


def check_embedded() -> Iterator[Finding]:
    """Look whether the packaged model is there and is the one that was reviewed."""
    if not is_embedded_installed():
        text = f"not installed; `{INSTALL_COMMAND}` gives a tiny model that always answers"
        yield Finding("ok", "embedded model", text)
        return
    path = EmbeddedLLM().path
    check_packaged(path)
    yield Finding("ok", "embedded model", f"{path.stem}, as it was reviewed")


def check_model(spec: str | None) -> Iterator[Finding]:
    """Say which model would be asked and why, and ask it for a small document.

    Args:
        spec: As for :func:`resolve_llm`.

    Raises:
        LLMError: The model that was named is not there, or does not answer.
    """
    try:
        check_spec(spec)
    except ValueError as error:  # of the variable: what was typed is checked as it is read
        yield Finding("problem", "model", str(error))
        return
    resolved = resolve_llm(spec)
    if resolved.llm is None:
        yield _no_model(resolved.tried)
        return
    name = getattr(resolved.llm, "name", type(resolved.llm).__name__)
    yield Finding("ok", "model", f"{name} would be asked: {_why(spec, resolved.llm)}")
    try:
        yield from _round_trip(resolved.llm)
    finally:
        release(resolved.llm)


def _no_model(tried: tuple[str, ...]) -> Finding:
    if not tried:
        return Finding("ok", "model", "none, as you say: the meta-learner suggests by itself")
    return Finding("warning", "model", f"none, so that the meta-learner suggests. {NO_MODEL_HINT}")


def _why(spec: str | None, llm: LLM) -> str:
    named = spec or os.environ.get(MODEL_VARIABLE)
    by = "you name it" if spec else f"{MODEL_VARIABLE} names it"
    if isinstance(llm, OllamaLLM) and named in (None, "", "ollama"):
        return next(one.why for one in rank_installed() if one.name == llm.model)
    if isinstance(llm, OpenAILLM) and named and "#" not in named:
        return "it is the first that the server lists"
    return by if named else "there is none of Ollama's to be had"


def _round_trip(llm: LLM) -> Iterator[Finding]:
    started = time.perf_counter()
    answer = llm.generate(_MESSAGES, schema=_SCHEMA)
    seconds = time.perf_counter() - started
    if not _is_kept(answer):
        text = f"its answer is not what the schema says ({answer[:60]!r}): choose another model."
        yield Finding("problem", "answer", text)
        return
    tokens = _tokens(getattr(llm, "last_usage", None))
    yield Finding("ok", "answer", f"within the schema, in {seconds:.1f} s{tokens}")
    if getattr(llm, "is_constrained", None) is False:
        text = "the server takes no schema and was told in words: update it, for fewer refusals."
        yield Finding("warning", "answer", text)


def _is_kept(answer: str) -> bool:
    try:
        document = json.loads(answer)
    except ValueError:
        return False
    if not isinstance(document, dict) or list(document) != _SCHEMA["required"]:
        return False
    whole = isinstance(document["sum"], int) and not isinstance(document["sum"], bool)
    return whole and document["state"] in _SCHEMA["properties"]["state"]["enum"]


def _tokens(usage: Usage | None) -> str:
    if usage is None or usage.prompt_tokens is None or usage.answer_tokens is None:
        return ""
    return f", {usage.prompt_tokens} tokens read and {usage.answer_tokens} written"


def _sized(model: InstalledModel) -> str:
    return f"{model.name} ({model.size / 1e9:.1f} GB)"

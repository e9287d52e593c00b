"""Read the answer of a chat, and say which setting helps if there is none.

Models that reason write their reasoning into a field of its own or, where the server does not
know their format, into the answer between ``<think>`` and ``</think>``. Either may take all the
tokens, and which setting helps depends on what was asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    import ollama

# In tokens. Reasoning about a question takes one to three thousand.
_TOKENS_TO_REASON = 4096

_OPENING = re.compile(r"\s*<think(?:ing)?>")
_CLOSING = re.compile(r"</think(?:ing)?>")

_MAX_QUOTED = 60
"""Characters of an answer that an error quotes."""
_MAX_BRACES = 20
"""Braces at which an object is looked for: a broken model can write thousands."""


@dataclass(frozen=True)
class Asked:
    """What a question was sent with.

    Attributes:
        think, num_predict, num_ctx: As for :class:`OllamaLLM`, ``num_ctx`` as computed.
    """

    think: bool | str | None
    num_predict: int
    num_ctx: int


def text_of(response: ollama.ChatResponse) -> str:
    """Return the answer without reasoning; empty if there is only reasoning."""
    return _split(response)[1]


def problem_of(
    response: ollama.ChatResponse, asked: Asked, may_reason: Callable[[], bool]
) -> str | None:
    """Describe why an answer cannot be used, and what to do.

    Args:
        response: The answer.
        asked: What the question was sent with.
        may_reason: Returns whether the server says that the model can reason. It is only called
            if that makes a difference, because it may have to ask the server.

    Returns:
        The rest of a sentence whose subject is the model, without its full stop; None if the
        answer can be used.
    """
    thoughts, text = _split(response)
    read, written = response.prompt_eval_count or 0, response.eval_count or 0
    is_full = read + written > asked.num_ctx
    is_cut = response.done_reason == "length" or is_full
    if not response.done:
        return (
            "stopped in the middle of its answer, as Ollama does when a model repeats itself: "
            "choose another model, or a `temperature` above 0"
        )
    if thoughts and not text:
        remedy = _more_tokens(asked, is_full) if is_cut else _less_reasoning(asked)
        return f"spent its {written} tokens on reasoning: {remedy}"
    is_prose = "{" not in text if is_cut else not _has_object(text)
    if asked.think is False and text and is_prose and (thoughts or may_reason()):
        return _ignored_schema(text, asked)
    if is_cut:
        return (
            f"was cut off after {written} tokens: raise `num_predict` (now {asked.num_predict}) "
            f"or `num_ctx` (now {asked.num_ctx})"
        )
    return None if text else "gave an empty answer: choose another model"


def _split(response: ollama.ChatResponse) -> tuple[str, str]:
    """Return the reasoning and the answer."""
    thoughts = (response.message.thinking or "").strip()
    text = (response.message.content or "").strip()
    # A template can open the reasoning itself, so that the answer has the closing tag only.
    if not text.startswith("{"):
        *before, text = _CLOSING.split(text)
        thoughts += "".join(before)
        if _OPENING.match(text):  # cut off before the closing tag
            thoughts, text = thoughts + text, ""
    return thoughts, text.strip()


def _more_tokens(asked: Asked, is_full: bool) -> str:
    """Say what to do about reasoning that was cut off."""
    name, value = ("num_ctx", asked.num_ctx) if is_full else ("num_predict", asked.num_predict)
    more = f"raise `{name}` (now {value}), for example to {max(_TOKENS_TO_REASON, 4 * value)}"
    if asked.think is False:
        return (
            f'it reasons although `think=False` was sent, so {more}, pass `think="low"` if the '
            "model has levels, or choose a model that answers without reasoning"
        )
    return f"{_less_reasoning(asked)}, or {more}"


def _less_reasoning(asked: Asked) -> str:
    """Say what to do about a model that ended after its reasoning."""
    if asked.think is False:
        return "pass `think=None`, or choose a model that answers without reasoning"
    if asked.think == "low":  # models with levels always reason
        return "choose a model that answers without reasoning"
    return 'pass `think="low"`' if isinstance(asked.think, str) else "pass `think=False`"


def _ignored_schema(text: str, asked: Asked) -> str:
    """Describe an answer that was not constrained because ``think=False`` was sent.

    Ollama applies the schema after the reasoning of some models (gemma4, qwen3.5), so it never
    does if they do not reason. An answer with an object in it can still be read.
    """
    tokens = f" and `num_predict={_TOKENS_TO_REASON}`"
    return (
        f"answered {text[:_MAX_QUOTED]!r} instead of JSON, because Ollama ignores the schema for "
        "some reasoning models after `think=False`: pass `think=None`"
        f"{tokens if asked.num_predict < _TOKENS_TO_REASON else ''}, or choose another model"
    )


def _has_object(text: str) -> bool:
    """Return whether a JSON object is somewhere in ``text``, also as a quoted text."""
    decoder = json.JSONDecoder()
    for version in (text, text.replace('\\"', '"')):
        for brace in islice(re.finditer("{", version), _MAX_BRACES):
            try:
                decoder.raw_decode(version, brace.start())
            except (ValueError, RecursionError):
                continue
            return True
    return False

"""messages + JSON schema -> text, by a server that speaks OpenAI's protocol: vLLM, llama.cpp,
LM Studio and others.

All three hold an answer to ``response_format={"type": "json_schema", ...}``. ``json_object`` is
not used: LM Studio refuses it, and it says nothing of the keys. A server that refuses schemas
(status 400 or 422: older ones, and any that cannot compile this very schema) is asked once more
without, the schema written into the conversation.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING
from typing import Any

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm.http import Tries
from optuna_metallmix.llm.openai_server import DEFAULT_URL
from optuna_metallmix.llm.openai_server import check_client
from optuna_metallmix.llm.openai_server import checked_url
from optuna_metallmix.llm.openai_server import client_errors
from optuna_metallmix.llm.openai_server import is_passing
from optuna_metallmix.llm.openai_server import never_connected
from optuna_metallmix.llm.openai_server import open_client
from optuna_metallmix.llm.openai_server import read_spec
from optuna_metallmix.llm.openai_server import refusal_of
from optuna_metallmix.llm.openai_server import served_models
from optuna_metallmix.llm.openai_server import why_no_answer
from optuna_metallmix.llm.openai_server import why_not_openai
from optuna_metallmix.llm.protocol import Message
from optuna_metallmix.llm.protocol import Usage
from optuna_metallmix.progress import waiting


if TYPE_CHECKING:
    import openai

_SCHEMA_NAME = "answer"

_TOLD = "\n\nThe JSON object follows this JSON schema: "


class OpenAILLM:
    """A model of an OpenAI-compatible server, its answers constrained to the schema.

    Holds settings only, so that it can be pickled and shared between threads; every call opens and
    closes its own connection. A key is read from the variable ``OPENAI_API_KEY`` at each call and
    kept nowhere. A server that is starting (status 503) or breaks off is asked twice more.

    Attributes:
        name: What trials and notes call the model.
        base_url: The server's address.
        last_usage: What the most recent answer cost; None before the first.
        is_constrained: Whether the server took the schema for the most recent answer; None before
            the first.
    """

    def __init__(
        self,
        model: str,
        base_url: str = DEFAULT_URL,
        *,
        timeout: float = 120.0,
        max_tokens: int = 1024,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Take the settings; nothing is sent yet.

        Args:
            model: As the server lists it.
            base_url: The address that the server prints; ``/v1`` is added where it has no path.
            timeout: Seconds to wait for an answer, above 0.
            max_tokens: Tokens of an answer, at least 1; a longer answer is an error.
            temperature: At least 0.
            seed: Of the sampling.

        Raises:
            LLMError: The ``openai`` client is not installed.
            ValueError: The model has no name, the address is none, or a number is out of its
                range.
        """
        if not model.strip():
            raise ValueError("model is the name of a model, as the server lists it.")
        if not (timeout > 0 and max_tokens >= 1 and temperature >= 0):
            raise ValueError("timeout is above 0, max_tokens at least 1, temperature at least 0.")
        check_client()
        self.model = model.strip()
        self.base_url = checked_url(base_url)
        self.timeout = timeout
        self.max_tokens = max_tokens
        self.temperature = temperature
        self.seed = seed
        self.last_usage: Usage | None = None
        self.is_constrained: bool | None = None

    @property
    def name(self) -> str:
        """``openai:`` and the model's name."""
        return f"openai:{self.model}"

    def __repr__(self) -> str:
        return f"OpenAILLM({self.model!r}, {self.base_url!r})"

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> str:
        """Answer ``messages`` with one JSON document that ``schema`` describes.

        Raises:
            LLMError: The server or the model is absent, the time-out passed, the answer does not
                fit ``max_tokens``, or the server or the model refused.
        """
        started = time.perf_counter()
        try:
            with open_client(self.base_url, self.timeout) as client, waiting(self.name):
                completion, is_constrained = self._complete(client, messages, schema)
        except client_errors() as error:
            raise LLMError(self._why(error)) from error
        answer = self._answer(completion)
        self.is_constrained = is_constrained
        self.last_usage = _usage(completion, time.perf_counter() - started)
        return answer

    def _complete(
        self, client: openai.OpenAI, messages: Sequence[Message], schema: Mapping[str, Any]
    ) -> tuple[object, bool]:
        import openai

        tries = Tries(self.timeout)
        try:
            return tries.run(lambda _: self._ask(client, messages, schema), is_passing), True
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            # What else may be wrong with the request is told by its second refusal.
            told = _with_schema(messages, schema)
            return tries.run(lambda _: self._ask(client, told, None), is_passing), False

    def _ask(
        self,
        client: openai.OpenAI,
        messages: Sequence[Message],
        schema: Mapping[str, Any] | None,
    ) -> object:
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(message) for message in messages],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
        }
        if schema is not None:
            named = {"name": _SCHEMA_NAME, "schema": dict(schema), "strict": True}
            request["response_format"] = {"type": "json_schema", "json_schema": named}
        completion: object = client.chat.completions.create(**request)
        return completion

    def _answer(self, completion: object) -> str:
        # The client checks nothing of what it is sent.
        choices = getattr(completion, "choices", None)
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = getattr(choice, "message", None)
        if message is None:
            raise LLMError(why_not_openai(self.base_url))
        if refusal := getattr(message, "refusal", None):
            raise LLMError(f"{self._who()} refused ({refusal}): choose another model.")
        content = getattr(message, "content", None)
        if why := self._why_unfinished(choice, message, content):
            raise LLMError(why)
        return _document(str(content))

    def _why_unfinished(self, choice: object, message: object, content: object) -> str | None:
        ended = getattr(choice, "finish_reason", None)
        # Thoughts are put aside, under either name, where the server knows how the model thinks.
        thought = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", "")
        if ended == "length":
            spent = ", some of them on thoughts" if thought else ""
            return (
                f"{self._who()} was cut off{spent}: raise `max_tokens` (now {self.max_tokens}) or "
                "the context that the server was started with."
            )
        if ended == "content_filter":
            return f"{self._who()} was stopped by the server's filter: choose another model."
        if isinstance(content, str) and content.strip():
            return None
        if thought:
            return f"{self._who()} only thought: turn its thinking off where the server starts."
        return f"{self._who()} gave an empty answer: choose another model."

    def _who(self) -> str:
        return f"Model {self.model!r} at {self.base_url}"

    def _why(self, error: Exception) -> str:
        import openai

        if isinstance(error, openai.APIStatusError) and (missing := self._why_missing(error)):
            return missing
        timed_out = isinstance(error, openai.APITimeoutError)
        if timed_out and not never_connected(error):
            return (
                f"{self._who()} did not answer within {self.timeout:g} seconds: raise `timeout`, "
                "or choose a smaller model."
            )
        return why_no_answer(error, self.base_url)

    def _why_missing(self, error: openai.APIStatusError) -> str | None:
        # vLLM and Ollama answer 404, others 400, and all of them name the model.
        if error.status_code not in (400, 404) or self.model not in refusal_of(error):
            return None
        with suppress(LLMError):
            names = served_models(self.base_url)
            if self.model not in names:
                return (
                    f"The server at {self.base_url} has no model {self.model!r} (it lists: "
                    f"{', '.join(names) or 'none'}): name one of these, or start it with yours."
                )
        return None


def openai_model(spec: str) -> OpenAILLM:
    """Make the model that ``"openai:URL#MODEL"`` names; the server is asked where it names none.

    Raises:
        LLMError: As :class:`OpenAILLM` and :func:`first_model`.
        ValueError: As :func:`read_spec`.
    """
    base_url, model = read_spec(spec)
    return OpenAILLM(model or first_model(base_url), base_url)


def first_model(base_url: str) -> str:
    """Return the first model that the server lists; those named as embedding models come last.

    Raises:
        LLMError: As :func:`served_models`, or the server lists none.
    """
    names = served_models(base_url)
    if not names:
        raise LLMError(f"The server at {base_url} lists no model: load one there.")
    return min(names, key=lambda name: "embed" in name.lower())


def _with_schema(messages: Sequence[Message], schema: Mapping[str, Any]) -> list[Message]:
    """Write the schema where the model reads it last; roles stay as templates want them."""
    *earlier, last = messages
    content = last["content"] + _TOLD + json.dumps(schema, ensure_ascii=False)
    return [*earlier, {**last, "content": content}]


def _document(content: str) -> str:
    """Take an answer out of the thoughts, the prose or the fence that it may be wrapped in."""
    text = content.strip()
    if not text.startswith("{"):
        text = text.rpartition("</think>")[2]
        start, end = text.find("{"), text.rfind("}")
        text = text[start : end + 1] if 0 <= start < end else text
    return text.strip()


def _usage(completion: object, seconds: float) -> Usage:
    usage = getattr(completion, "usage", None)
    read = getattr(usage, "prompt_tokens", None)
    written = getattr(usage, "completion_tokens", None)
    return Usage(read, written, seconds)

"""Ask models of a server that speaks OpenAI's protocol: vLLM, llama.cpp, LM Studio and others.

The answer is constrained by ``response_format={"type": "json_schema", ...}``, which these three
support. ``json_object`` is not used: LM Studio refuses it, and it does not constrain the keys. If
a server refuses the schema (status 400 or 422: older servers, and those that cannot compile this
schema), it is asked again with the schema as text in the last message.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING
from typing import Any

import optuna

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm.http import retry
from optuna_metallmix.llm.openai_server import DEFAULT_URL
from optuna_metallmix.llm.openai_server import check_client
from optuna_metallmix.llm.openai_server import checked_url
from optuna_metallmix.llm.openai_server import client_errors
from optuna_metallmix.llm.openai_server import describe_failure
from optuna_metallmix.llm.openai_server import describe_not_openai
from optuna_metallmix.llm.openai_server import is_transient
from optuna_metallmix.llm.openai_server import is_unreachable
from optuna_metallmix.llm.openai_server import open_client
from optuna_metallmix.llm.openai_server import refusal_reason
from optuna_metallmix.llm.openai_server import served_models
from optuna_metallmix.llm.protocol import Message
from optuna_metallmix.llm.protocol import Usage


if TYPE_CHECKING:
    import openai

_logger = optuna.logging.get_logger("optuna.metallmix")

_SCHEMA_NAME = "answer"


class OpenAILLM:
    """A model of an OpenAI-compatible server, with answers constrained to the schema.

    The object only holds settings, so threads may share it and it can be pickled; every call
    opens and closes its own connection. The key is read from the variable ``OPENAI_API_KEY`` at
    each call and not stored. A server that is starting (status 503) or drops the connection is
    asked up to two more times.

    Attributes:
        name: ``openai:`` and the model's name, as shown in trials and notes.
        base_url: The server's address.
        last_usage: The cost of the most recent answer; None before the first.
        is_constrained: Whether the server accepted the schema for the most recent answer; None
            before the first.
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
        """Store the settings without sending a request.

        Args:
            model: The model's name, as the server lists it.
            base_url: The address that the server prints; ``/v1`` is added if it has no path.
            timeout: Seconds to wait for an answer, above 0.
            max_tokens: Maximum length of an answer in tokens, at least 1; a longer answer is an
                error.
            temperature: Sampling temperature, at least 0.
            seed: Sampling seed.

        Raises:
            LLMError: The ``openai`` client is not installed.
            ValueError: ``model`` is empty, ``base_url`` is not an address, or a number is out of
                its range.
        """
        if not model.strip():
            raise ValueError("`model` must be the name of a model, as the server lists it.")
        if not (timeout > 0 and max_tokens >= 1 and temperature >= 0):
            raise ValueError(
                "`timeout` must be above 0, `max_tokens` at least 1, and `temperature` at least 0."
            )
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
            LLMError: The server or the model is absent, the answer takes longer than ``timeout``
                or ``max_tokens`` allow, or the server or the model refuses.
        """
        started = time.perf_counter()
        _logger.info(f"Asking {self.name} (up to {self.timeout:g} s).")
        try:
            with open_client(self.base_url, self.timeout) as client:
                completion, is_constrained = self._complete(client, messages, schema)
        except client_errors() as error:
            raise LLMError(self._describe(error)) from error
        answer = self._answer(completion)
        self.is_constrained = is_constrained
        usage, seconds = getattr(completion, "usage", None), time.perf_counter() - started
        read = getattr(usage, "prompt_tokens", None)
        self.last_usage = Usage(read, getattr(usage, "completion_tokens", None), seconds)
        return answer

    def _complete(
        self, client: openai.OpenAI, messages: Sequence[Message], schema: Mapping[str, Any]
    ) -> tuple[object, bool]:
        import openai

        deadline = time.monotonic() + self.timeout
        named = {"name": _SCHEMA_NAME, "schema": dict(schema), "strict": True}
        constraint = {"type": "json_schema", "json_schema": named}
        try:
            return self._send(client, deadline, messages, response_format=constraint), True
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            # If the schema is not the reason, the second request is refused as well.
            return self._send(client, deadline, _with_schema(messages, schema)), False

    def _send(
        self,
        client: openai.OpenAI,
        deadline: float,
        messages: Sequence[Message],
        **constraint: object,
    ) -> object:
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [dict(message) for message in messages],
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            **constraint,
        }
        return retry(lambda _: client.chat.completions.create(**request), is_transient, deadline)

    def _answer(self, completion: object) -> str:
        # The client does not validate what the server sends.
        choices = getattr(completion, "choices", None)
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = getattr(choice, "message", None)
        if message is None:
            raise LLMError(describe_not_openai(self.base_url))
        if refusal := getattr(message, "refusal", None):
            raise LLMError(f"{self._subject} refused ({refusal}): choose another model.")
        content = getattr(message, "content", None)
        if problem := self._problem(choice, message, content):
            raise LLMError(f"{self._subject} {problem}.")
        return _extract_document(str(content))

    def _problem(self, choice: object, message: object, content: object) -> str | None:
        reason = getattr(choice, "finish_reason", None)
        # Servers that know the model's format return its thoughts under either name.
        thoughts = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", "")
        if reason == "length":
            return (
                f"was cut off{' while thinking' if thoughts and not content else ''}: raise "
                f"`max_tokens` (now {self.max_tokens}) or the server's context size"
            )
        if reason == "content_filter":
            return "was stopped by the server's filter: choose another model"
        if isinstance(content, str) and content.strip():
            return None
        if thoughts:
            return "only returned thoughts: disable thinking in the server's settings"
        return "gave an empty answer: choose another model"

    @property
    def _subject(self) -> str:
        return f"Model {self.model!r} at {self.base_url}"

    def _describe(self, error: Exception) -> str:
        import openai

        if isinstance(error, openai.APIStatusError) and (missing := self._why_missing(error)):
            return missing
        if isinstance(error, openai.APITimeoutError) and not is_unreachable(error):
            return (
                f"{self._subject} did not answer within {self.timeout:g} seconds: raise "
                "`timeout`, or choose a smaller model."
            )
        return describe_failure(error, self.base_url)

    def _why_missing(self, error: openai.APIStatusError) -> str | None:
        # vLLM and Ollama answer with status 404, others with 400; all of them name the model.
        if error.status_code not in (400, 404) or self.model not in refusal_reason(error):
            return None
        with suppress(LLMError):
            names = served_models(self.base_url)
            if self.model not in names:
                return (
                    f"The server at {self.base_url} has no model {self.model!r} (available: "
                    f"{', '.join(names) or 'none'}): choose one of these, or start the server "
                    "with yours."
                )
        return None


def openai_model(base_url: str, model: str | None) -> OpenAILLM:
    """Create a model by its name, or the first model that the server lists.

    Models with ``embed`` in their name are only used if there is no other.

    Raises:
        LLMError: As :class:`OpenAILLM` and :func:`served_models`, or the server lists no model.
    """
    if model is None:
        names = served_models(base_url)
        if not names:
            raise LLMError(f"The server at {base_url} lists no model: load a model there.")
        model = min(names, key=lambda name: "embed" in name.lower())
    return OpenAILLM(model, base_url)


def _with_schema(messages: Sequence[Message], schema: Mapping[str, Any]) -> list[Message]:
    # In the last message, because chat templates may refuse another message or another role.
    *earlier, last = messages
    text = json.dumps(schema, ensure_ascii=False)
    content = f"{last['content']}\n\nThe JSON object follows this JSON schema: {text}"
    return [*earlier, {**last, "content": content}]


def _extract_document(content: str) -> str:
    """Remove the thoughts, the prose or the code fence around an answer."""
    text = content.strip()
    if not text.startswith("{"):
        text = text.rpartition("</think>")[2]
        start, end = text.find("{"), text.rfind("}")
        text = text[start : end + 1] if 0 <= start < end else text
    return text.strip()

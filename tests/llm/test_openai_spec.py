"""How `llm="openai:URL#MODEL"` is parsed, and a real server that it names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING
from typing import Any

import pytest

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import INSTALL_COMMAND
from optuna_metallmix.llm import MODEL_VARIABLE
from optuna_metallmix.llm import EmbeddedLLM
from optuna_metallmix.llm import OpenAILLM
from optuna_metallmix.llm import check_spec
from optuna_metallmix.llm import is_embedded_installed
from optuna_metallmix.llm import resolve_llm


if TYPE_CHECKING:
    from conftest import FakeOllama

pytest.importorskip("openai")

NOWHERE = "http://127.0.0.1:1"


def resolved(spec: str | None) -> OpenAILLM:
    llm = resolve_llm(spec).llm
    assert isinstance(llm, OpenAILLM)
    return llm


@pytest.mark.parametrize(
    ("spec", "url"),
    [
        ("openai:#org/m:1", "http://localhost:8000/v1"),
        ("openai:http://127.0.0.1:1234/v1#org/m:1", "http://127.0.0.1:1234/v1"),
        ("openai:http://localhost:1234#org/m:1", "http://localhost:1234/v1"),
        ("openai:http://0.0.0.0:8080/#org/m:1", "http://127.0.0.1:8080/v1"),
        ("openai:http://[::1]:8080/v1/#org/m:1", "http://[::1]:8080/v1"),
        ("openai:https://gpu.example.org/api/v3/#org/m:1", "https://gpu.example.org/api/v3"),
    ],
)
def test_address_and_model_are_read_and_nobody_is_asked(spec: str, url: str) -> None:
    llm = resolved(spec)
    assert (llm.model, llm.base_url) == ("org/m:1", url)


@pytest.mark.parametrize(
    ("listed", "chosen"),
    [
        (["org/base", "adapter"], "org/base"),
        (["text-embedding-nomic", "qwen3-8b"], "qwen3-8b"),
        (["text-embedding-nomic"], "text-embedding-nomic"),
    ],
)
def test_first_model_is_taken_where_none_is_named(
    openai_server: FakeOllama, listed: list[str], chosen: str
) -> None:
    data = [{"id": name, "object": "model"} for name in listed]
    openai_server.reply("/v1/models", {"object": "list", "data": data})
    assert resolved(f"openai:http://{openai_server.host}/v1").model == chosen


def test_variable_may_name_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODEL_VARIABLE, "openai:http://localhost:1234/v1#m")
    check_spec(None)
    assert resolved(None).model == "m"


@pytest.mark.parametrize("models", [[], None, "no list"])
def test_server_without_models(openai_server: FakeOllama, models: object) -> None:
    openai_server.reply("/v1/models", {"object": "list", "data": models})
    with pytest.raises(LLMError, match=r"lists no model: load a model|does not have an OpenAI"):
        resolve_llm(f"openai:http://{openai_server.host}/v1")


@pytest.mark.parametrize("body", ["<html>hello</html>", '{"hello": 1}', "[1]", "null", "", "7"])
def test_list_of_models_that_is_something_else(openai_server: FakeOllama, body: str) -> None:
    openai_server.reply("/v1/models", body)
    with pytest.raises(LLMError, match="does not have an OpenAI-compatible API"):
        resolve_llm(f"openai:http://{openai_server.host}/v1")


def test_server_that_is_not_there_is_reported_by_the_question() -> None:
    check_spec(f"openai:{NOWHERE}")
    with pytest.raises(LLMError, match=f"No server answers at {NOWHERE}/v1: start it"):
        resolve_llm(f"openai:{NOWHERE}")
    MetaLLMiXSampler(llm=f"openai:{NOWHERE}")


@pytest.mark.parametrize(
    "spec", ["openai:gpt-5", "openai:localhost:8000", "openai:ftp://h/v1", "openai:http://:80/v1"]
)
def test_string_that_is_no_address(spec: str) -> None:
    with pytest.raises(
        ValueError, match=r"^llm: '.*' is not the address .*must start with http://"
    ):
        check_spec(spec)
    with pytest.raises(ValueError, match="is not the address"):
        MetaLLMiXSampler(llm=spec)


@pytest.mark.parametrize(
    "spec", ["openai:http://me:s3cret@host/v1#m", "openai:http://host/v1?api_key=s3cret#m"]
)
def test_secret_in_an_address_is_refused_and_not_quoted(spec: str) -> None:
    with pytest.raises(ValueError, match="set a key in the variable OPENAI_API_KEY") as caught:
        check_spec(spec)
    assert "s3cret" not in str(caught.value)


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "reasoning": {"type": "string", "maxLength": 40},
        "optimizer": {"type": "string", "enum": ["sgd", "adam"]},
        "candidate": {"type": "integer", "enum": [1, 2, 3]},
    },
    "required": ["reasoning", "optimizer", "candidate"],
    "additionalProperties": False,
}
MESSAGES = [
    {"role": "system", "content": "You answer in JSON."},
    {"role": "user", "content": "Choose one of three candidates for training."},
]


@pytest.fixture(scope="module")
def real_server() -> Iterator[tuple[str, str]]:
    """llama.cpp's own HTTP server with the packaged model: its address and its key."""
    if not is_embedded_installed():
        pytest.skip(f"run {INSTALL_COMMAND}")
    xllamacpp = pytest.importorskip("xllamacpp")
    params = EmbeddedLLM(n_ctx=1024)._params(xllamacpp)
    (key,) = params.api_keys
    server = xllamacpp.Server(params)
    yield server.listening_address, key
    del server


@pytest.mark.model
@pytest.mark.slow
def test_real_server_answers_within_the_schema(
    real_server: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, key = real_server
    monkeypatch.setenv("OPENAI_API_KEY", key)
    llm = resolved(f"openai:{url}")
    assert llm.model in llm.name
    document = json.loads(llm.generate(MESSAGES, schema=SCHEMA))
    assert list(document) == SCHEMA["required"]
    assert document["optimizer"] in ("sgd", "adam")
    assert document["candidate"] in (1, 2, 3)
    assert llm.is_constrained is True
    assert llm.last_usage is not None
    assert (llm.last_usage.prompt_tokens or 0) > 10
    assert (llm.last_usage.answer_tokens or 0) > 10


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.parametrize("key", ["", "sk-another"])
def test_real_server_wants_its_key(
    real_server: tuple[str, str], monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    llm = OpenAILLM("m", real_server[0])
    with pytest.raises(LLMError, match=r"rejected the key \(.*\): set OPENAI_API_KEY to"):
        llm.generate(MESSAGES, schema=SCHEMA)


@pytest.mark.model
@pytest.mark.slow
def test_real_server_refuses_what_does_not_fit(
    real_server: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, key = real_server
    monkeypatch.setenv("OPENAI_API_KEY", key)
    long = [{"role": "user", "content": "word " * 2_000}]
    with pytest.raises(LLMError, match=r"does not fit the model at .*longer context"):
        OpenAILLM("m", url).generate(long, schema=SCHEMA)
    with pytest.raises(LLMError, match=r"was cut off: raise `max_tokens` \(now 3\)"):
        OpenAILLM("m", url, max_tokens=3).generate(MESSAGES, schema=SCHEMA)

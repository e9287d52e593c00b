"""Which server is asked, which headers are sent, and which secrets are never shown."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

import pytest
from ollama._client import _parse_host

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import InstalledModel
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import installed_models
from optuna_metallmix.llm.ollama.server import server_address


if TYPE_CHECKING:
    from conftest import FakeOllama


SECRET = "tok-0123456789"
HEADERS = {"Authorization": f"Bearer {SECRET}", "X-Team": "vision"}
QUESTION = [{"role": "user", "content": "Describe Paris as JSON."}]
GOOD = {"message": {"role": "assistant", "content": "{}"}, "done": True, "done_reason": "stop"}


def ask(llm: OllamaLLM) -> str:
    return llm.generate(QUESTION, schema={})


@pytest.mark.parametrize("scheme", ["", "http://", "https://"])
@pytest.mark.parametrize("name", ["1.2.3.4", "example.com", "localhost", "[1:2::1]", "[::1]"])
@pytest.mark.parametrize("port", ["", ":56789"])
@pytest.mark.parametrize("path", ["", "/", "/path", "/path/", "/a/b"])
def test_every_form_of_a_host_is_understood_as_by_the_client(
    scheme: str, name: str, port: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = f"{scheme}{name}{port}{path}"
    monkeypatch.setenv("OLLAMA_HOST", host)
    assert server_address(None) == _parse_host(host)
    assert OllamaLLM("m").host == server_address(host)
    assert server_address(server_address(host)) == server_address(host)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        (None, "http://127.0.0.1:11434"),
        ("", "http://127.0.0.1:11434"),
        (":56789", "http://127.0.0.1:56789"),
        ("http://1.2.3.4", "http://1.2.3.4:80"),
        ("https://example.com", "https://example.com:443"),
        ("HTTPS://example.com", "https://example.com:443"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("[::]:8080", "http://[::1]:8080"),
        ("::1", "http://[::1]:11434"),
        ("::", "http://[::1]:11434"),
        (' "1.2.3.4" ', "http://1.2.3.4:11434"),
        ("http://me:secret@1.2.3.4:5", "http://1.2.3.4:5"),
    ],
)
def test_host_that_a_person_or_a_server_writes(host: str | None, address: str) -> None:
    assert server_address(host) == address


@pytest.mark.parametrize("host", ["http://[::", "host:port", "1.2.3.4:99999999", "tcp://1.2.3.4"])
def test_host_that_is_no_address(host: str) -> None:
    with pytest.raises(LLMError, match="is not the address of an Ollama server"):
        OllamaLLM("m", host=host)


def test_password_in_a_host_is_not_shown() -> None:
    with pytest.raises(LLMError) as caught:
        server_address(f"http://me:{SECRET}@host:port")
    assert SECRET not in str(caught.value)


def test_headers_go_with_every_request(ollama_server: FakeOllama) -> None:
    ollama_server.reply("/api/chat", GOOD)
    ollama_server.reply("/api/tags", {"models": []})
    ollama_server.reply("/api/ps", {"models": []})
    with OllamaLLM("m", headers=HEADERS) as llm:
        ask(llm)
    installed_models(headers=HEADERS)
    assert {path for path, _ in ollama_server.requests} == {
        *("/api/show", "/api/chat", "/api/ps", "/api/tags")
    }
    for headers in ollama_server.headers:
        assert headers["authorization"] == f"Bearer {SECRET}"
        assert headers["x-team"] == "vision"


def test_headers_are_not_shown(ollama_server: FakeOllama) -> None:
    ollama_server.reply("/api/chat", {"error": f"no such token: {SECRET}"}, 401)
    llm = pickle.loads(pickle.dumps(OllamaLLM("m", headers=HEADERS)))
    with pytest.raises(LLMError, match=r"no such token: \*\*\*\): pass `headers`") as caught:
        ask(llm)
    for text in (repr(llm), str(vars(llm)), str(caught.value)):
        assert SECRET not in text
        assert "vision" not in text
    assert ollama_server.headers[-1]["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("name", ["Author ization", "X:", "", "X\n"])
def test_header_name_that_cannot_be_sent(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        OllamaLLM("m", headers={name: "x"})


@pytest.mark.parametrize("value", [f"{SECRET}\nX: y", f"{SECRET}é"])
def test_header_value_that_cannot_be_sent(value: str) -> None:
    with pytest.raises(ValueError, match="The header 'X' cannot be sent") as caught:
        OllamaLLM("m", headers={"X": value})
    assert SECRET not in str(caught.value)


def test_line_feed_at_the_end_of_a_header_is_forgiven(ollama_server: FakeOllama) -> None:
    ollama_server.reply("/api/chat", GOOD)
    assert ask(OllamaLLM("m", headers={"X": f"{SECRET}\n"}))
    assert ollama_server.headers[-1]["x"] == SECRET


@pytest.mark.parametrize("key", [f"{SECRET}é", f"{SECRET}\t", f" {SECRET}\x7f"])
def test_key_that_cannot_be_sent(
    ollama_server: FakeOllama, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", key)
    llm = OllamaLLM("m", num_ctx=4096)
    with pytest.raises(LLMError, match=r"cannot be sent: check .*OLLAMA_API_KEY") as caught:
        ask(llm)
    llm.close()
    assert SECRET not in str(caught.value)


def test_proxy_does_not_hijack_loopback(
    ollama_server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    ollama_server.reply("/api/chat", GOOD)
    assert ask(OllamaLLM("m"))


def test_proxy_is_used_for_another_machine(
    ollama_server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{ollama_server.host}")
    ollama_server.reply("http://gpu.example:11434/api/chat", GOOD)
    assert ask(OllamaLLM("m", host="gpu.example"))


@pytest.mark.parametrize("status", [301, 307])
def test_redirect_is_not_followed(ollama_server: FakeOllama, status: int) -> None:
    ollama_server.reply("/api/chat", "Moved", status)
    with pytest.raises(LLMError, match=rf"status {status} .*OLLAMA_HOST to the address that it"):
        ask(OllamaLLM("m"))


@pytest.mark.parametrize("body", ["<html>hello</html>", '{"hello": 1}', "[1]", '"oh"', "7", ""])
@pytest.mark.parametrize("status", [200, 500])
def test_something_else_than_ollama(ollama_server: FakeOllama, body: str, status: int) -> None:
    for path in ("/api/chat", "/api/show", "/api/tags"):
        ollama_server.reply(path, body, status)
    expected = "is not Ollama: set OLLAMA_HOST|failed with status 500"
    with pytest.raises(LLMError, match=expected):
        ask(OllamaLLM("m"))
    with pytest.raises(LLMError, match=expected):
        installed_models()


@pytest.mark.shared
def test_installed_models_are_listed_with_their_capabilities(
    play: Callable[[str], dict[str, Any]], ollama_server: FakeOllama, release: str
) -> None:
    (listed,) = play("02_list")["response"]["body"]["models"]
    play("03_show")
    (model,) = installed_models(details=True)
    assert model == InstalledModel(
        "smollm2:135m", listed["size"], 8192, ("completion",), n_parameters=134_520_000
    )
    # The newer release lists it; of the older each model has to be asked about.
    assert len(ollama_server.all_sent("/api/show")) == (release == "v0.24.0")
    assert [model.name for model in installed_models()] == ["smollm2:135m"]

"""A question to this machine goes through no proxy, however the machine is written."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
from fake_ollama import FakeOllama

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import OpenAILLM
from optuna_metallmix.llm import installed_models
from optuna_metallmix.llm.http import is_loopback
from optuna_metallmix.llm.ollama.server import server_at


QUESTION = [{"role": "user", "content": "Hm?"}]
ANSWER = {
    "done": True,
    "done_reason": "stop",
    "message": {"role": "assistant", "content": "{}"},
    "choices": [{"message": {"content": "{}"}, "finish_reason": "stop"}],
    "models": [],
    "version": "1.0",
}
REACHABLE = [
    *("127.0.0.1", "127.1", "127.0.1", "0x7f.1", "0x7F000001", "2130706433", "017700000001"),
    *("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "0", "localhost", "LOCALHOST"),
]
"""Hosts at which sockets reach a server on 127.0.0.1."""


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeOllama]:
    """A proxy for everything, which answers whatever passes through it."""
    server = FakeOllama()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{server.host}")
        monkeypatch.setenv(name.lower(), f"http://{server.host}")
    yield server
    server.close()


def models(host: str, port: str) -> list[LLM]:
    pytest.importorskip("openai")
    return [OllamaLLM("m", host=f"{host}:{port}"), OpenAILLM("m", f"http://{host}:{port}/v1")]


@pytest.mark.parametrize("host", REACHABLE)
def test_no_proxy_sees_a_question_to_this_machine(
    openai_server: FakeOllama, proxy: FakeOllama, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-this-test")
    port = openai_server.host.rpartition(":")[2]
    for path in ("/api/chat", "/api/tags", "/api/version", "/v1/chat/completions"):
        openai_server.reply(path, ANSWER)
    for llm in models(host, port):
        assert llm.generate(QUESTION, schema={}) == "{}"
    assert OllamaLLM("m", host=f"{host}:{port}").build == "ollama 1.0"
    installed_models(f"{host}:{port}")
    assert len(openai_server.requests) >= 4
    assert proxy.requests == []


@pytest.mark.parametrize("host", ["localhost.", "Localhost.", "a.localhost", "[::1]"])
def test_no_proxy_is_asked_instead_of_this_machine(proxy: FakeOllama, host: str) -> None:
    """Whether a server listens there and the name is known depends on the machine."""
    for llm in models(host, "1"):
        with suppress(LLMError):
            llm.generate(QUESTION, schema={})
    assert proxy.requests == []


@pytest.mark.parametrize(
    "host",
    [*REACHABLE, "localhost.",
     "127.255.255.254", "::1", "[::1]", "0:0:0:0:0:0:0:1", "::", "::ffff:127.3.2.1",
     "ollama.localhost", "localhost.."],
)  # fmt: skip
def test_addresses_of_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["128.0.0.1", "10.1", "0x80.1", "2147483648", "::2", "::ffff:10.0.0.1", "fe80::1", "",
     "localhost.evil.example", "127.0.0.1.evil.example", "notlocalhost", "1", "127.0.0.1.5"],
)  # fmt: skip
def test_addresses_of_other_machines(host: str) -> None:
    assert not is_loopback(host)


def test_a_name_of_this_machine_is_looked_up_if_there_is_a_proxy(
    monkeypatch: pytest.MonkeyPatch, proxy: FakeOllama
) -> None:
    """As the hosts file names it; whatever the name of the machine that runs this test is."""
    known = {"workstation": ["127.0.1.1", "::1"], "both": ["127.0.0.1", "192.0.2.1"]}

    def look_up(name: str, port: object, *options: object) -> list[tuple[object, ...]]:
        if name not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(0, 0, 0, "", (address, 0)) for address in known[name]]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert is_loopback("workstation")
    assert server_at("workstation").is_local
    assert not is_loopback("both")  # the client may take either
    assert not is_loopback("gpu.example")


def test_no_name_is_looked_up_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("a name was looked up"))
    assert not is_loopback("gpu.example")

"""What is known of a model before it is asked: its size, and whether it is there at all."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

import pytest

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import installed_models


if TYPE_CHECKING:
    from conftest import FakeOllama


GOOD = {"message": {"role": "assistant", "content": "{}"}, "done": True, "done_reason": "stop"}
QUESTION = [{"role": "user", "content": "Hm?"}]
NOWHERE = "127.0.0.1:1"


def show(server: FakeOllama, count: object = None, size: object = None, status: int = 200) -> None:
    info = {"general.architecture": "llama", "general.parameter_count": count}
    body = {"model_info": info, "details": {"parameter_size": size}}
    server.reply("/api/show", body, status)


@pytest.mark.shared
def test_recorded_number_of_parameters(play: Callable[[str], dict[str, Any]]) -> None:
    play("03_show")
    assert OllamaLLM("smollm2:135m").n_parameters == 134_515_008


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (3_212_749_888, "3.2B", 3_212_749_888),
        (None, "999.89M", 999_890_000),
        (None, "8.0B", 8_000_000_000),
        (None, "8x7B", 56_000_000_000),
        (0, "1.5B", 1_500_000_000),
        ("many", "751.63m", 751_630_000),
        (None, "", None),
        (None, "unknown", None),
        (None, "0B", None),
        (None, None, None),
    ],
)
def test_number_of_parameters_as_servers_report_it(
    ollama_server: FakeOllama, count: object, size: object, expected: int | None
) -> None:
    show(ollama_server, count, size)
    assert OllamaLLM("m").n_parameters == expected


def test_details_are_asked_for_once(ollama_server: FakeOllama) -> None:
    show(ollama_server, 7 * 10**9)
    ollama_server.reply("/api/chat", GOOD)
    llm = OllamaLLM("m")
    assert ollama_server.requests == []
    llm.generate(QUESTION, schema={})
    assert llm.n_parameters == pickle.loads(pickle.dumps(llm)).n_parameters == 7 * 10**9
    assert len(ollama_server.all_sent("/api/show")) == 1


def test_unknown_details_are_asked_for_again(ollama_server: FakeOllama) -> None:
    llm = OllamaLLM("m")
    assert llm.n_parameters is None
    show(ollama_server, 7 * 10**9)
    assert llm.n_parameters == 7 * 10**9


@pytest.mark.parametrize(
    "body", ["<html>", "[1]", "{}", '{"model_info": null}', '{"model_info": 1}']
)
def test_details_of_something_else_than_ollama(ollama_server: FakeOllama, body: str) -> None:
    ollama_server.reply("/api/show", body)
    assert OllamaLLM("m").n_parameters is None


def test_absent_or_silent_server_has_no_details(ollama_server: FakeOllama) -> None:
    assert OllamaLLM("m", host=NOWHERE).n_parameters is None
    ollama_server.silent = True
    assert OllamaLLM("m", timeout=0.05).n_parameters is None


def test_listed_models_have_their_number_of_parameters(ollama_server: FakeOllama) -> None:
    models = [
        {"model": name, "size": 10**9, "details": {"parameter_size": size}}
        for name, size in {"a": "1.5B", "b": "", "c": "494.03M"}.items()
    ]
    ollama_server.reply("/api/tags", {"models": models})
    show(ollama_server, 3 * 10**9)
    assert [model.n_parameters for model in installed_models()] == [15 * 10**8, None, 494_030_000]
    detailed = installed_models(details=True)
    assert [model.n_parameters for model in detailed] == [15 * 10**8, 3 * 10**9, 494_030_000]


def test_model_that_is_there_is_available(ollama_server: FakeOllama) -> None:
    show(ollama_server, 10**9)
    OllamaLLM("m").check_available()
    assert [path for path, _ in ollama_server.requests] == ["/api/show"]


def test_missing_model_is_not_available(ollama_server: FakeOllama) -> None:
    ollama_server.reply("/api/show", {"error": "model 'm:1b' not found"}, 404)
    ollama_server.reply("/api/tags", {"models": [{"model": "n:1b", "size": 10**9}]})
    with pytest.raises(LLMError, match=r"no model 'm:1b' \(installed: n:1b\): run `ollama pull m"):
        OllamaLLM("m:1b").check_available()


def test_absent_server_is_named_with_what_to_start() -> None:
    expected = f"No Ollama server answers at http://{NOWHERE}: start it with `ollama serve`"
    with pytest.raises(LLMError, match=expected):
        OllamaLLM("m", host=NOWHERE).check_available()


def test_silent_server_is_not_available(ollama_server: FakeOllama) -> None:
    ollama_server.silent = True
    with pytest.raises(LLMError, match=r"does not answer in time|did not answer within"):
        OllamaLLM("m", timeout=0.05).check_available()


@pytest.mark.parametrize("status", [404, 500])
def test_server_without_details_is_left_to_the_question(
    ollama_server: FakeOllama, status: int
) -> None:
    ollama_server.reply("/api/show", "page not found", status)
    OllamaLLM("m").check_available()


@pytest.mark.parametrize("status", [502, 504])
def test_proxy_in_front_of_a_server_that_is_not_running(
    ollama_server: FakeOllama, status: int
) -> None:
    ollama_server.reply("/api/chat", "<html>Bad Gateway</html>", status)
    with pytest.raises(LLMError, match="no answer from Ollama, start it with `ollama serve`"):
        OllamaLLM("m").generate(QUESTION, schema={})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1"),
        ("HTTP_PROXY", "nonsense://127.0.0.1:1"),
        ("SSL_CERT_FILE", "/no/such/file"),
        ("OLLAMA_HOST", "host:port"),
    ],
)
def test_environment_that_the_client_cannot_use(name: str, value: str) -> None:
    """The package `ollama` opens a client when it is imported, so it needs a new process."""
    code = (
        "from optuna_metallmix.llm import OllamaLLM\n"
        "from optuna_metallmix.errors import LLMError\n"
        f"llm = OllamaLLM('m', host='{NOWHERE}')\n"
        "assert llm.n_parameters is None and llm.build is None\n"
        "try:\n"
        "    llm.generate([{'role': 'user', 'content': 'Hm?'}], schema={})\n"
        "except LLMError as error:\n"
        "    print(error)\n"
        "llm.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, name: value},
    )
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert f"No Ollama server answers at http://{NOWHERE}" in done.stdout or name in done.stdout


@pytest.mark.parametrize("scheme", ["socks5", "nonsense"])
def test_proxy_that_cannot_be_used_for_another_machine(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:1")
    llm = OllamaLLM("m", host="gpu.example")
    for ask in (lambda: llm.generate(QUESTION, schema={}), llm.check_available):
        with pytest.raises(LLMError, match=r"http://gpu\.example.*: check the variables HTTP_P"):
            ask()
    assert llm.n_parameters is None

"""What a real server answered is what the backend hears; what it says is read on the wire."""

from __future__ import annotations

import json
import pickle
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

import pytest

from optuna_metallmix._errors import LLMError
from optuna_metallmix.llm import InstalledModel
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import installed_models
from optuna_metallmix.llm._ollama_server import server_address


if TYPE_CHECKING:
    from conftest import FakeOllama


Play = Callable[[str], dict[str, Any]]

MESSAGES = [{"role": "user", "content": "Describe Paris as JSON."}]
SCHEMA = {
    "type": "object",
    "properties": {"z": {"type": "string"}, "a": {"type": "number"}},
    "required": ["z", "a"],
}
GOOD = {
    "model": "m",
    "message": {"role": "assistant", "content": '{"z": "x", "a": 1}'},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 14,
    "eval_count": 9,
}


def ask(llm: OllamaLLM | None = None) -> str:
    return (llm or OllamaLLM("smollm2:135m")).generate(MESSAGES, schema=SCHEMA)


@pytest.mark.shared
@pytest.mark.parametrize("case", ["06_chat_schema", "06_chat_schema_rich"])
def test_answer_is_the_text_of_the_message(play: Play, case: str) -> None:
    recorded = play(case)["response"]["body"]
    llm = OllamaLLM("smollm2:135m")
    assert ask(llm) == recorded["message"]["content"]
    assert json.loads(ask(llm))
    assert llm.last_usage is not None
    assert llm.last_usage.prompt_tokens == recorded["prompt_eval_count"]
    assert llm.last_usage.answer_tokens == recorded["eval_count"]
    assert llm.last_usage.seconds > 0


@pytest.mark.shared
@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("10_missing_model_chat", r"has no model 'smollm2:135m'.*`ollama pull smollm2:135m`"),
        ("06_chat_schema_cut_by_num_predict", r"cut off after 6 tokens: raise `num_predict`"),
        ("19_repetition_nonstream", r"stopped in mid-answer"),
        ("14_overflow_truncate_false", r"does not fit .*num_ctx=8192 .*raise `num_ctx`"),
        ("14_overflow_default", r"gave an empty answer: choose another model"),
        (
            "11_format_bad_ref",
            r"refused with status \d00 \(.*(cannot resolve|invalid JSON schema)",
        ),
        ("11_format_type_nonsense", r"refused with status \d00"),
        ("10_cloud_model", r"refused with status 403 \(ollama cloud is disabled"),
        ("13_keep_alive_bad", r"refused with status 400 \(time: missing unit"),
        ("13_unknown_path", r"refused with status 404 \(404 page not found\)"),
    ],
)
def test_recorded_failure_is_one_sentence(
    play: Play, ollama_server: FakeOllama, case: str, sentence: str
) -> None:
    response = play(case)["response"]
    # The recorded refusals name the model that was asked for then.
    text = response["body_raw"].replace("nosuch:1b", "smollm2:135m")
    ollama_server.reply("/api/chat", text, response["status"])
    with pytest.raises(LLMError, match=sentence) as caught:
        ask()
    assert "\n" not in str(caught.value)
    assert '{"' not in str(caught.value)
    assert ollama_server.host in str(caught.value)


@pytest.mark.shared
def test_missing_model_is_told_beside_the_installed_ones(play: Play) -> None:
    play("02_list")
    play("10_missing_model_chat")
    with pytest.raises(LLMError, match=r"'nosuch:1b' \(installed: smollm2:135m\)"):
        ask(OllamaLLM("nosuch:1b"))


@pytest.mark.shared
def test_truncated_prompt_of_an_old_server_is_found_by_its_count(play: Play) -> None:
    count = play("14_overflow_default")["response"]["body"]["prompt_eval_count"]
    with pytest.raises(LLMError, match=f"{count} tokens read"):
        ask(OllamaLLM("smollm2:135m", num_ctx=count))


@pytest.mark.shared
def test_installed_models_are_names_and_sizes(play: Play) -> None:
    (listed,) = play("02_list")["response"]["body"]["models"]
    assert installed_models() == [InstalledModel("smollm2:135m", listed["size"])]


def test_request_says_everything(ollama_server: FakeOllama) -> None:
    ollama_server.reply("/api/chat", GOOD)
    ask()
    sent = ollama_server.sent()
    assert sent["model"] == "smollm2:135m"
    assert sent["messages"] == MESSAGES
    assert sent["format"] == SCHEMA
    assert list(sent["format"]["properties"]) == ["z", "a"]
    assert sent["stream"] is False
    assert sent["truncate"] is False
    assert sent["think"] is False
    assert sent["keep_alive"] == 0
    options = {"num_ctx": 8192, "num_predict": 1024, "temperature": 0.0, "seed": 0}
    assert sent["options"] == options


def test_request_says_what_was_asked_for(ollama_server: FakeOllama) -> None:
    ollama_server.reply("/api/chat", GOOD)
    ask(OllamaLLM("m", keep_alive="5m", num_ctx=99, num_predict=7, seed=3, think="low"))
    sent = ollama_server.sent()
    assert (sent["keep_alive"], sent["think"]) == ("5m", "low")
    assert sent["options"]["num_ctx"] == 99
    assert sent["options"]["num_predict"] == 7
    assert sent["options"]["seed"] == 3


def test_proxy_does_not_hijack_loopback(
    ollama_server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    ollama_server.reply("/api/chat", GOOD)
    assert ask()


def test_absent_server() -> None:
    host = f"127.0.0.1:{free_port()}"
    with pytest.raises(LLMError, match=f"No Ollama server answers at http://{host}: start it"):
        ask(OllamaLLM("m", host=host))
    with pytest.raises(LLMError, match="No Ollama server answers"):
        installed_models(host)


def test_silent_server(ollama_server: FakeOllama) -> None:
    ollama_server.silent = True
    with pytest.raises(LLMError, match=r"'m' .* did not answer within 0\.05 seconds: raise `time"):
        ask(OllamaLLM("m", timeout=0.05))


def test_dropped_connection(ollama_server: FakeOllama) -> None:
    ollama_server.drop("/api/chat")
    with pytest.raises(LLMError, match=r"broke off \(Server disconnected"):
        ask()


def test_busy_server(ollama_server: FakeOllama) -> None:
    ollama_server.reply("/api/chat", {"error": "server busy, please try again."}, 503)
    with pytest.raises(LLMError, match=r"is busy \(server busy.*try again"):
        ask()


@pytest.mark.parametrize("error", ["oh", {"message": "oh"}, '{"error":{"message":"o\\nh"}}'])
def test_reason_is_unwrapped(ollama_server: FakeOllama, error: object) -> None:
    ollama_server.reply("/api/chat", {"error": error}, 500)
    with pytest.raises(LLMError, match=r"refused with status 500 \((oh|o h)\): see"):
        ask()


@pytest.mark.parametrize("body", ["<html>hello</html>", '{"hello": 1}'])
def test_something_else_than_ollama(ollama_server: FakeOllama, body: str) -> None:
    ollama_server.reply("/api/chat", body)
    with pytest.raises(LLMError, match="is not Ollama: set OLLAMA_HOST"):
        ask()


@pytest.mark.parametrize(
    ("host", "address"),
    [
        (None, "http://127.0.0.1:11434"),
        ("", "http://127.0.0.1:11434"),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        (":56789", "http://127.0.0.1:56789"),
        ("http://1.2.3.4", "http://1.2.3.4:80"),
        ("https://example.com", "https://example.com:443"),
        ("https://example.com:56789/path/", "https://example.com:56789/path"),
        ("example.com/", "http://example.com:11434"),
        ("[0001:002:003:0004::1]:56789", "http://[0001:002:003:0004::1]:56789"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
    ],
)
def test_host_is_completed_as_the_client_does(
    host: str | None, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server_address(host) == address
    monkeypatch.setenv("OLLAMA_HOST", host or "")
    assert OllamaLLM("m").host == address


@pytest.mark.parametrize("host", ["http://[::", "host:port", "1.2.3.4:99999999"])
def test_host_that_is_no_address(host: str) -> None:
    with pytest.raises(LLMError, match="is not the address of an Ollama server"):
        OllamaLLM("m", host=host)


@pytest.mark.parametrize(
    "settings", [{"timeout": 0}, {"num_ctx": 0}, {"num_predict": 0}, {"temperature": -1}]
)
def test_number_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="timeout is above 0"):
        OllamaLLM("m", **settings)


def test_model_without_a_name() -> None:
    with pytest.raises(ValueError, match="name of an Ollama model"):
        OllamaLLM(" ")


def test_pickled_copy_is_the_same_model(ollama_server: FakeOllama) -> None:
    ollama_server.reply("/api/chat", GOOD)
    llm = pickle.loads(pickle.dumps(OllamaLLM("qwen3:8b")))
    assert llm.name == "ollama:qwen3:8b"
    assert ask(llm)


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])

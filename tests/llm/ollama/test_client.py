"""Requests are checked as the server receives them, and answers are those of real servers."""

from __future__ import annotations

import json
import os
import pickle
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

import pytest

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import installed_models


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
        ("19_repetition_nonstream", r"stopped in the middle of its answer"),
        (
            "14_overflow_truncate_false",
            r"does not fit .*num_ctx=\d+ \(it has .* tokens.*raise `num_ctx`",
        ),
        ("14_overflow_default", r"gave an empty answer: choose another model"),
        (
            "11_format_bad_ref",
            r"failed with status \d00 \(.*(cannot resolve|invalid JSON schema)",
        ),
        ("11_format_type_nonsense", r"failed with status \d00"),
        ("10_cloud_model", r"failed with status 403 \(ollama cloud is disabled"),
        ("13_keep_alive_bad", r"failed with status 400 \(time: missing unit"),
        ("13_unknown_path", r"failed with status 404 \(404 page not found\)"),
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
def test_missing_model_is_reported_with_the_installed_models(play: Play) -> None:
    play("02_list")
    play("10_missing_model_chat")
    with pytest.raises(LLMError, match=r"'nosuch:1b' \(installed: smollm2:135m\)"):
        ask(OllamaLLM("nosuch:1b"))


@pytest.mark.shared
def test_truncated_prompt_of_an_old_server_is_found_by_its_count(play: Play) -> None:
    count = play("14_overflow_default")["response"]["body"]["prompt_eval_count"]
    with pytest.raises(LLMError, match=f"{count} prompt tokens read"):
        ask(OllamaLLM("smollm2:135m", num_ctx=count))


def test_request_is_complete(ollama_server: FakeOllama, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
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
    assert sent["keep_alive"] == 60
    assert sent["options"] == {
        "num_ctx": 4096,
        "num_thread": 3,
        "num_predict": 1024,
        "temperature": 0.0,
        "seed": 0,
    }


def test_request_contains_the_settings(ollama_server: FakeOllama) -> None:
    ollama_server.reply("/api/chat", GOOD)
    ask(OllamaLLM("m", keep_alive="5m", num_ctx=99, num_predict=7, seed=3, think="low"))
    sent = ollama_server.sent()
    assert (sent["keep_alive"], sent["think"]) == ("5m", "low")
    assert sent["options"]["num_ctx"] == 99
    assert sent["options"]["num_predict"] == 7
    assert sent["options"]["seed"] == 3


@pytest.mark.parametrize(("n_cores", "n_threads"), [(1, 1), (2, 1), (16, 8), (None, 1)])
def test_half_of_the_cores_of_this_machine_are_used(
    ollama_server: FakeOllama,
    monkeypatch: pytest.MonkeyPatch,
    n_cores: int | None,
    n_threads: int,
) -> None:
    ollama_server.reply("/api/chat", GOOD)
    llm = OllamaLLM("m")
    for now in (n_cores, n_cores):
        monkeypatch.setattr(os, "cpu_count", lambda now=now: now)
        ask(llm)
    asked = [body["options"]["num_thread"] for body in ollama_server.all_sent()]
    assert asked == [n_threads, n_threads]


@pytest.mark.parametrize(("num_thread", "sent"), [(0, None), (5, 5)])
def test_number_of_threads_can_be_set(
    ollama_server: FakeOllama, num_thread: int, sent: int | None
) -> None:
    ollama_server.reply("/api/chat", GOOD)
    ask(OllamaLLM("m", num_thread=num_thread))
    assert ollama_server.sent()["options"].get("num_thread") == sent


def test_cores_of_another_machine_are_unknown(
    ollama_server: FakeOllama, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{ollama_server.host}")
    path = "http://gpu.example:11434/api/chat"
    ollama_server.reply(path, GOOD)
    ask(OllamaLLM("m", host="gpu.example"))
    assert "num_thread" not in ollama_server.sent(path)["options"]


def test_next_question_fits_into_the_same_context(ollama_server: FakeOllama) -> None:
    """A larger context reloads the model, so the first leaves room for the next question."""
    ollama_server.reply("/api/chat", GOOD)
    llm = OllamaLLM("m")
    question = {"role": "user", "content": "word " * 1_500}
    llm.generate([question], schema=SCHEMA)
    answer = {"role": "assistant", "content": "word " * 300}
    llm.generate([question, answer, {"role": "user", "content": "No. " * 80}], schema=SCHEMA)
    first, second = ollama_server.all_sent()
    assert first["options"] == second["options"]


def test_context_is_computed_from_prompt_and_answer(ollama_server: FakeOllama) -> None:
    ollama_server.reply("/api/chat", GOOD)
    question = [{"role": "user", "content": "word " * 3000}]
    OllamaLLM("m", num_predict=700).generate(question, schema=SCHEMA)
    assert ollama_server.sent()["options"]["num_ctx"] == 8192


@pytest.mark.shared
def test_context_is_never_above_the_model_s_own(play: Play, ollama_server: FakeOllama) -> None:
    play("03_show")
    ollama_server.reply("/api/chat", GOOD)
    llm = OllamaLLM("m", num_predict=700)
    for n_words in (10, 10_000, 10):
        llm.generate([{"role": "user", "content": "word " * n_words}], schema=SCHEMA)
    asked = [body["options"]["num_ctx"] for body in ollama_server.all_sent()]
    # It does not shrink while the model is loaded, for that would load it anew.
    assert asked == [4096, 8192, 8192]
    assert len(ollama_server.all_sent("/api/show")) == 1


@pytest.mark.shared
def test_context_grows_once_where_the_estimate_was_too_low(
    play: Play, ollama_server: FakeOllama, release: str
) -> None:
    play("03_show")
    refused = play("14_overflow_truncate_false")["response"]
    tokens = refused["body_raw"].replace("710", "5000")
    ollama_server.reply_in_turn("/api/chat", (400, tokens), (200, GOOD))
    assert ask()
    asked = [body["options"]["num_ctx"] for body in ollama_server.all_sent()]
    assert asked == [4096, 8192]


@pytest.mark.shared
def test_prompt_longer_than_the_model_can_hold(play: Play, ollama_server: FakeOllama) -> None:
    play("03_show")
    refused = play("14_overflow_truncate_false")["response"]["body_raw"]
    ollama_server.reply("/api/chat", refused.replace("710", "9000"), 400)
    with pytest.raises(LLMError, match=r"at most 8192 tokens \(it has .*\d tokens\): shorten"):
        ask()
    assert len(ollama_server.all_sent()) == 2


@pytest.mark.shared
def test_context_that_was_asked_for_is_kept(play: Play, ollama_server: FakeOllama) -> None:
    play("14_overflow_truncate_false")
    with pytest.raises(LLMError, match=r"with num_ctx=256 \(.*raise `num_ctx`"):
        ask(OllamaLLM("m", num_ctx=256))
    assert len(ollama_server.all_sent()) == 1
    assert not ollama_server.all_sent("/api/show")


def test_context_that_ran_full_in_mid_answer(ollama_server: FakeOllama) -> None:
    ollama_server.reply("/api/chat", {**GOOD, "prompt_eval_count": 95, "eval_count": 9})
    with pytest.raises(LLMError, match=r"cut off after 9 tokens.*`num_ctx` \(now 100\)"):
        ask(OllamaLLM("m", num_ctx=100))


@pytest.mark.shared
@pytest.mark.parametrize("think", [True, False, "high"])
def test_model_that_cannot_think(play: Play, think: bool | str) -> None:
    play("13_think_true")
    with pytest.raises(LLMError, match=r"does not support thinking\): pass `think=None`"):
        ask(OllamaLLM("smollm2:135m", think=think))


def test_thinking_is_left_to_the_model(ollama_server: FakeOllama) -> None:
    ollama_server.reply("/api/chat", GOOD)
    ask(OllamaLLM("m", think=None))
    assert "think" not in ollama_server.sent()


def test_memory_that_does_not_suffice(ollama_server: FakeOllama) -> None:
    text = "model requires more system memory (44.0 GiB) than is available (7.6 GiB)"
    ollama_server.reply("/api/chat", {"error": text}, 500)
    with pytest.raises(LLMError, match=r"44\.0 GiB.*\): choose a smaller model, lower `num_ctx`"):
        ask()


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


@pytest.mark.parametrize("error", ["oh", {"message": "oh"}, '{"error":{"message":"o\\nh"}}'])
def test_reason_is_unwrapped(ollama_server: FakeOllama, error: object) -> None:
    ollama_server.reply("/api/chat", {"error": error}, 500)
    with pytest.raises(LLMError, match=r"failed with status 500 \((oh|o h)\): see"):
        ask()


@pytest.mark.parametrize("body", ["<html>hello</html>", '{"hello": 1}'])
def test_something_else_than_ollama(ollama_server: FakeOllama, body: str) -> None:
    ollama_server.reply("/api/chat", body)
    with pytest.raises(LLMError, match="is not Ollama: set OLLAMA_HOST"):
        ask()


@pytest.mark.parametrize(
    "settings",
    [
        *({"timeout": 0}, {"num_ctx": 0}, {"num_predict": 0}, {"temperature": -1}),
        {"num_thread": -1},
    ],
)
def test_number_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="`timeout` must be above 0"):
        OllamaLLM("m", **settings)


@pytest.mark.parametrize("keep_alive", ["300", "", "5 m", "soon"])
def test_keep_alive_that_a_server_would_refuse(keep_alive: str) -> None:
    with pytest.raises(ValueError, match=r"`keep_alive` must be seconds or a duration"):
        OllamaLLM("m", keep_alive=keep_alive)


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


@pytest.mark.shared
def test_build_is_version_and_digest(play: Play, release: str) -> None:
    version = play("01_version")["response"]["body"]["version"]
    listed = play("02_list")["response"]["body"]["models"]
    digest = next(model["digest"] for model in listed if model["name"] == "smollm2:135m")
    assert OllamaLLM("SmolLM2:135m").build == f"ollama {version}, {digest[:12]}"
    assert release.removeprefix("v") == version


def test_build_of_a_server_that_reports_nothing_is_unknown(ollama_server: FakeOllama) -> None:
    assert OllamaLLM("m").build is None
    ollama_server.reply("/api/version", "[]")
    assert OllamaLLM("m").build is None
    ollama_server.reply("/api/version", {"version": "1.0"})
    assert OllamaLLM("m").build == "ollama 1.0"
    ollama_server.drop("/api/version")
    assert OllamaLLM("m").build is None

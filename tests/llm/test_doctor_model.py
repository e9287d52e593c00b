"""What the doctor says of models, with servers that answer as real ones did."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import pytest

from optuna_metallmix.cli import main
from optuna_metallmix.llm import INSTALL_COMMAND
from optuna_metallmix.llm import MODEL_VARIABLE
from optuna_metallmix.llm import is_embedded_installed


if TYPE_CHECKING:
    from conftest import FakeOllama

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "127.0.0.1:1"
Play = Callable[[str], dict[str, Any]]
Capture = pytest.CaptureFixture[str]

needs_model = pytest.mark.skipif(not is_embedded_installed(), reason=f"run {INSTALL_COMMAND}")


def chat(content: str) -> dict[str, Any]:
    said = {"role": "assistant", "content": content}
    counts = {"prompt_eval_count": 41, "eval_count": 12}
    return {"model": "m", "message": said, "done": True, "done_reason": "stop", **counts}


@pytest.mark.shared
def test_ollama_in_a_process_of_its_own(ollama_server: FakeOllama, play: Play) -> None:
    play("02_list")
    play("03_show")
    ollama_server.reply("/api/chat", chat('{"sum": 5, "state": "ready"}'))
    ollama_server.reply("/api/ps", {"models": []})
    command = [sys.executable, "-m", "optuna_metallmix", "doctor"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    where = f"http://{ollama_server.host}"
    assert f"ok       Ollama: answers at {where} and has smollm2:135m (0.1 GB)" in done.stdout
    assert (
        "ok       model: ollama:smollm2:135m would be asked: Made for instructions" in done.stdout
    )
    assert "ok       answer: within the schema, in " in done.stdout
    assert " s, 41 tokens read and 12 written\n" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


def test_ollama_without_models(ollama_server: FakeOllama, capsys: Capture) -> None:
    ollama_server.reply("/api/tags", {"models": []})
    assert main(["doctor", "--llm", "ollama"]) == 1
    told = capsys.readouterr().out
    assert "and has no model: run `ollama pull qwen3:8b`." in told
    assert "problem  model: Ollama has no model of its own that writes text" in told


@pytest.mark.shared
def test_named_model_that_is_missing(
    ollama_server: FakeOllama, play: Play, capsys: Capture
) -> None:
    play("02_list")
    play("10_missing_model_chat")
    assert main(["doctor", "--llm", "ollama:nosuch:1b"]) == 1
    told = capsys.readouterr().out
    assert "ok       model: ollama:nosuch:1b would be asked: you name it" in told
    assert "problem  model: Ollama at " in told
    assert "has no model 'nosuch:1b' (installed: smollm2:135m)" in told


@pytest.mark.parametrize(
    "answer", ["Sure!", "[]", '{"state": "ready", "sum": 5}', '{"sum": true, "state": "ready"}']
)
def test_answer_outside_the_schema(
    ollama_server: FakeOllama, capsys: Capture, answer: str
) -> None:
    ollama_server.reply("/api/chat", chat(answer))
    assert main(["doctor", "--llm", "ollama:m"]) == 1
    told = capsys.readouterr().out
    assert f"problem  answer: its answer is not what the schema says ({answer!r})" in told


@pytest.mark.parametrize(("refused", "level"), [(False, "ok"), (True, "warning")])
def test_openai_server(
    openai_server: FakeOllama, capsys: Capture, refused: bool, level: str
) -> None:
    pytest.importorskip("openai")
    message = {"content": '{"sum": 5, "state": "ready"}'}
    good = {"choices": [{"message": message, "finish_reason": "stop"}]}
    openai_server.reply("/v1/models", {"data": [{"id": "org/m", "object": "model"}]})
    refusal: tuple[int, object] = (400, {"error": "'response_format.type' is unknown"})
    openai_server.reply_in_turn("/v1/chat/completions", *[refusal] * refused, (200, good))
    assert main(["doctor", "--llm", f"openai:http://{openai_server.host}/v1"]) == 0
    told = capsys.readouterr().out
    assert "ok       model: openai:org/m would be asked: it is the first that the server" in told
    assert "ok       answer: within the schema, in " in told
    assert ("warning  answer: the server takes no schema" in told) is (level == "warning")


@needs_model
@pytest.mark.model
@pytest.mark.slow
def test_embedded_model_answers(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("OLLAMA_HOST", NOWHERE)
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "ok       embedded model: SmolLM2-135M-Instruct.Q4_1, as it was reviewed" in told
    assert "would be asked: there is none of Ollama's to be had" in told
    assert "ok       answer: within the schema, in " in told


def test_no_model_anywhere(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    find = "optuna_metallmix.llm.embedded.importlib.util.find_spec"
    monkeypatch.setattr(find, lambda name: None)
    monkeypatch.setenv("OLLAMA_HOST", NOWHERE)
    main(["doctor"])
    told = capsys.readouterr().out
    assert f"ok       embedded model: not installed; `{INSTALL_COMMAND}` gives" in told
    assert "warning  model: none, so that the meta-learner suggests. To get a language" in told


@pytest.mark.parametrize(
    ("variable", "line"),
    [
        ("gpt", "problem  model: OPTUNA_METALLMIX_MODEL='gpt' names no language model"),
        ("none", "ok       model: none, as you say"),
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


def test_address_that_is_none(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "host:port")
    assert main(["doctor", "--llm", "none"]) == 0
    assert "warning  Ollama: 'host:port' is not the address" in capsys.readouterr().out

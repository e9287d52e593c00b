"""Check the doctor's report on language models, with recorded answers of real servers."""

from __future__ import annotations

import json
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
from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import INSTALL_COMMAND
from optuna_metallmix.llm import MODEL_VARIABLE
from optuna_metallmix.llm import NO_MODEL_HINT
from optuna_metallmix.llm import TimeBudget
from optuna_metallmix.llm import is_embedded_installed
from optuna_metallmix.prompt import PROMPT_VERSION


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


FULL = json.dumps(
    {"reasoning": "as the past says", "candidate": 1, "evidence": ["E1"], "why": "it did best"}
)
SHORT = json.dumps({"evidence": ["E1"], "candidate": 1})


def show(n_parameters: int) -> dict[str, Any]:
    info = {"general.parameter_count": n_parameters}
    return {"model_info": info, "capabilities": ["completion"], "details": {}}


@pytest.mark.shared
def test_ollama_in_a_separate_process(ollama_server: FakeOllama, play: Play) -> None:
    play("02_list")
    play("03_show")
    ollama_server.reply("/api/chat", chat(SHORT))
    ollama_server.reply("/api/ps", {"models": []})
    command = [sys.executable, "-m", "optuna_metallmix", "doctor", "--llm", "ollama:smollm2:135m"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    where = f"http://{ollama_server.host}"
    assert f"ok       Ollama: {where} has smollm2:135m (0.1 GB)" in done.stdout
    assert "ok       model: ollama:smollm2:135m: set by --llm" in done.stdout
    assert "ok       answer: a first trial would wait " in done.stdout
    assert " s, 41 prompt tokens, 12 completion tokens), and use the model's" in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("n_parameters", "answer", "prompt"),
    [(10**9, SHORT, "short"), (8 * 10**9, FULL, "cot+shap")],
)
def test_question_is_that_of_a_first_trial(
    ollama_server: FakeOllama, capsys: Capture, n_parameters: int, answer: str, prompt: str
) -> None:
    ollama_server.reply("/api/show", show(n_parameters))
    ollama_server.reply("/api/chat", chat(answer))
    ollama_server.reply("/api/ps", {"models": []})
    assert main(["doctor", "--llm", "ollama:m", "--llm-timeout", "none"]) == 0
    output = capsys.readouterr().out
    assert f" s, with no llm_timeout (prompt {PROMPT_VERSION} {prompt}; answers: " in output
    question = "".join(m["content"] for m in ollama_server.all_sent()[0]["messages"])
    assert "learning_rate" in question
    assert "E1" in question


def test_time_of_unloading_is_not_that_of_the_answer(
    ollama_server: FakeOllama, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def release(budget: TimeBudget, llm: object) -> None:
        budget.is_over = True

    monkeypatch.setattr(TimeBudget, "release", release)
    ollama_server.reply("/api/show", show(10**9))
    ollama_server.reply("/api/chat", chat(SHORT))
    assert main(["doctor", "--llm", "ollama:m"]) == 0
    assert ", and use the model's choice" in capsys.readouterr().out


def test_answer_that_the_judge_refuses(ollama_server: FakeOllama, capsys: Capture) -> None:
    ollama_server.reply("/api/show", show(8 * 10**9))
    refused = {**json.loads(FULL), "changes": {"learning_rate": 0.1}}
    ollama_server.reply("/api/chat", chat(json.dumps(refused)))
    ollama_server.reply("/api/ps", {"models": []})
    assert main(["doctor", "--llm", "ollama:m"]) == 0
    output = capsys.readouterr().out
    assert "warning  answer: a first trial would wait " in output
    assert "with llm_timeout=60 " in output
    assert ", and not use the model. Answer 1 of ollama:m was not used: " in output


def test_model_that_is_too_slow(ollama_server: FakeOllama, capsys: Capture) -> None:
    ollama_server.reply("/api/show", show(8 * 10**9))

    def silence(path: str) -> None:
        if path == "/api/chat":
            ollama_server.silence.wait()

    ollama_server.on_request = silence
    assert main(["doctor", "--llm", "ollama:m", "--llm-timeout", "1"]) == 1
    output = capsys.readouterr().out
    assert "problem  answer: a first trial would wait 1 s, and not use the model. " in output
    assert "The 1 seconds of `llm_timeout`" in output


def test_small_model_is_not_chosen(
    ollama_server: FakeOllama, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optuna_metallmix.llm.auto.is_embedded_installed", lambda: False)
    size = {"name": "tiny:1b", "model": "tiny:1b", "size": 10**9}
    ollama_server.reply("/api/tags", {"models": [size]})
    ollama_server.reply("/api/show", show(10**9))
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out
    assert "ok       model: none; the meta-learner suggests alone. Ollama has no " in output
    assert "name it `ollama:tiny:1b` to use it" in output


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


@pytest.mark.parametrize("answer", ["Sure!", "[]", '{"candidate": true}', '{"candidate": 77}'])
def test_answer_outside_the_schema(
    ollama_server: FakeOllama, capsys: Capture, answer: str
) -> None:
    ollama_server.reply("/api/chat", chat(answer))
    assert main(["doctor", "--llm", "ollama:m"]) == 1
    assert "problem  answer: " in capsys.readouterr().out


@pytest.mark.parametrize(("refused", "level"), [(False, "ok"), (True, "warning")])
def test_openai_server(
    openai_server: FakeOllama, capsys: Capture, refused: bool, level: str
) -> None:
    pytest.importorskip("openai")
    message = {"content": FULL}
    good = {"choices": [{"message": message, "finish_reason": "stop"}]}
    openai_server.reply("/v1/models", {"data": [{"id": "org/m", "object": "model"}]})
    refusal: tuple[int, object] = (400, {"error": "'response_format.type' is unknown"})
    replies = [refusal, (200, good)] if refused else [(200, good)]
    openai_server.reply_in_turn("/v1/chat/completions", *replies * 2)  # the answer, the review
    assert main(["doctor", "--llm", f"openai:http://{openai_server.host}/v1"]) == 0
    output = capsys.readouterr().out
    assert "ok       model: openai:org/m: set by --llm" in output
    assert "ok       answer: a first trial would wait " in output
    assert ("warning  answer: the server ignores the schema" in output) is (level == "warning")


@needs_model
@pytest.mark.model
@pytest.mark.slow
def test_embedded_model_answers(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("OLLAMA_HOST", NOWHERE)
    assert main(["doctor", "--llm", "embedded", "--llm-timeout", "none"]) == 0
    output = capsys.readouterr().out
    assert "ok       embedded model: SmolLM2-135M-Instruct.Q4_1.gguf is unchanged" in output
    assert "answer: a first trial would wait " in output
    assert f" (prompt {PROMPT_VERSION} short; " in output


def test_no_model_anywhere(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """Nobody asked for a model, so that its absence is no warning."""
    find = "optuna_metallmix.llm.embedded.importlib.util.find_spec"
    monkeypatch.setattr(find, lambda name: None)
    monkeypatch.setenv("OLLAMA_HOST", NOWHERE)
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out
    assert f"ok       embedded model: not installed (optional): run `{INSTALL_COMMAND}`" in output
    assert "ok       model: none; the meta-learner suggests alone. " in output
    assert NO_MODEL_HINT in output


@pytest.mark.parametrize(
    ("words", "level"), [(["--llm", "none"], "ok"), (["--llm", "ollama:m"], "warning")]
)
def test_missing_server_matters_if_it_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, words: list[str], level: str
) -> None:
    def nothing() -> None:
        raise LLMError("No Ollama server answers.")

    monkeypatch.setattr("optuna_metallmix.cli.doctor.installed_models", nothing)
    monkeypatch.setattr("optuna_metallmix.cli.doctor._check_model", lambda *_: iter(()))
    main(["doctor", *words])
    assert f"{level:<8} Ollama: No Ollama server answers." in capsys.readouterr().out


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

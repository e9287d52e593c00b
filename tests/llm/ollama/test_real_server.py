"""The same promises against a real server: ``OLLAMA_HOST=... pytest -m ollama``.

It asks the model that ``OPTUNA_METALLMIX_MODEL`` names (``ollama:qwen3:8b``), or else the first
in the ranking, however small, loads it and unloads it. Nothing is pulled.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any
from typing import Literal

import ollama
import pytest
from end_to_end import memory_past
from end_to_end import run

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record
from optuna_metallmix.errors import LLMError
from optuna_metallmix.evaluation.models import compare_models
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import installed_models
from optuna_metallmix.llm import rank_installed
from optuna_metallmix.llm import resolve_llm


pytestmark = [pytest.mark.ollama, pytest.mark.slow]

MESSAGES = [
    {"role": "system", "content": "You answer in JSON."},
    {"role": "user", "content": "Choose an optimizer and the number of layers of a network."},
]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "why": {"type": "string", "enum": ["small data", "large data"]},
        "optimizer": {"type": "string", "enum": ["adam", "sgd"]},
        "layers": {"type": "integer", "enum": [3, 4, 5]},
    },
    "required": ["why", "optimizer", "layers"],
    "additionalProperties": False,
}


@pytest.fixture(autouse=True)
def _a_server_answers() -> None:
    try:
        installed_models(timeout=5.0)
    except LLMError as error:
        pytest.skip(str(error))


@pytest.fixture
def llm() -> Iterator[OllamaLLM]:
    names = [f"ollama:{model.name}" for model in rank_installed()]
    found = resolve_llm(os.environ.get("OPTUNA_METALLMIX_MODEL") or next(iter(names), False)).llm
    if not isinstance(found, OllamaLLM):
        pytest.skip("OPTUNA_METALLMIX_MODEL names no model of Ollama, and none is installed")
    found.timeout = 600.0
    with found:
        yield found


def is_loaded(llm: OllamaLLM) -> bool:
    with ollama.Client(llm.host) as client:
        names = {str(running.model).lower() for running in client.ps().models}
    return bool(names & {llm.model.lower(), f"{llm.model.lower()}:latest"})


def test_every_model_is_listed_and_ranked() -> None:
    listed, ranked = installed_models(details=True), rank_installed()
    assert sorted(model.name for model in listed) == sorted(model.name for model in ranked)
    for model in listed:
        assert model.is_remote or model.context_length is None or model.context_length > 0
    usable = [model.usable for model in ranked]
    assert usable == sorted(usable, reverse=True)


def test_answer_keeps_to_the_schema_and_reports_its_cost(llm: OllamaLLM) -> None:
    document = json.loads(llm.generate(MESSAGES, schema=SCHEMA))
    assert list(document) == SCHEMA["required"]
    for name, rule in SCHEMA["properties"].items():
        assert document[name] in rule["enum"]
    assert llm.last_usage is not None
    assert (llm.last_usage.prompt_tokens or 0) > 10
    assert (llm.last_usage.answer_tokens or 0) > 5
    assert 0 < llm.last_usage.seconds < llm.timeout
    assert llm.last_usage.load_seconds is not None


def test_answer_repeats_at_temperature_zero(llm: OllamaLLM) -> None:
    first = llm.generate(MESSAGES, schema=SCHEMA)
    assert llm.generate(MESSAGES, schema=SCHEMA) == first


def test_model_is_unloaded_at_close_and_only_then(llm: OllamaLLM) -> None:
    llm.generate(MESSAGES, schema=SCHEMA)
    assert is_loaded(llm)
    llm.close()
    assert not is_loaded(llm)


def test_too_long_a_prompt_is_refused(llm: OllamaLLM) -> None:
    short = OllamaLLM(llm.model, num_ctx=512, timeout=llm.timeout)
    question = [{"role": "user", "content": "word " * 4000}]
    with short, pytest.raises(LLMError, match=r"does not fit .*num_ctx=512.*raise `num_ctx`"):
        short.generate(question, schema=SCHEMA)


def test_estimated_context_suffices(llm: OllamaLLM) -> None:
    numbers = " ".join(f"{i / 7:.5f}" for i in range(300))
    llm.generate([{"role": "user", "content": f"Which is largest? {numbers}"}], schema=SCHEMA)
    assert llm.last_usage is not None
    assert (llm.last_usage.prompt_tokens or 0) > 300


def test_missing_model_names_the_pull_command() -> None:
    with pytest.raises(LLMError, match=r"installed: .*: run `ollama pull no-such-model:1b`"):
        OllamaLLM("no-such-model:1b").generate(MESSAGES, schema=SCHEMA)


def test_schema_that_cannot_be_followed_is_a_sentence(llm: OllamaLLM) -> None:
    with pytest.raises(LLMError, match=r"simplify the schema, or choose another model"):
        llm.generate(MESSAGES, schema={"type": "nonsense"})


def test_server_reports_the_size_of_the_model(llm: OllamaLLM) -> None:
    llm.check_available()
    assert llm.n_parameters is not None
    assert llm.n_parameters > 10**6


def test_build_names_version_and_weights(llm: OllamaLLM) -> None:
    assert re.fullmatch(r"ollama \S+, [0-9a-f]{12}", llm.build or "")


@pytest.mark.parametrize("prompt", ["plain", "cot", "cot+shap"])
def test_first_trial_is_asked_for_and_the_memory_is_free_again(
    llm: OllamaLLM, prompt: Literal["plain", "cot", "cot+shap"]
) -> None:
    sampler = MetaLLMiXSampler(llm=llm, prompt=prompt, seed=0, llm_timeout=None)
    study = run(sampler, memory_past())
    found = read_record(study.trials[0])
    assert found is not None
    assert found["model"] == llm.name
    assert found["model_build"] == llm.build
    assert found["attempts"][0]["prompt_tokens"] <= 3_000
    assert all(attempt["answer"] for attempt in found["attempts"])  # accepted or not, it answered
    assert not is_loaded(llm)


def test_models_are_compared(llm: OllamaLLM) -> None:
    found = compare_models([llm], memory_past(), studies=["past-0"], n_orders=2, llm_timeout=None)
    _, row = found.answers
    assert row.valid
    assert row.seconds > 0
    assert len(found.choices[llm.name]) == 2
    assert not is_loaded(llm)

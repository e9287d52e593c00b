"""The packaged model inside this process, if it is installed."""

from __future__ import annotations

import gc
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gguf_files import write_gguf

from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import INSTALL_COMMAND
from optuna_metallmix.llm import EmbeddedLLM
from optuna_metallmix.llm import embedded
from optuna_metallmix.llm import is_embedded_installed
from optuna_metallmix.llm.budget import TimeBudget


needs_model = pytest.mark.skipif(not is_embedded_installed(), reason=f"run {INSTALL_COMMAND}")
MESSAGES = [
    {"role": "system", "content": "You answer in JSON."},
    {"role": "user", "content": "Choose the size of a neural network. Any number will do: 900."},
]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "evidence": {
            "type": "array",
            "items": {"type": "string", "enum": ["E1", "E2", "E3"]},
            "minItems": 1,
            "maxItems": 2,
        },
        "reasoning": {"type": "string", "maxLength": 40},
        "optimizer": {"type": "string", "enum": ["sgd", "adam"]},
        "layers": {"type": "integer", "minimum": 3, "maximum": 7},
        "dropout": {"type": "number", "minimum": 0.25, "maximum": 0.5},
    },
    "required": ["evidence", "reasoning", "optimizer", "layers", "dropout"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def llm() -> Iterator[EmbeddedLLM]:
    model = EmbeddedLLM(n_ctx=1024, max_tokens=200, adapter=None)
    yield model
    model.close()


@pytest.fixture(scope="module")
def answer(llm: EmbeddedLLM) -> str:
    return llm.generate(MESSAGES, schema=SCHEMA)


def resident_mib() -> float:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("resident memory is read from /proc")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def check(answer: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(answer)
    assert list(document) == SCHEMA["required"]
    assert 1 <= len(document["evidence"]) <= 2
    assert set(document["evidence"]) <= {"E1", "E2", "E3"}
    assert len(document["reasoning"]) <= 40
    assert document["optimizer"] in ("sgd", "adam")
    assert 3 <= document["layers"] <= 7
    assert 0.25 <= document["dropout"] <= 0.5
    return document


@needs_model
@pytest.mark.model
def test_answer_keeps_to_the_schema_and_repeats(llm: EmbeddedLLM, answer: str) -> None:
    before = json.dumps(SCHEMA)
    check(answer)
    assert llm.generate(MESSAGES, schema=SCHEMA) == answer
    assert json.dumps(SCHEMA) == before
    assert llm.last_usage is not None
    assert (llm.last_usage.prompt_tokens or 0) > 20
    assert 0 < (llm.last_usage.answer_tokens or 0) <= 200
    assert llm.last_usage.seconds > 0
    assert llm.name == "embedded:SmolLM2-135M-Instruct.Q4_1"


@needs_model
@pytest.mark.model
def test_ranges_hold_when_the_model_is_hot() -> None:
    hot = EmbeddedLLM(n_ctx=1024, max_tokens=200, temperature=1.5)
    for seed in range(3):
        hot.seed = seed
        check(hot.generate(MESSAGES, schema=SCHEMA))
    hot.close()


@needs_model
@pytest.mark.model
def test_prompt_beyond_the_context(llm: EmbeddedLLM) -> None:
    long = [{"role": "user", "content": "word " * 2000}]
    with pytest.raises(LLMError, match=r"prompt of 20\d\d tokens .* n_ctx=1024: raise `n_ctx`"):
        llm.generate(long, schema=SCHEMA)


@needs_model
@pytest.mark.model
def test_answer_that_is_cut() -> None:
    short = EmbeddedLLM(n_ctx=1024, max_tokens=3)
    with pytest.raises(LLMError, match=r"cut off after 3 tokens: raise `max_tokens` \(now 3\)"):
        short.generate(MESSAGES, schema=SCHEMA)


@needs_model
@pytest.mark.model
def test_schema_that_the_runtime_drops_is_noticed(llm: EmbeddedLLM) -> None:
    with pytest.raises(LLMError, match=r"is not JSON|cut off"):
        llm.generate([{"role": "user", "content": "Say hello."}], schema={"type": "nonsense"})


@needs_model
@pytest.mark.model
def test_pickled_copy_answers_the_same(llm: EmbeddedLLM, answer: str) -> None:
    copy = pickle.loads(pickle.dumps(llm))
    assert copy.generate(MESSAGES, schema=SCHEMA) == answer


@needs_model
@pytest.mark.model
def test_threads_wait_for_each_other(llm: EmbeddedLLM, answer: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: llm.generate(MESSAGES, schema=SCHEMA), range(2)))
    assert answers == [answer, answer]


@needs_model
@pytest.mark.model
@pytest.mark.parametrize("how", ["close", "forget"])
def test_memory_is_given_back(how: str) -> None:
    model = EmbeddedLLM(n_ctx=8192, max_tokens=200)
    gc.collect()
    before = resident_mib()
    model.generate(MESSAGES, schema=SCHEMA)
    loaded = resident_mib()
    if how == "close":
        model.close()
    else:
        del model
    gc.collect()
    assert resident_mib() - before < (loaded - before) / 2


@needs_model
@pytest.mark.model
def test_nothing_is_printed_and_a_fork_answers_too() -> None:
    code = f"""
import os, signal
import optuna
from optuna_metallmix.llm import EmbeddedLLM
optuna.logging.set_verbosity(optuna.logging.WARNING)  # otherwise each question is logged
llm = EmbeddedLLM(n_ctx=1024, max_tokens=200)
ask = lambda: llm.generate({MESSAGES!r}, schema={SCHEMA!r})
answer = ask()
if hasattr(os, "fork"):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        is_same = ask() == answer
        llm.close()
        os._exit(0 if is_same else 3)
    assert os.waitpid(child, 0)[1] == 0
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], check=False, capture_output=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@needs_model
@pytest.mark.model
def test_tampered_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copy(EmbeddedLLM().path, tmp_path)
    with Path(copy).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    monkeypatch.setattr(embedded, "packaged_file", lambda: Path(copy))
    with pytest.raises(LLMError, match=r"has an unexpected checksum .*reinstall it"):
        EmbeddedLLM().generate(MESSAGES, schema=SCHEMA)


@needs_model
@pytest.mark.model
def test_own_file_that_cannot_be_loaded(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\0" * 100)
    with pytest.raises(LLMError, match=r"cannot load .*broken\.gguf"):
        EmbeddedLLM(broken).generate(MESSAGES, schema=SCHEMA)


def lora(path: Path, fill: float, *, n_in: int = 576) -> Path:
    """Write a LoRA adapter of rank 1 for the first attention layer of SmolLM2-135M."""
    metadata = {
        "general.type": "adapter",
        "general.architecture": "llama",
        "adapter.type": "lora",
        "adapter.lora.alpha": 1.0,
    }
    name = "blk.0.attn_q.weight.lora_"
    return write_gguf(path, metadata, {f"{name}a": (n_in, 1), f"{name}b": (1, 576)}, fill=fill)


@needs_model
@pytest.mark.model
def test_adapter(answer: str, tmp_path: Path) -> None:
    texts = {}
    for fill in (0.0, 5.0):
        model = EmbeddedLLM(
            n_ctx=1024, max_tokens=200, adapter=lora(tmp_path / f"a{fill:g}.gguf", fill)
        )
        assert model.name == f"embedded:SmolLM2-135M-Instruct.Q4_1+a{fill:g}"
        texts[fill] = pickle.loads(pickle.dumps(model)).generate(MESSAGES, schema=SCHEMA)
    assert texts[0.0] == answer
    assert texts[5.0] != answer


@needs_model
@pytest.mark.model
def test_adapter_of_another_model(tmp_path: Path) -> None:
    other = lora(tmp_path / "other.gguf", 0.0, n_in=64)
    with pytest.raises(LLMError, match=r"cannot load .* and .*other\.gguf"):
        EmbeddedLLM(adapter=other).generate(MESSAGES, schema=SCHEMA)


READER = {"general.type": "adapter", "general.base_model.0.name": "this model"}


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = write_gguf(tmp_path / "reader.gguf", READER, {"weight": (64,)})
    monkeypatch.setattr(embedded, "_READER", path)
    return path


@pytest.mark.parametrize(
    ("metadata", "is_used"),
    [
        ({"general.name": "this model"}, True),
        ({"general.name": "another model"}, False),
        ({"general.architecture": "llama"}, False),
    ],
)
def test_packaged_adapter_is_for_its_own_model(
    metadata: dict[str, object], is_used: bool, reader: Path, tmp_path: Path
) -> None:
    """The model's metadata decide, not the name of its file."""
    path = write_gguf(tmp_path / "model.gguf", metadata, {"weight": (64,)})
    model = EmbeddedLLM(path)
    assert model.adapter == (reader if is_used else None)
    assert model.name == ("embedded:model+reader" if is_used else "embedded:model")
    assert EmbeddedLLM(path, adapter=None).name == "embedded:model"
    assert EmbeddedLLM(path, adapter=reader).adapter == reader


def test_without_packaged_adapter_the_model_is_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(embedded, "_READER", tmp_path / "none.gguf")
    path = write_gguf(tmp_path / "model.gguf", {"general.architecture": "llama"}, {"w": (64,)})
    assert EmbeddedLLM(path).adapter is None


@needs_model
@pytest.mark.model
@pytest.mark.skipif(not embedded._READER.is_file(), reason="the package ships no adapter")
def test_packaged_adapter_is_for_the_packaged_model() -> None:
    assert EmbeddedLLM().name.endswith("+smollm2-135m-reader")
    copy = EmbeddedLLM(n_ctx=1024, max_tokens=200)
    assert json.loads(copy.generate(MESSAGES, schema=SCHEMA))
    copy.close()


def test_adapter_that_is_something_else(tmp_path: Path) -> None:
    text = tmp_path / "adapter.gguf"
    text.write_text("hello")
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF")
    with pytest.raises(LLMError, match=r"adapter\.gguf is not a GGUF file"):
        EmbeddedLLM(model, adapter=text)


@needs_model
@pytest.mark.model
def test_answer_is_stopped_when_nobody_waits() -> None:
    long = {"type": "object", "properties": {"a": {"type": "string", "minLength": 5_000}}}
    budget, model = TimeBudget(0.5), EmbeddedLLM(n_ctx=2048, max_tokens=2_000)
    model.generate(MESSAGES, schema={"enum": [1]})  # now it is loaded
    with pytest.raises(LLMError, match="llm_timeout"):
        budget.limit(model).generate(MESSAGES, schema={**long, "required": ["a"]})
    (thread,) = budget._late
    thread.join()
    budget.release(model)
    assert model._server is None


def test_lost_file_is_an_error_of_the_model(tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    model = EmbeddedLLM(write_gguf(tmp_path / "lost.gguf", {}, {"weight": (64,)}))
    model.path.unlink()
    with pytest.raises(LLMError, match=r"lost\.gguf cannot be read \(No such file"):
        model.generate(MESSAGES, schema=SCHEMA)


def test_slow_disk_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read in pieces, and not loaded when the time is up."""
    pytest.importorskip("xllamacpp")
    path = write_gguf(tmp_path / "large.gguf", {}, {"weight": (64,)})
    budget, model = TimeBudget(600), EmbeddedLLM(path)
    n_reads = 0

    def late() -> None:
        nonlocal n_reads
        n_reads += 1
        if n_reads > 3:
            raise LLMError("too late")

    monkeypatch.setattr(embedded, "_CHUNK", 64)
    monkeypatch.setattr(model, "_check_time", late)
    with pytest.raises(LLMError, match="too late"):
        budget.limit(model).generate(MESSAGES, schema=SCHEMA)
    assert model._server is None


@needs_model
@pytest.mark.model
def test_late_answer_does_not_disturb_the_exit() -> None:
    code = f"""
from optuna_metallmix.errors import LLMError
from optuna_metallmix.llm import EmbeddedLLM
from optuna_metallmix.llm.budget import TimeBudget
model = EmbeddedLLM(n_ctx=2048, max_tokens=2_000)
model.generate({MESSAGES!r}, schema={{"enum": [1]}})  # now it is loaded
schema = {{"type": "object", "properties": {{"a": {{"type": "string", "minLength": 5_000}}}}}}
try:
    TimeBudget(0.5).limit(model).generate({MESSAGES!r}, schema={{**schema, "required": ["a"]}})
except LLMError:
    print("late")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (0, "late\n")


def test_own_file_that_is_something_else(tmp_path: Path) -> None:
    text = tmp_path / "model.gguf"
    text.write_text("hello")
    with pytest.raises(LLMError, match="is not a GGUF file"):
        EmbeddedLLM(text)
    with pytest.raises(LLMError, match="cannot be read"):
        EmbeddedLLM(tmp_path)


@pytest.mark.parametrize(
    "settings", [{"n_ctx": 0}, {"max_tokens": 0}, {"n_threads": 0}, {"temperature": -1}]
)
def test_number_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least"):
        EmbeddedLLM("never-read.gguf", **settings)

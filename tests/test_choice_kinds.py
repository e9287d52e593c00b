"""Choices of any kind, end to end: kept as JSON by a storage, or objects in memory."""

from __future__ import annotations

import enum
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from end_to_end import choose
from end_to_end import new_study
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record
from optuna_metallmix.cli import main
from optuna_metallmix.llm import ScriptedLLM
from optuna_metallmix.report import describe_figures
from optuna_metallmix.report import render_note
from optuna_metallmix.report import restore_suggestion


pytestmark = pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")


class ReLU:
    pass


class Tanh:
    pass


class Swish:
    def __init__(self, beta: float) -> None:
        self.beta = beta


class Norm(enum.Enum):
    BATCH = 1
    LAYER = 2
    NONE = 3


class Width(enum.IntEnum):
    SMALL = 16
    MEDIUM = 64
    LARGE = 256


def identity(x: float) -> float:
    return x


def negate(x: float) -> float:
    return -x


JSON_KINDS: dict[str, list[Any]] = {
    "tuples": [(8,), (16,), (32, 16), (64, 32, 16)],
    "nested tuples": [((1, 2), "a"), ((3, 4), "b"), ((5,), "c")],
    "dicts": [{"n": 1, "sizes": (4, 2)}, {"n": 2, "sizes": (8,)}, {"n": 2, "sizes": (8, 4)}],
    "dicts by number": [{1: 0.5, 2: 0.25}, {1: 0.1}, {3: None}],
    "mixed": ["16", 16, 2.5, None, "auto"],
    "int enum": list(Width),
}
OBJECT_KINDS: dict[str, list[Any]] = {
    "classes": [ReLU, Tanh, "ReLU"],
    "enum": list(Norm),
    "functions": [identity, negate, np.tanh, lambda x: x],
    "instances": [Swish(1.0), Swish(2.0), Swish(3.0)],
    "numpy": list(np.arange(16, 65, 16)),
    "numpy truth values": [np.True_, np.False_],
    "tuples of classes": [(ReLU, 1), (Tanh, 2), (Tanh, 3)],
    "sets": [frozenset({1, 2}), frozenset({3}), frozenset()],
    "keys that are objects": [{(1, 2): 3}, {(4, 5): 6}],
}


def objective_of(choices: list[Any], last: bool = False) -> Callable[[optuna.Trial], float]:
    """Return an objective that asks for ``c`` first or last; the second choice is best."""

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1) if last else 0.0
        value = trial.suggest_categorical("c", choices)
        x = x if last else trial.suggest_float("x", 0, 1)
        (place,) = [i for i, choice in enumerate(choices) if choice is value]
        return -abs(place - 1) - (x - 0.3) ** 2

    return objective


def fill(storage: BaseStorage, choices: list[Any]) -> BaseStorage:
    for i in range(3):
        sampler = RandomSampler(seed=i)
        study = optuna.create_study(
            storage=storage, study_name=f"past-{i}", direction="maximize", sampler=sampler
        )
        study.optimize(objective_of(choices), n_trials=12)
    return storage


def storage_of(kind: str, folder: Path) -> BaseStorage:
    if kind == "sqlite":
        return RDBStorage(f"sqlite:///{folder / 'hpo.db'}")
    if kind == "journal":
        return JournalStorage(JournalFileBackend(str(folder / "hpo.log")))
    return InMemoryStorage()


def check(study: optuna.Study) -> dict[str, Any]:
    """Check that all trials ran and the first was suggested with the best choice."""
    assert all(trial.state is TrialState.COMPLETE for trial in study.trials)
    first = study.trials[0]
    assert first.user_attrs["metallmix:source"] != "base-sampler"
    assert "metallmix:projected" not in first.user_attrs
    assert first.value is not None
    assert first.value > -0.5
    record = read_record(first)
    assert record is not None
    return record


@pytest.mark.parametrize(
    ("storage", "kind", "last"),
    [
        ("memory", "tuples", True),
        ("sqlite", "tuples", False),
        ("sqlite", "dicts", True),
        *(("journal", kind, last) for kind in JSON_KINDS for last in (False, True)),
    ],
)
def test_choices_that_a_storage_keeps_as_json(
    storage: str, kind: str, last: bool, tmp_path: Path
) -> None:
    choices = JSON_KINDS[kind]
    objective = objective_of(choices, last)
    past = fill(storage_of(storage, tmp_path), choices)
    study = new_study(MetaLLMiXSampler(llm=False, seed=0), past)
    study.optimize(objective, n_trials=6)
    record = check(study)
    assert record["labels"] == []
    assert record["params"]["c"] == json.loads(json.dumps(choices[1]))
    values = [trial.value for trial in study.trials]
    assert max(values) > -0.1
    assert sum(value > -0.5 for value in values) >= 2  # later trials stay with the best choice
    restored = restore_suggestion(study)
    assert restored is not None
    assert restored.suggestion.learner is not None


@pytest.mark.parametrize(
    ("kind", "last"),
    [("classes", True), ("enum", True), *((kind, False) for kind in OBJECT_KINDS)],
)
def test_objects_as_choices_in_memory(kind: str, last: bool) -> None:
    choices = OBJECT_KINDS[kind]
    objective = objective_of(choices, last)
    study = new_study(MetaLLMiXSampler(llm=False, seed=0), fill(InMemoryStorage(), choices))
    study.optimize(objective, n_trials=6)
    record = check(study)
    restored = restore_suggestion(study)
    assert restored is not None
    suggestion = restored.suggestion
    assert suggestion.params["c"] is choices[1]
    assert suggestion.learner is not None
    assert record["labels"] == ([] if kind.startswith("numpy") else ["c"])
    note = render_note(suggestion, 0, {})
    assert "0x" not in note + json.dumps(record)
    assert {figure.name for figure in describe_figures(suggestion)} > {"effects", "suggestion"}


def test_names_of_objects_are_what_people_read() -> None:
    dashboard = pytest.importorskip("optuna_dashboard")
    choices = [ReLU, Tanh, Norm.BATCH, identity]
    objective = objective_of(choices)
    study = new_study(MetaLLMiXSampler(llm=False, seed=0), fill(InMemoryStorage(), choices))
    study.optimize(objective, n_trials=1)
    record = check(study)
    assert record["params"]["c"] == "Tanh"
    assert record["labels"] == ["c"]
    space = json.loads(record["space"]["c"])
    assert space["attributes"]["choices"] == ["ReLU", "Tanh", "Norm.BATCH", "identity"]
    assert "| c | Tanh |" in dashboard.get_note(study)


def test_objects_of_a_models_proposal_are_restored() -> None:
    choices = [ReLU, Tanh, Norm.BATCH]
    objective = objective_of(choices)
    past = fill(InMemoryStorage(), choices)
    llm = ScriptedLLM([choose(1, evidence=["E1"], c="Tanh")] * 4)
    study = new_study(MetaLLMiXSampler(llm=llm, seed=0), past)
    study.optimize(objective, n_trials=1)
    record = check(study)
    assert record["source"] == "llm"
    restored = restore_suggestion(study)
    assert restored is not None
    assert restored.suggestion.proposal is not None
    assert restored.suggestion.proposal.params["c"] is Tanh
    assert restored.suggestion.learner is not None


def test_object_moved_into_the_objectives_space_is_named() -> None:
    past = fill(InMemoryStorage(), [ReLU, identity, Norm.BATCH])
    study = new_study(MetaLLMiXSampler(llm=False, seed=0), past)

    def narrower(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        return x if trial.suggest_categorical("c", [Norm.BATCH, ReLU]) is ReLU else -x

    study.optimize(narrower, n_trials=2)
    moved = study.trials[0].user_attrs["metallmix:projected"]["c"]
    assert moved in {"identity -> ReLU", "identity -> Norm.BATCH"}
    restored = restore_suggestion(study)
    assert restored is not None
    assert restored.suggestion.moved["c"][0] is identity
    assert restored.suggestion.params == study.trials[0].params
    assert restored.suggestion.learner is not None


def test_recreated_choices_are_the_pasts() -> None:
    """A notebook cell or a function that is run again makes new classes and objects."""

    def choices() -> list[Any]:
        class Silu:
            pass

        class Pool(enum.Enum):
            MAX = 1
            MEAN = 2

        return [Silu, Pool.MEAN, Pool.MAX, Swish(1.0)]

    past = fill(InMemoryStorage(), choices())
    objective = objective_of(choices(), last=True)
    study = new_study(MetaLLMiXSampler(llm=False, seed=0), past)
    study.optimize(objective, n_trials=4)
    check(study)


def test_explain_command_reads_tuples_from_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    choices = JSON_KINDS["tuples"]
    objective = objective_of(choices)
    past = fill(storage_of("journal", tmp_path), choices)
    study = new_study(MetaLLMiXSampler(llm=False, seed=0), past)
    study.optimize(objective, n_trials=2)
    code = main(
        ["explain", "--storage", str(tmp_path / "hpo.log"), "--study", "new", "--format=md"]
    )
    page = capsys.readouterr().out
    assert code == 0
    assert "past studies have changed" not in page
    assert "| c | \\[16\\] |" in page


def test_study_without_a_warning_filter_warns_as_optuna_does() -> None:
    choices = [ReLU, Tanh]
    objective = objective_of(choices)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        past = fill(InMemoryStorage(), choices)
        of_optuna = {str(warning.message) for warning in caught}
        study = new_study(MetaLLMiXSampler(llm=False, seed=0), past)
        study.optimize(objective, n_trials=2)
    assert {str(warning.message) for warning in caught} == of_optuna


@pytest.mark.parametrize("place", ["number", "choice", "name of choices"])
def test_lone_surrogates(place: str) -> None:
    """As of a file name that is no UTF-8; storages other than in memory may refuse them."""
    odd = "a\udcff"

    def objective(trial: optuna.Trial) -> float:
        number = trial.suggest_float(odd if place == "number" else "x", 0, 1)
        choices = ["a", odd, "b\udcfe"] if place == "choice" else ["a", "b"]
        choice = trial.suggest_categorical(odd if place == "name of choices" else "k", choices)
        return number + (choice == choices[1])

    storage = optuna.storages.InMemoryStorage()
    for seed in range(3):
        sampler = optuna.samplers.RandomSampler(seed=seed)
        optuna.create_study(storage=storage, sampler=sampler).optimize(objective, n_trials=12)
    sampler = MetaLLMiXSampler(llm=ScriptedLLM([choose()]), judge=False, seed=0, cost_aware=True)
    study = optuna.create_study(storage=storage, sampler=sampler)
    study.optimize(objective, n_trials=8)
    assert study.trials[0].user_attrs["metallmix:source"] == "llm"
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 8

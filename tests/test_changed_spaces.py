"""An objective whose space is not the past's: conditions, ranges, choices and kinds."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from end_to_end import SPACE
from end_to_end import accuracy
from end_to_end import choose
from end_to_end import memory_past
from end_to_end import new_study
from end_to_end import objective
from end_to_end import suggested
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.storages import InMemoryStorage

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record
from optuna_metallmix.llm import ScriptedLLM


@pytest.fixture
def past() -> InMemoryStorage:
    return memory_past()


def test_a_conditional_parameter_follows_its_parent(past):
    llm = ScriptedLLM([choose(evidence=["E1"])] * 3)
    study = new_study(MetaLLMiXSampler(llm=llm, seed=0), past)
    study.optimize(objective, n_trials=1)
    params = study.trials[0].params
    assert ("momentum" in params) is (params["optimizer"] == "sgd")


def test_a_parameter_of_another_branch_comes_from_a_candidate(past):
    """The objective asks for momentum whatever the optimizer: the past has it under sgd."""

    def always(trial: optuna.Trial) -> float:
        trial.suggest_float("momentum", 0.0, 0.99)
        return objective(trial)

    study = new_study(MetaLLMiXSampler(llm=False, seed=0), past)
    study.optimize(always, n_trials=2)
    assert suggested(study) == [study.trials[0]]
    assert 0.0 <= study.trials[0].params["momentum"] <= 0.99


def test_a_parameter_that_no_study_has_is_the_base_samplers(past):
    def wider(trial: optuna.Trial) -> float:
        value = objective(trial)
        return value + 0.0 * trial.suggest_int("new", 0, 5)

    study = new_study(MetaLLMiXSampler(llm=False, seed=0), past)
    study.optimize(wider, n_trials=2)
    record = read_record(study.trials[0])
    assert record is not None
    assert "new" not in record["candidates"][0]["params"]
    assert 0 <= record["params"]["new"] <= 5


def test_ranges_are_clipped_and_put_on_the_step(past):
    dashboard = pytest.importorskip("optuna_dashboard")

    def narrow(trial: optuna.Trial) -> float:
        optimizer = trial.suggest_categorical("optimizer", ["sgd", "adam", "adamw"])
        lr = trial.suggest_float("learning_rate", 2e-1, 5e-1, log=True)
        depth = trial.suggest_int("depth", 20, 40, step=5)
        return accuracy({"optimizer": optimizer, "learning_rate": lr, "depth": depth})

    study = new_study(MetaLLMiXSampler(llm=False, seed=0), past)
    study.optimize(narrow, n_trials=2)
    first, record = study.trials[0], read_record(study.trials[0])
    assert record is not None
    assert (first.params["learning_rate"], first.params["depth"]) == (2e-1, 20)
    moved = first.user_attrs["metallmix:projected"]
    assert set(moved) == {"learning_rate", "depth"}
    assert moved["depth"] == f"{record['moved']['depth'][0]} -> 20"
    assert record["params"] == first.params
    note = dashboard.get_note(study)
    assert f"| depth | 20 | moved from {record['moved']['depth'][0]} |" in note
    assert note.count("optuna-metallmix begin") == 1


KINDS: dict[str, tuple[Any, Any]] = {
    "a number for a choice": ("optimizer", IntDistribution(0, 9)),
    "a choice for a number": ("depth", CategoricalDistribution(["shallow", "deep"])),
    "choices of numbers": ("depth", CategoricalDistribution([2, 16])),
    "a float for an int": ("depth", FloatDistribution(0.5, 9.5)),
    "no log": ("learning_rate", FloatDistribution(0.0, 1.0)),
    "a step": ("learning_rate", FloatDistribution(0.0, 1.0, step=0.25)),
    "None": ("optimizer", CategoricalDistribution([None, "lion"])),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [True, False])
def test_another_kind_of_the_same_name(past, kind, first):
    name, distribution = KINDS[kind]
    others = [one for one in ("optimizer", "learning_rate", "depth") if one != name]

    def changed(trial: optuna.Trial) -> float:
        for one in [name, *others] if first else [*others, name]:
            trial._suggest(one, distribution if one == name else SPACE[one])
        return 1.0

    study = new_study(MetaLLMiXSampler(llm=ScriptedLLM([choose()] * 4), seed=0), past)
    study.optimize(changed, n_trials=1)
    value = study.trials[0].params[name]
    assert distribution._contains(distribution.to_internal_repr(value))
    assert suggested(study) == [study.trials[0]]


OTHERS = ["sgd", "lion", "adam", "lamb", "adafactor"]


def test_an_absent_choice_gives_way_to_the_best_present_one(past):
    """adamw is best in the past and absent here; of what is left, adam is better than sgd."""

    def without(trial: optuna.Trial) -> float:
        trial.suggest_int("depth", 1, 8)
        trial.suggest_categorical("optimizer", OTHERS)
        return 1.0

    study = new_study(MetaLLMiXSampler(llm=False, seed=0), past)
    study.optimize(without, n_trials=1)
    record = read_record(study.trials[0])
    assert record is not None
    assert record["moved"]["optimizer"] == ["adamw", "adam"]
    assert record["params"]["optimizer"] == "adam"
    assert study.trials[0].params["optimizer"] == "adam"
    assert study.trials[0].user_attrs["metallmix:projected"] == {"optimizer": "'adamw' -> 'adam'"}


def test_the_best_known_choice_is_suggested_if_it_is_asked_for_first(past):
    def without(trial: optuna.Trial) -> float:
        trial.suggest_categorical("optimizer", OTHERS)
        return float(trial.suggest_int("depth", 1, 8))

    study = new_study(MetaLLMiXSampler(llm=False, seed=0), past)
    study.optimize(without, n_trials=1)
    assert study.trials[0].params["optimizer"] == "adam"

"""A first day: no past, a line of the log, and a first trial that knows something."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from optuna_metallmix import HistoryError
from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import TransferSampler
from optuna_metallmix import read_record
from optuna_metallmix import shipped_past
from optuna_metallmix import tabular_meta_features


get_note = pytest.importorskip("optuna_dashboard").get_note
LINE = 'source_storage="shipped:lightgbm"'
OWN_INTERFACE = {
    "num_leaves": "num_leaves",
    "reg_alpha": "lambda_l1",
    "min_child_samples": "min_data_in_leaf",
    "colsample_bytree": "feature_fraction",
    "subsample_freq": "bagging_freq",
    "subsample": "bagging_fraction",
}
"""LightGBM's own names of the parameters of its scikit-learn interface."""
STUDIES = [f"lightgbm/{name}" for name in ("titanic", "pima", "german", "wage", "auto", "magic")]
SAMPLERS = [MetaLLMiXSampler, TransferSampler]


def booster(names: dict[str, str]) -> Callable[[optuna.Trial], float]:
    """Return an objective with some of LightGBM's parameters; its optimum is in the middle."""

    def objective(trial: optuna.Trial) -> float:
        loss = abs(trial.suggest_float("learning_rate", 0.005, 0.3, log=True) - 0.03)
        loss += trial.suggest_int(names.get("num_leaves", "num_leaves"), 4, 128, log=True) / 500
        loss += trial.suggest_float(names.get("reg_alpha", "reg_alpha"), 1e-8, 10.0, log=True)
        loss += trial.suggest_int(names.get("min_child_samples", "min_child_samples"), 1, 100)
        loss -= trial.suggest_float(names.get("colsample_bytree", "colsample_bytree"), 0.3, 1.0)
        if trial.suggest_int(names.get("subsample_freq", "subsample_freq"), 0, 7) > 0:
            loss -= trial.suggest_float(names.get("subsample", "subsample"), 0.4, 1.0)
        return loss

    return objective


def network(trial: optuna.Trial) -> float:
    return trial.suggest_float("lr", 1e-5, 1e-1) + trial.suggest_int("batch_size", 8, 256)


def new_sampler(sampler_class: type[Any], **options: Any) -> Any:
    llm = {"llm": False} if sampler_class is MetaLLMiXSampler else {}
    return sampler_class(seed=0, **llm, **options)


def shipped(sampler_class: type[Any]) -> Any:
    """Return a sampler with a part of a shipped past, which is quicker to learn from."""
    return new_sampler(
        sampler_class, source_storage="shipped:lightgbm", source_study_names=STUDIES
    )


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return a function that returns the lines of the log which offer a past."""
    optuna.logging.enable_propagation()
    caplog.set_level(logging.INFO, logger="optuna")
    return lambda: [r.getMessage() for r in caplog.records if "comes with the" in r.getMessage()]


@pytest.mark.parametrize("sampler_class", SAMPLERS)
def test_the_log_names_the_line_once_and_the_line_works(
    sampler_class: type[Any], lines: Callable[[], list[str]], tmp_path: Path
) -> None:
    storage = f"sqlite:///{tmp_path}/hpo.db"
    study = optuna.create_study(storage=storage, sampler=new_sampler(sampler_class))
    study.optimize(booster(OWN_INTERFACE), n_trials=3)
    (line,) = lines()
    assert f"pass {LINE} to the sampler" in line

    sampler = shipped(sampler_class)
    warm = optuna.create_study(storage=storage, sampler=sampler)
    warm.optimize(booster(OWN_INTERFACE), n_trials=1)
    assert warm.trials[0].params != study.trials[0].params
    assert len(lines()) == 1
    if sampler_class is MetaLLMiXSampler:
        assert warm.trials[0].user_attrs["metallmix:source"] == "meta-learner"


@pytest.mark.parametrize("sampler_class", SAMPLERS)
def test_no_past_is_offered_that_has_other_parameters(
    sampler_class: type[Any], lines: Callable[[], list[str]]
) -> None:
    optuna.create_study(sampler=new_sampler(sampler_class)).optimize(network, n_trials=2)
    assert lines() == []


@pytest.mark.parametrize("sampler_class", SAMPLERS)
def test_no_past_is_offered_beside_one_that_fits(
    sampler_class: type[Any], lines: Callable[[], list[str]]
) -> None:
    storage = optuna.storages.InMemoryStorage()
    past = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    past.optimize(booster({}), n_trials=20)
    study = optuna.create_study(storage=storage, sampler=new_sampler(sampler_class))
    study.optimize(booster({}), n_trials=2)
    assert lines() == []


@pytest.mark.parametrize("sampler_class", SAMPLERS)
def test_a_past_of_something_else_is_no_past(
    sampler_class: type[Any], lines: Callable[[], list[str]]
) -> None:
    storage = optuna.storages.InMemoryStorage()
    past = optuna.create_study(storage=storage, sampler=optuna.samplers.RandomSampler(seed=0))
    past.optimize(network, n_trials=20)
    study = optuna.create_study(storage=storage, sampler=new_sampler(sampler_class))
    study.optimize(booster({}), n_trials=2)
    assert len(lines()) == 1


@pytest.mark.parametrize("sampler_class", SAMPLERS)
def test_a_failed_trial_offers_nothing_yet(
    sampler_class: type[Any], lines: Callable[[], list[str]]
) -> None:
    def fails(trial: optuna.Trial) -> float:
        booster({})(trial)
        raise ValueError

    study = optuna.create_study(sampler=new_sampler(sampler_class))
    study.optimize(fails, n_trials=1, catch=ValueError)
    assert lines() == []


@pytest.mark.parametrize("sampler_class", SAMPLERS)
def test_the_same_trials_by_each_interface(sampler_class: type[Any]) -> None:
    studies = []
    for names in ({}, OWN_INTERFACE):
        sampler = shipped(sampler_class)
        studies.append(optuna.create_study(sampler=sampler))
        studies[-1].optimize(booster(names), n_trials=4)
    plain, own = ([tuple(trial.params.values()) for trial in s.trials] for s in studies)
    assert plain == own
    assert set(studies[1].trials[0].params) > {"lambda_l1", "min_data_in_leaf"}


def test_the_note_says_which_names_it_has() -> None:
    study = optuna.create_study(sampler=shipped(MetaLLMiXSampler))
    study.optimize(booster(OWN_INTERFACE), n_trials=1)
    note = get_note(study)
    assert "parameters under their names in the past: lambda_l1 as reg_alpha, " in note
    record = read_record(study.trials[0])
    assert record is not None
    assert record["other_names"] == {
        name: past
        for past, name in OWN_INTERFACE.items()
        if name != past and past in record["params"]
    }
    assert "metallmix:reason" not in study.trials[0].user_attrs


def test_the_parameter_asked_for_first_has_its_name_in_the_past_too() -> None:
    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_float("lambda_l1", 1e-8, 10.0, log=True) + trial.suggest_float(
            "lambda_l2", 1e-8, 10.0, log=True
        )

    study = optuna.create_study(sampler=shipped(MetaLLMiXSampler))
    study.optimize(objective, n_trials=1)
    record = read_record(study.trials[0])
    assert record is not None
    assert set(record["params"]) == {"reg_alpha", "reg_lambda"}
    assert record["other_names"] == {"lambda_l1": "reg_alpha", "lambda_l2": "reg_lambda"}


@pytest.mark.parametrize(
    ("target", "task"), [([0, 1, 1, 0], "classification"), ([0.1, 0.2, 0.3, 0.4], "regression")]
)
def test_studies_of_the_same_task_are_used(target: list[float], task: str) -> None:
    features = tabular_meta_features([[0.5, 1.5]] * 4, target)
    sampler = new_sampler(
        MetaLLMiXSampler,
        source_storage="shipped:lightgbm",
        source_study_names=STUDIES,
        meta_features=features,
    )
    study = optuna.create_study(sampler=sampler)
    study.optimize(booster({}), n_trials=2)
    record = read_record(study.trials[0])
    assert record is not None
    past = shipped_past("lightgbm")
    tasks = {
        past.get_study_user_attrs(past.get_study_id_from_name(name))["task"]
        for name in record["past_studies"]
    }
    assert tasks == {task}


def test_a_prefix_of_a_pipeline_does_not_count() -> None:
    def objective(trial: optuna.Trial) -> float:
        depth = trial.suggest_int("model__max_depth", 3, 12)
        return depth + trial.suggest_float("model__learning_rate", 0.005, 0.3, log=True)

    sampler = shipped(MetaLLMiXSampler)
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=1)
    assert study.trials[0].user_attrs["metallmix:source"] == "meta-learner"


def test_an_unknown_past_is_an_error_at_once() -> None:
    with pytest.raises(HistoryError, match="no shipped past 'lightgmb'"):
        MetaLLMiXSampler(source_storage="shipped:lightgmb")

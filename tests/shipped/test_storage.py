"""The shipped pasts are ordinary storages that nobody can write to."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

import optuna_metallmix
from optuna_metallmix import HistoryError
from optuna_metallmix import shipped_past
from optuna_metallmix.shipped import ShippedPast


NAME = "lightgbm/titanic"


@pytest.fixture(scope="module")
def past() -> ShippedPast:
    return shipped_past("lightgbm")


@pytest.fixture(scope="module")
def study(past: ShippedPast) -> optuna.Study:
    return optuna.load_study(study_name=NAME, storage=past)


def test_the_same_object_for_the_same_library(past: ShippedPast) -> None:
    assert optuna_metallmix.shipped_past("lightgbm") is past
    assert copy.deepcopy(past) is past
    assert pickle.loads(pickle.dumps(past)) is past
    assert repr(past) == "shipped:lightgbm"


def test_an_unknown_library_is_told_which_there_are() -> None:
    with pytest.raises(ValueError, match=r"no shipped past 'lightgmb'.*'lightgbm', 'xgboost'"):
        shipped_past("lightgmb")


def test_a_study_reads_like_any_other(past: ShippedPast, study: optuna.Study) -> None:
    assert study.direction is StudyDirection.MAXIMIZE
    assert study.user_attrs["library"] == "lightgbm"
    assert len(study.trials) == 100
    values = [trial.value for trial in study.trials if trial.value is not None]
    assert study.best_value == max(values)
    assert study.best_trial.params == study.best_params
    assert len(study.trials_dataframe()) == 100
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    assert {trial.state for trial in complete} == {TrialState.COMPLETE}
    names = optuna.get_all_study_names(past)
    assert NAME in names
    assert len(set(names)) == len(names)
    assert [s.study_name for s in optuna.get_all_study_summaries(past)] == names


def test_trials_are_found_by_id(past: ShippedPast) -> None:
    study_id = past.get_study_id_from_name(NAME)
    for number in (0, 99):
        trial_id = past.get_trial_id_from_study_id_trial_number(study_id, number)
        assert past.get_trial(trial_id) == past.get_all_trials(study_id)[number]
    assert past.get_study_name_from_id(study_id) == NAME


def test_a_copy_does_not_change_the_past(past: ShippedPast) -> None:
    study_id = past.get_study_id_from_name(NAME)
    before = past.get_all_trials(study_id)
    past.get_all_trials(study_id)[0].params.clear()
    past.get_study_user_attrs(study_id).clear()
    past.get_all_studies()[study_id].user_attrs.clear()
    assert past.get_all_trials(study_id) == before
    assert past.get_study_user_attrs(study_id)["library"] == "lightgbm"


@pytest.mark.parametrize(
    "read",
    [
        lambda past: past.get_study_id_from_name("none"),
        lambda past: past.get_study_name_from_id(-1),
        lambda past: past.get_study_directions(10_000),
        lambda past: past.get_study_user_attrs(10_000),
        lambda past: past.get_study_system_attrs(10_000),
        lambda past: past.get_all_trials(10_000),
        lambda past: past.get_trial(-1),
        lambda past: past.get_trial(10**9),
    ],
)
def test_what_is_not_there_is_a_key_error(
    past: ShippedPast, read: Callable[[ShippedPast], Any]
) -> None:
    with pytest.raises(KeyError):
        read(past)


@pytest.mark.parametrize(
    "write",
    [
        lambda past: past.create_new_study([StudyDirection.MAXIMIZE], "new"),
        lambda past: past.delete_study(0),
        lambda past: past.set_study_user_attr(0, "a", 1),
        lambda past: past.set_study_system_attr(0, "a", 1),
        lambda past: past.create_new_trial(0),
        lambda past: past.set_trial_param(0, "x", 0.5, FloatDistribution(0, 1)),
        lambda past: past.set_trial_state_values(0, TrialState.COMPLETE, [1.0]),
        lambda past: past.set_trial_intermediate_value(0, 0, 1.0),
        lambda past: past.set_trial_user_attr(0, "a", 1),
        lambda past: past.set_trial_system_attr(0, "a", 1),
        lambda past: optuna.create_study(storage=past),
    ],
)
def test_writing_says_what_to_do(past: ShippedPast, write: Callable[[ShippedPast], Any]) -> None:
    with pytest.raises(HistoryError, match=r"is read-only.*source_storage.*sqlite"):
        write(past)


def test_a_study_is_copied_to_an_own_storage(past: ShippedPast) -> None:
    own = optuna.storages.InMemoryStorage()
    optuna.copy_study(from_study_name=NAME, from_storage=past, to_storage=own)
    copied = optuna.load_study(study_name=NAME, storage=own)
    assert copied.best_value == optuna.load_study(study_name=NAME, storage=past).best_value

"""A past, a storage or a calculation that fails costs a trial its proposal, never the study."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import TransferSampler
from optuna_metallmix import errors
from optuna_metallmix.report import REASON_ATTR
from optuna_metallmix.transfer import gaussian_process
from optuna_metallmix.transfer.exploration import Exploration
from optuna_metallmix.transfer.sampler import SIMILARITY_ATTR


def objective(trial: optuna.Trial) -> float:
    return (trial.suggest_float("x", 0.0, 10.0) - 3) ** 2 + trial.suggest_float("y", 0.0, 1.0)


def fill(storage: InMemoryStorage) -> InMemoryStorage:
    for seed in range(3):
        sampler = optuna.samplers.RandomSampler(seed=seed)
        study = optuna.create_study(storage=storage, study_name=f"past-{seed}", sampler=sampler)
        study.optimize(objective, n_trials=20)
    return storage


@pytest.fixture(scope="module")
def past() -> InMemoryStorage:
    return fill(InMemoryStorage())


def break_gps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every correlation matrix indefinite."""
    monkeypatch.setattr(gaussian_process, "NOISES", (-5.0,))


def new_sampler(kind: type, past: InMemoryStorage) -> optuna.samplers.BaseSampler:
    llm = {"llm": False} if kind is MetaLLMiXSampler else {}
    return kind(source_storage=past, seed=0, **llm)


@pytest.mark.parametrize("kind", [MetaLLMiXSampler, TransferSampler])
def test_a_numerical_error_leaves_the_trial_to_the_base_sampler(past, logs, monkeypatch, kind):
    monkeypatch.setattr(errors, "hides_numerical_errors", True)
    study = optuna.create_study(sampler=new_sampler(kind, past))
    study.optimize(objective, n_trials=4)
    break_gps(monkeypatch)
    study.optimize(objective, n_trials=4)
    failed = [trial for trial in study.trials if REASON_ATTR in trial.user_attrs]
    assert [trial.number for trial in failed] == [4, 5, 6, 7]
    assert all("LinAlgError" in trial.user_attrs[REASON_ATTR] for trial in failed)
    assert all(SIMILARITY_ATTR not in trial.system_attrs for trial in failed)
    assert all(trial.state is TrialState.COMPLETE for trial in study.trials)
    (warning,) = logs.warnings
    assert "Trial 4" in warning
    assert "is sampled by TPESampler: A calculation failed (LinAlgError" in warning


def test_a_reason_is_added_to_an_earlier_one_once(past, monkeypatch) -> None:
    monkeypatch.setattr(errors, "hides_numerical_errors", True)
    break_gps(monkeypatch)
    sampler = new_sampler(TransferSampler, past)
    study = optuna.create_study(sampler=sampler)
    trial = study.ask()
    trial.set_user_attr(REASON_ATTR, "The model did not answer.")
    objective(trial)
    reason = study.trials[0].user_attrs[REASON_ATTR]
    assert reason.startswith("The model did not answer. A calculation failed")
    sampler._record_reason(study, study.trials[0], errors.CalculationError("not answer."))
    assert study.trials[0].user_attrs[REASON_ATTR] == reason


def test_a_numerical_error_is_over_when_its_cause_is(past, monkeypatch) -> None:
    monkeypatch.setattr(errors, "hides_numerical_errors", True)
    study = optuna.create_study(sampler=new_sampler(TransferSampler, past))
    study.optimize(objective, n_trials=4)
    with monkeypatch.context() as broken:
        break_gps(broken)
        study.optimize(objective, n_trials=1)
    study.optimize(objective, n_trials=1)
    assert [SIMILARITY_ATTR in trial.system_attrs for trial in study.trials[3:]] == [1, 0, 1]


def test_a_numerical_error_of_the_fit_is_a_reason_not_to_use_the_past(past, logs, monkeypatch):
    monkeypatch.setattr(errors, "hides_numerical_errors", True)
    break_gps(monkeypatch)
    study = optuna.create_study(sampler=new_sampler(TransferSampler, past))
    study.optimize(objective, n_trials=4)
    (warning,) = logs.warnings
    assert "falling back to TPESampler: A calculation failed (LinAlgError" in warning
    assert "LinAlgError" in study.trials[0].user_attrs[REASON_ATTR]
    assert all(trial.state is TrialState.COMPLETE for trial in study.trials)


def test_our_own_tests_see_a_numerical_error(past, monkeypatch) -> None:
    break_gps(monkeypatch)
    study = optuna.create_study(sampler=new_sampler(TransferSampler, past))
    with pytest.raises(np.linalg.LinAlgError):
        study.optimize(objective, n_trials=1)


@pytest.mark.parametrize(
    "error", [KeyError, TypeError, AttributeError, IndexError, AssertionError]
)
def test_a_bug_is_not_taken_for_a_numerical_error(past, monkeypatch, error) -> None:
    monkeypatch.setattr(errors, "hides_numerical_errors", True)

    def untried(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(Exploration, "untried", untried)
    study = optuna.create_study(sampler=new_sampler(TransferSampler, past))
    with pytest.raises(error):
        study.optimize(objective, n_trials=4)


def test_an_interrupted_fit_is_done_again(past, monkeypatch) -> None:
    """As when a cell of a notebook is stopped and run again."""
    fit = gaussian_process.fit_gps
    calls: list[int] = []

    def interrupted(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return fit(*args)

    monkeypatch.setattr("optuna_metallmix.transfer.prior_mean.fit_gps", interrupted)
    study = optuna.create_study(sampler=new_sampler(TransferSampler, past))
    with pytest.raises(KeyboardInterrupt):
        study.optimize(objective, n_trials=1)
    study.optimize(objective, n_trials=2)
    assert all(SIMILARITY_ATTR in trial.system_attrs for trial in study.trials[1:])


class Unwritable(InMemoryStorage):
    """Cannot keep attributes of trials, as a full disk or a database that limits their size."""

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_attributes_that_cannot_be_written_stop_nothing(past, logs) -> None:
    storage = Unwritable()
    study = optuna.create_study(storage=storage, sampler=new_sampler(TransferSampler, past))
    study.optimize(objective, n_trials=5)
    assert len(study.trials) == 5
    (warning,) = logs.warnings
    assert "could not be written: OSError ([Errno 28] No space left on device). " in warning
    study = optuna.create_study(storage=storage, sampler=TransferSampler(seed=0))
    study.optimize(objective, n_trials=2)
    assert ["are not used" in text for text in logs.warnings[1:]] == [True, False]


def raising(error: Exception) -> Callable[..., Any]:
    def method(*_: Any, **__: Any) -> None:
        raise error

    return method


@pytest.mark.parametrize(
    "method", ["get_all_studies", "get_all_trials", "get_trial", "get_study_id_from_name"]
)
@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied"),
        OSError(errno.EIO, "Input/output error"),
        KeyError("gone"),
        OverflowError("too large"),
        RuntimeError("the server has left"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_past_that_cannot_be_read_is_a_reason(logs, monkeypatch, method, error) -> None:
    """What has to be read depends on the storage; either it is not needed, or it is told."""
    source = fill(InMemoryStorage())
    monkeypatch.setattr(source, method, raising(error))
    studies = []
    for sampler in (TransferSampler(source_storage=source, seed=0), TPESampler(seed=0)):
        studies.append(optuna.create_study(sampler=sampler))
        studies[-1].optimize(objective, n_trials=4)
    study, plain = studies
    if any(SIMILARITY_ATTR in trial.system_attrs for trial in study.trials):
        assert method in ("get_trial", "get_study_id_from_name")
        return
    assert [trial.params for trial in study.trials] == [trial.params for trial in plain.trials]
    assert type(error).__name__ in study.trials[0].user_attrs[REASON_ATTR]
    (warning,) = [text for text in logs.warnings if "falling back to TPESampler" in text]
    assert type(error).__name__ in warning

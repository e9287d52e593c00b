"""A study goes on after an interruption or a storage error at any write, with one suggestion."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import optuna
import pytest
from end_to_end import SPACE
from end_to_end import choose
from end_to_end import memory_past
from end_to_end import new_study
from end_to_end import objective
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record
from optuna_metallmix import trial_claim
from optuna_metallmix.llm import ScriptedLLM
from optuna_metallmix.optuna_access import trial_key


WRITES = (
    "set_study_system_attr",
    "set_study_user_attr",
    "set_trial_param",
    "set_trial_system_attr",
    "set_trial_user_attr",
)
"""All but ``set_trial_state_values``, after whose errors Optuna itself does not go on."""


class FailingStorage(InMemoryStorage):
    """Raises at a write, before it or after it, and may go on failing."""

    def __init__(self, error: BaseException, at: int, n: int = 1, *, before: bool = True) -> None:
        super().__init__()
        self.error, self.failing, self.before = error, range(at, at + n), before
        self.n_writes = -1_000_000

    def start(self) -> None:
        self.n_writes = 0


def _failing(name: str) -> Any:
    original = getattr(InMemoryStorage, name)

    def write(self: FailingStorage, *args: Any, **options: Any) -> Any:
        number, self.n_writes = self.n_writes, self.n_writes + 1
        if self.before and number in self.failing:
            raise self.error
        result = original(self, *args, **options)
        if number in self.failing:
            raise self.error
        return result

    return write


for _name in WRITES:
    setattr(FailingStorage, _name, _failing(_name))


@pytest.fixture(scope="module")
def past() -> InMemoryStorage:
    return memory_past(n_trials=6)


def _sampler(past: InMemoryStorage) -> MetaLLMiXSampler:
    llm, base = ScriptedLLM([choose()] * 6), optuna.samplers.RandomSampler(seed=0)
    return MetaLLMiXSampler(source_storage=past, llm=llm, judge=False, base_sampler=base, seed=0)


def _run(storage: FailingStorage, past: InMemoryStorage, clock: Clock) -> optuna.Study:
    """Run some trials, starting again with a new sampler after a while, as a user would."""
    study = new_study(_sampler(past), storage)
    storage.start()
    for _ in range(4):
        with suppress(KeyboardInterrupt, OSError):
            study.optimize(objective, n_trials=2)
        study.sampler = _sampler(past)
        clock.now += trial_claim.LEASE
    return study


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_error_at_any_write(past, error, before, monkeypatch):
    """One finished trial has the suggestion, and its record."""
    clock = Clock()
    monkeypatch.setattr(trial_claim, "time", clock)
    whole = FailingStorage(error, at=1_000_000)
    n_writes = _count_first_trial(whole, past)
    assert n_writes > 10
    for at in range(n_writes):
        study = _run(FailingStorage(error, at=at, before=before), past, clock)
        finished = [trial for trial in study.trials if trial.state.is_finished()]
        with_source = [t for t in finished if t.user_attrs.get("metallmix:source") == "llm"]
        assert [trial.number for trial in finished if read_record(trial)] == [
            trial.number for trial in with_source
        ]
        assert len(with_source) == 1, at
        assert [trial.params for trial in finished].count(with_source[0].params) == 1


def _count_first_trial(storage: FailingStorage, past: InMemoryStorage) -> int:
    study = new_study(_sampler(past), storage)
    storage.start()
    study.optimize(objective, n_trials=1)
    return storage.n_writes


class RefusingStorage(InMemoryStorage):
    """Stores the record of no trial."""

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        if key.startswith("metallmix:record"):
            raise OSError(28, "No space left on device")
        super().set_trial_system_attr(trial_id, key, value)


def test_the_model_is_not_asked_for_ever(past, logs):
    llm = ScriptedLLM([choose()] * 6)
    sampler = MetaLLMiXSampler(source_storage=past, llm=llm, judge=False, seed=0)
    study = new_study(sampler, RefusingStorage())
    study.optimize(objective, n_trials=6)
    reasons = [trial.user_attrs.get("metallmix:reason") for trial in study.trials]
    assert len(llm.calls) == 3
    assert all("No space left on device" in reason for reason in reasons[:3] if reason)
    assert reasons[3:] == [None] * 3
    assert sum("Check that it can be reached" in warning for warning in logs.warnings) == 1


def test_a_claim_that_cannot_be_written(past, logs, monkeypatch):
    """The trial is sampled without a suggestion, and the next one claims it."""
    study = new_study(MetaLLMiXSampler(source_storage=past, llm=False, seed=0))
    original, n_calls = study._storage.set_trial_system_attr, 0

    def fail(*args: Any, **options: Any) -> None:
        nonlocal n_calls
        n_calls += 1
        if n_calls == 1:
            raise OSError(5, "Input/output error")
        original(*args, **options)

    monkeypatch.setattr(study._storage, "set_trial_system_attr", fail)
    study.optimize(objective, n_trials=3)
    assert "Input/output error" in study.trials[0].user_attrs["metallmix:reason"]
    assert study.trials[1].user_attrs["metallmix:source"] == "meta-learner"
    assert sum("Input/output error" in warning for warning in logs.warnings) == 1


@pytest.mark.parametrize("goes_on", [True, False])
def test_after_a_bug_no_suggestion_is_promised(past, monkeypatch, goes_on):
    """It fails one trial, not every trial."""

    def fail(*args: Any) -> None:
        raise KeyError("a bug")

    def catching(trial: optuna.Trial) -> float:
        if goes_on:
            with suppress(KeyError):
                objective(trial)
        return objective(trial)

    monkeypatch.setattr("optuna_metallmix.sampler.suggest_for_study", fail)
    study = new_study(MetaLLMiXSampler(source_storage=past, llm=False, seed=0))
    study.optimize(catching, n_trials=3, catch=KeyError)
    first, *later = study.trials
    assert first.state is (TrialState.COMPLETE if goes_on else TrialState.FAIL)
    assert first.user_attrs["metallmix:source"] == "base-sampler"
    assert first.user_attrs["metallmix:reason"] == (
        "The suggestion failed with KeyError ('a bug'). It is not made again in this study: "
        "report this bug of optuna-metallmix."
    )
    assert [trial.state for trial in later] == [TrialState.COMPLETE] * 2
    assert not any("metallmix:reason" in trial.user_attrs for trial in later)


def ended_before_its_first_parameter(sampler: MetaLLMiXSampler, **options: Any) -> optuna.Study:
    """Run a trial whose first parameter cannot be stored, and two others."""
    storage = InMemoryStorage()
    study = new_study(sampler, storage, **options)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(storage, "set_trial_param", _refuse)
        study.optimize(objective, n_trials=1, catch=OSError)
    study.optimize(objective, n_trials=2)
    return study


NEXT = "The next trial gets the suggestion."


def test_a_suggestion_that_could_not_be_used_is_promised_to_the_next_trial(past):
    study = ended_before_its_first_parameter(_sampler(past))
    assert NEXT in study.trials[0].user_attrs["metallmix:reason"]
    assert study.trials[1].user_attrs["metallmix:source"] == "llm"


@pytest.mark.parametrize("options", [{}, {"search_space": SPACE}], ids=["deferred", "no params"])
def test_a_trial_without_a_suggestion_does_not_promise_one(options):
    """There is no past to learn from, which is settled."""
    study = ended_before_its_first_parameter(MetaLLMiXSampler(llm=False, **options))
    reason = study.trials[0].user_attrs["metallmix:reason"]
    assert "no past studies" in reason
    assert NEXT not in reason
    assert not any("metallmix:source" in trial.user_attrs for trial in study.trials[1:])


def test_a_trial_that_passed_does_not_promise_a_suggestion(past):
    """A lower one claimed the suggestion after this trial, and is asking."""
    study = new_study(MetaLLMiXSampler(source_storage=past, llm=False, seed=0))
    trials = [study.ask() for _ in range(2)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(study._storage, "set_trial_param", _refuse)
        study.sampler._claimed.add(trial_key(study, study.trials[1]))
        with pytest.raises(OSError, match="No space"):
            objective(trials[1])
    study.tell(trials[1], state=TrialState.FAIL)
    assert "Trial 0 had claimed" in study.trials[1].user_attrs["metallmix:reason"]


def _refuse(*args: Any) -> None:
    raise OSError(28, "No space left on device")

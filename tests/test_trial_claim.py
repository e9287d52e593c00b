from __future__ import annotations

import pickle
import random
import threading
from collections.abc import Callable
from collections.abc import Sequence
from datetime import UTC
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna import Study
from optuna.distributions import FloatDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix import trial_claim
from optuna_metallmix.errors import MetaLLMiXError
from optuna_metallmix.trial_claim import ALIVE_ATTR
from optuna_metallmix.trial_claim import CLAIM_ATTR
from optuna_metallmix.trial_claim import LEASE
from optuna_metallmix.trial_claim import NotClaimedError


class Clock:
    """This process's monotonic clock; sleeping moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(trial_claim, "time", clock)
    return clock


@pytest.fixture(params=["memory", "sqlite"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> Study:
    url = f"sqlite:///{tmp_path / 'hpo.db'}" if request.param == "sqlite" else None
    return optuna.create_study(storage=url)


def _begin(study: Study) -> FrozenTrial:
    """Start a trial as Optuna does before it calls the sampler."""
    return study._storage.get_trial(study.ask()._trial_id)


def _sample(study: Study, trial: FrozenTrial) -> None:
    """Store the trial's first parameter."""
    study._storage.set_trial_param(trial._trial_id, "x", 0.5, FloatDistribution(0, 1))


def _end(study: Study, trial: FrozenTrial, state: TrialState = TrialState.FAIL) -> None:
    study.tell(trial.number, 1.0 if state is TrialState.COMPLETE else None, state=state)


def _mark(study: Study, trial: FrozenTrial, claim_state: str) -> None:
    mark = [claim_state, trial._trial_id]
    study._storage.set_trial_system_attr(trial._trial_id, CLAIM_ATTR, mark)


def _state(study: Study, trial: FrozenTrial) -> str:
    return study._storage.get_trial(trial._trial_id).system_attrs[CLAIM_ATTR][0]


def _ask(study: Study) -> FrozenTrial:
    """Start a trial that claims the suggestion and asks."""
    trial = _begin(study)
    assert trial_claim.claim(study, trial)
    trial_claim.confirm(study, trial)
    return trial


def _settle(study: Study, trial: FrozenTrial, state: TrialState = TrialState.COMPLETE) -> None:
    trial_claim.check(study, trial)
    trial_claim.settle(study, trial)
    _sample(study, trial)
    _end(study, trial, state)


def _settled(study: Study) -> Study:
    _settle(study, _ask(study))
    return study


def test_first_trial_claims_asks_and_settles(study: Study) -> None:
    trial = _ask(study)
    assert trial_claim.suggested_number(study) is None
    _settle(study, trial)
    assert trial_claim.suggested_number(study) == trial.number
    assert not trial_claim.claim(study, _begin(study))


@pytest.mark.parametrize("state", [TrialState.FAIL, TrialState.PRUNED])
def test_settled_stays_settled_when_its_trial_fails(study: Study, state: TrialState) -> None:
    _settle(study, _ask(study), state)
    assert not trial_claim.claim(study, _begin(study))


def test_a_higher_trial_passes_while_a_lower_claims_or_asks(study: Study) -> None:
    first, second, third = _begin(study), _begin(study), _begin(study)
    assert trial_claim.claim(study, first)
    with pytest.raises(NotClaimedError, match="Trial 0 had claimed the suggestion"):
        trial_claim.claim(study, second)
    trial_claim.confirm(study, first)
    with pytest.raises(NotClaimedError, match="so this trial was sampled without it"):
        trial_claim.claim(study, third)
    assert [_state(study, t) for t in (first, second, third)] == ["asked", "passed", "passed"]


def test_a_lower_trial_that_starts_later_claims_before_a_higher_asks(
    study: Study, clock: Clock
) -> None:
    first, second = _begin(study), _begin(study)
    assert trial_claim.claim(study, second)
    assert trial_claim.claim(study, first)
    with pytest.raises(NotClaimedError, match="Trial 0 had claimed"):
        trial_claim.confirm(study, second)
    trial_claim.confirm(study, first)


@pytest.mark.parametrize("state", [trial_claim.ANNOUNCED, trial_claim.ASKED])
def test_a_lower_trial_passes_if_a_higher_one_asks(study: Study, state: str) -> None:
    first, second = _begin(study), _begin(study)
    _mark(study, second, state)
    with pytest.raises(NotClaimedError):
        trial_claim.claim(study, first)


class Schedule(InMemoryStorage):
    """Runs threads in a random order, one at a time, and switches at each call and each sleep."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._rng = random.Random(seed)
        self._turns: dict[int, threading.Event] = {}
        self._actor = threading.local()

    def run(self, actors: Sequence[Callable[[], str]]) -> list[str]:
        """Run actors and return their results, in the order of their ends."""
        results: list[str] = []

        def act(i: int) -> None:
            self._actor.number = i
            self._turns[i].wait()
            results.append(actors[i]())
            del self._turns[i]
            self._wake_any()

        self._turns = {i: threading.Event() for i in range(len(actors))}
        threads = [threading.Thread(target=act, args=(i,)) for i in self._turns]
        for thread in threads:
            thread.start()
        self._wake_any()
        for thread in threads:
            thread.join()
        return results

    def _wake_any(self) -> None:
        if self._turns:
            self._turns[self._rng.choice(sorted(self._turns))].set()

    def switch(self) -> None:
        turn = self._turns.get(getattr(self._actor, "number", -1))
        if turn is not None:
            turn.clear()
            self._wake_any()
            turn.wait()

    def get_all_trials(self, *args: Any, **options: Any) -> list[FrozenTrial]:
        self.switch()
        return super().get_all_trials(*args, **options)

    def set_trial_system_attr(self, *args: Any) -> None:
        self.switch()
        super().set_trial_system_attr(*args)
        self.switch()


@pytest.mark.parametrize("n_trials", [2, 3, 8])
def test_trials_that_start_at_the_same_time(
    n_trials: int, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the order of their reads and writes, one of them asks."""
    for seed in range(200):
        storage = Schedule(seed)
        study = optuna.create_study(storage=storage)
        trials = [_begin(study) for _ in range(n_trials)]

        def sleep(seconds: float, storage: Schedule = storage) -> None:
            clock.now += seconds / n_trials
            storage.switch()

        def start(trial: FrozenTrial, study: Study = study) -> str:
            try:
                assert trial_claim.claim(study, trial)
                trial_claim.confirm(study, trial)
            except NotClaimedError:
                return "passes"
            return "asks"

        monkeypatch.setattr(clock, "sleep", sleep)
        outcomes = storage.run([partial(start, trial) for trial in trials])
        assert sorted(outcomes) == ["asks", *["passes"] * (n_trials - 1)], seed


def test_a_higher_trial_passes_if_a_lower_claim_stays(study: Study, clock: Clock) -> None:
    first, second = _begin(study), _begin(study)
    assert trial_claim.claim(study, second)
    assert trial_claim.claim(study, first)
    start = clock.now
    with pytest.raises(NotClaimedError):
        trial_claim.confirm(study, second)
    assert clock.now - start < 3.0
    assert _state(study, second) == trial_claim.PASSED


@pytest.mark.parametrize("state", [TrialState.FAIL, TrialState.PRUNED, TrialState.COMPLETE])
@pytest.mark.parametrize("asked", [False, True])
def test_the_next_trial_claims_after_a_claim_without_an_answer(
    study: Study, state: TrialState, asked: bool
) -> None:
    first = _begin(study)
    trial_claim.claim(study, first)
    if asked:
        trial_claim.confirm(study, first)
    _end(study, first, state)
    assert _ask(study).number == 1


def test_the_next_trial_claims_while_a_deferred_trial_runs(study: Study) -> None:
    trial_claim.defer(study, _ask(study))
    assert trial_claim.suggested_number(study) is None
    assert _ask(study).number == 1


def test_enqueued_trial_neither_claims_nor_blocks(study: Study) -> None:
    study.enqueue_trial({"x": 0.5})
    study.enqueue_trial({"x": 0.6})
    enqueued = _begin(study)
    assert "fixed_params" in enqueued.system_attrs
    assert not trial_claim.claim(study, enqueued)
    free = study._storage.get_trial(
        study._storage.create_new_trial(study._study_id, template_trial=None)
    )
    assert trial_claim.claim(study, free)
    trial_claim.confirm(study, free)


def test_trials_of_other_samplers_do_not_block(study: Study) -> None:
    """Also not one whose process was killed."""
    space = {"x": FloatDistribution(0, 1)}
    study.add_trial(create_trial(params={"x": 0.5}, distributions=dict(space), value=1.0))
    study.add_trial(create_trial(state=TrialState.FAIL))
    _begin(study)
    assert _ask(study).number == 3


@pytest.mark.parametrize("state", [trial_claim.CLAIMED, trial_claim.ANNOUNCED, trial_claim.ASKED])
def test_a_claim_without_a_sign_of_life_expires(study: Study, clock: Clock, state: str) -> None:
    _mark(study, _begin(study), state)
    with pytest.raises(NotClaimedError):
        trial_claim.claim(study, _begin(study))
    clock.now += LEASE - 1
    with pytest.raises(NotClaimedError):
        trial_claim.claim(study, _begin(study))
    clock.now += 1
    assert _ask(study).number == 3


def test_a_claim_that_is_renewed_lasts(study: Study, clock: Clock) -> None:
    first = _ask(study)
    for renewals in range(1, 20):
        with pytest.raises(NotClaimedError):
            trial_claim.claim(study, _begin(study))
        study._storage.set_trial_system_attr(first._trial_id, ALIVE_ATTR, renewals)
        clock.now += LEASE - 1
    _settle(study, first)
    assert not trial_claim.claim(study, _begin(study))


def test_a_claim_expires_for_processes_of_a_single_trial(study: Study, clock: Clock) -> None:
    """Each sees the claim for the first time, but together they lasted as long as the lease."""
    _mark(study, _begin(study), trial_claim.ASKED)
    for _ in range(3):
        trial_claim._SEEN.clear()
        trial = _begin(study)
        with pytest.raises(NotClaimedError):
            trial_claim.claim(study, trial)
        _end_after(study, trial, seconds=LEASE / 3)
    trial_claim._SEEN.clear()
    assert _ask(study).number == 7  # three of them are copies


def test_a_renewed_claim_lasts_for_processes_of_a_single_trial(study: Study) -> None:
    first = _ask(study)
    for renewals in range(1, 5):
        trial_claim._SEEN.clear()
        trial = _begin(study)
        with pytest.raises(NotClaimedError):
            trial_claim.claim(study, trial)
        study._storage.set_trial_system_attr(first._trial_id, ALIVE_ATTR, renewals)
        _end_after(study, trial, seconds=LEASE)


def _end_after(study: Study, trial: FrozenTrial, seconds: float) -> None:
    """End a trial as if it had lasted for some time: as a copy with the same attributes."""
    ended = create_trial(value=1.0, system_attrs=study.trials[trial.number].system_attrs)
    ended.datetime_start = ended.datetime_complete - timedelta(seconds=seconds)
    study.add_trial(ended)
    _end(study, trial)


def test_wall_clocks_do_not_matter(study: Study, clock: Clock) -> None:
    """The start of a trial may be local time of any time zone."""
    for hours in (-20, 20):
        other = create_trial(state=TrialState.RUNNING)
        other.datetime_start = optuna.trial.create_trial(value=0).datetime_start
        assert other.datetime_start is not None
        other.datetime_start = other.datetime_start.replace(year=2000 + hours)
        study.add_trial(other)
        _mark(study, study.trials[-1], trial_claim.ASKED)
        with pytest.raises(NotClaimedError):
            trial_claim.claim(study, _begin(study))


def test_a_trial_that_was_taken_for_dead_passes(study: Study, clock: Clock) -> None:
    first = _ask(study)
    with pytest.raises(NotClaimedError):
        trial_claim.claim(study, _begin(study))
    clock.now += LEASE
    third = _ask(study)
    with pytest.raises(NotClaimedError, match=r"no sign of life for 90 s .* trial 2 asked"):
        trial_claim.check(study, first)
    _settle(study, third)
    with pytest.raises(NotClaimedError, match="trial 2 asked"):
        trial_claim.check(study, first)
    assert trial_claim.suggested_number(study) == 2


def test_a_claim_that_expired_before_its_first_parameter_is_refused(
    study: Study, clock: Clock
) -> None:
    first = _begin(study)
    assert trial_claim.claim(study, first)  # then its objective loads data
    with pytest.raises(NotClaimedError):
        trial_claim.claim(study, _begin(study))
    clock.now += LEASE
    third = _ask(study)
    clock.now += 10 * LEASE  # a lower trial cannot take over
    with pytest.raises(NotClaimedError):
        trial_claim.confirm(study, first)
    _settle(study, third)


def test_the_mark_counts_once_its_trial_has_a_parameter(study: Study, clock: Clock) -> None:
    first = _ask(study)
    trial_claim.settle(study, first)
    with pytest.raises(NotClaimedError, match="Trial 0 had claimed"):
        trial_claim.claim(study, _begin(study))
    _end(study, first)  # its parameters could not be stored
    second = _ask(study)
    trial_claim.check(study, second)
    trial_claim.settle(study, second)
    assert trial_claim.suggested_number(study) == 2


def test_a_trial_with_the_suggestion_that_does_not_finish_is_named(study: Study) -> None:
    first = _ask(study)
    trial_claim.settle(study, first)
    _sample(study, first)
    with pytest.raises(NotClaimedError, match=r"enqueue_trial\(study.trials\[0\].params\)"):
        trial_claim.claim(study, _begin(study))
    _end(study, first, TrialState.COMPLETE)
    assert not trial_claim.claim(study, _begin(study))


def test_a_mark_that_always_counts(study: Study) -> None:
    first = _begin(study)
    trial_claim.settle(study, first, always=True)
    assert not trial_claim.claim(study, _begin(study))


def test_a_claim_is_renewed_until_the_body_ends(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_claim, "RENEWAL", 0.001)
    trial = _ask(study)
    before = {thread.name for thread in threading.enumerate()}
    with trial_claim.renewed(study, trial):
        while study._storage.get_trial(trial._trial_id).system_attrs.get(ALIVE_ATTR, 0) < 3:
            pass
    assert {thread.name for thread in threading.enumerate()} == before


def test_a_renewal_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_claim, "RENEWAL", 0.001)
    renewals: list[int] = []

    def set_trial_system_attr(trial_id: int, name: str, value: int) -> None:
        renewals.append(value)
        if value < 3:
            raise OSError("database is locked")

    storage = SimpleNamespace(set_trial_system_attr=set_trial_system_attr)
    monkeypatch.setattr(trial_claim, "storage_of", lambda study: storage)
    with trial_claim.renewed(None, SimpleNamespace(_trial_id=1)):  # type: ignore[arg-type]
        while len(renewals) < 4:
            pass
    assert renewals[:4] == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["get_all_trials", "set_trial_system_attr"])
def test_errors_of_the_storage_have_one_type(
    study: Study, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OSError(5, "Input/output error")

    trial = _begin(study)
    monkeypatch.setattr(study._storage, name, fail)
    with pytest.raises(MetaLLMiXError, match=r"failed with OSError .*Input/output error"):
        trial_claim.claim(study, trial)


def test_added_trials_of_another_study_do_not_settle_a_study(study: Study) -> None:
    other = optuna.create_study(storage=study._storage)
    other.add_trials(_settled(study).trials)
    assert trial_claim.suggested_number(other) is None
    assert trial_claim.claim(other, _begin(other))


def test_a_copy_is_not_settled(study: Study) -> None:
    source = {"from_study_name": _settled(study).study_name, "from_storage": study._storage}
    optuna.copy_study(**source, to_storage=study._storage, to_study_name="copy")
    copy = optuna.load_study(study_name="copy", storage=study._storage)
    assert trial_claim.suggested_number(copy) is None
    _settle(copy, _ask(copy))
    assert trial_claim.suggested_number(copy) == 1
    assert trial_claim.suggested_number(study) == 0


def test_a_study_made_anew_from_its_own_trials_is_not_settled(study: Study) -> None:
    """SQLite reuses the ids of the deleted study and its trials."""
    trials, name = _settled(study).trials, study.study_name
    optuna.delete_study(study_name=name, storage=study._storage)
    again = optuna.create_study(study_name=name, storage=study._storage)
    again.add_trials(trials)
    assert trial_claim.suggested_number(again) is None
    assert trial_claim.claim(again, _begin(again))


def test_a_pickled_study_stays_settled() -> None:
    study = pickle.loads(pickle.dumps(_settled(optuna.create_study())))
    assert trial_claim.suggested_number(study) == 0


@pytest.mark.parametrize("claim_state", [trial_claim.CLAIMED, trial_claim.ASKED])
def test_copy_of_a_running_trial_has_no_claim(study: Study, claim_state: str) -> None:
    running = _begin(study)
    _mark(study, running, claim_state)
    other = optuna.create_study(storage=study._storage)
    other.add_trial(study.trials[0])
    assert trial_claim.claim(other, _begin(other))


DAMAGED = [None, "", "abc", 5, True, 1e308, [], [1], [1, 2, 3], {"a": 1}, [0, "asked", None, "x"]]


@pytest.mark.parametrize("value", DAMAGED, ids=repr)
def test_damaged_attributes_are_ignored(study: Study, value: Any) -> None:
    study._storage.set_study_system_attr(study._study_id, trial_claim.SETTLED_ATTR, value)
    running = _begin(study)
    _mark(study, running, trial_claim.ASKED)
    ended = create_trial(value=1.0, system_attrs={trial_claim.SEEN_ATTR: value})
    study.add_trial(ended)
    with pytest.raises(NotClaimedError):
        trial_claim.claim(study, _begin(study))
    study._storage.set_trial_system_attr(running._trial_id, CLAIM_ATTR, value)
    _settle(study, _ask(study))
    assert trial_claim.suggested_number(study) == 3


def test_a_duration_of_two_kinds_of_clocks_is_not_counted() -> None:
    """The end of the trial that saw the claim has a time zone, its start has none."""
    study = optuna.create_study()
    first = _ask(study)
    trial = _begin(study)
    with pytest.raises(NotClaimedError):
        trial_claim.claim(study, trial)
    ended = create_trial(value=1.0, system_attrs=study.trials[trial.number].system_attrs)
    ended.datetime_complete = ended.datetime_complete.astimezone(UTC) + timedelta(days=1)
    study.add_trial(ended)
    with pytest.raises(NotClaimedError):
        trial_claim.claim(study, _begin(study))
    _settle(study, first)

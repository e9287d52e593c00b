from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import datetime
from datetime import timedelta
from pathlib import Path

import optuna
import pytest
from optuna import Study
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix import trial_claim
from optuna_metallmix.trial_claim import CLAIM_ATTR


def _begin(study: Study) -> FrozenTrial:
    """Start a trial as Optuna does before it calls the sampler."""
    return study._storage.get_trial(study.ask()._trial_id)


def _end(study: Study, trial: FrozenTrial, state: TrialState = TrialState.FAIL) -> None:
    study.tell(trial.number, 1.0 if state is TrialState.COMPLETE else None, state=state)


def _mark(study: Study, trial: FrozenTrial, claim_state: str) -> None:
    mark = [claim_state, trial._trial_id]
    study._storage.set_trial_system_attr(trial._trial_id, CLAIM_ATTR, mark)


@pytest.fixture(params=["memory", "sqlite"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> Study:
    url = f"sqlite:///{tmp_path / 'hpo.db'}" if request.param == "sqlite" else None
    return optuna.create_study(storage=url)


@pytest.fixture
def add_old_running(study: Study) -> Callable[..., FrozenTrial]:
    """Adds a trial that has been running for some time, with or without a state."""

    def add(age: timedelta, claim_state: str | None = None) -> FrozenTrial:
        trial = create_trial(state=TrialState.RUNNING)
        trial.datetime_start = datetime.now() - age
        study.add_trial(trial)
        added = study.trials[-1]
        if claim_state is not None:
            _mark(study, added, claim_state)
        return added

    return add


def test_first_trial_claims_asks_and_settles(study: Study) -> None:
    trial = _begin(study)
    assert trial_claim.suggested_number(study) is None
    assert trial_claim.claim(study, trial)
    assert trial_claim.confirm(study, trial)
    assert trial_claim.suggested_number(study) is None
    trial_claim.settle(study, trial)
    assert trial_claim.suggested_number(study) == trial.number
    assert not trial_claim.claim(study, _begin(study))


def test_settled_stays_settled_when_its_trial_fails(study: Study) -> None:
    trial = _begin(study)
    trial_claim.claim(study, trial)
    trial_claim.confirm(study, trial)
    trial_claim.settle(study, trial)
    _end(study, trial)
    assert trial_claim.suggested_number(study) == trial.number
    assert not trial_claim.claim(study, _begin(study))


def test_a_higher_trial_passes_if_a_lower_trial_may_still_claim(study: Study) -> None:
    first, second = _begin(study), _begin(study)
    assert not trial_claim.claim(study, second)
    assert trial_claim.claim(study, first)
    assert trial_claim.confirm(study, first)


def test_the_lower_claim_wins_if_both_have_claimed(study: Study) -> None:
    first, second = _begin(study), _begin(study)
    trial_claim.claim(study, first)
    _mark(study, second, trial_claim.CLAIMED)
    assert not trial_claim.confirm(study, second)
    assert trial_claim.confirm(study, first)


def test_the_lower_trial_passes_if_a_higher_trial_is_asking(study: Study) -> None:
    first, second = _begin(study), _begin(study)
    _mark(study, second, trial_claim.ASKED)
    assert not trial_claim.claim(study, first)
    assert not trial_claim.confirm(study, first)


def test_a_trial_that_passes_is_not_waited_for(study: Study) -> None:
    first, second = _begin(study), _begin(study)
    assert not trial_claim.claim(study, second)
    _end(study, first)
    assert trial_claim.claim(study, _begin(study))


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
    second = _begin(study)
    assert trial_claim.claim(study, second)
    assert trial_claim.confirm(study, second)


def test_the_next_trial_claims_while_a_deferred_trial_runs(study: Study) -> None:
    first = _begin(study)
    trial_claim.claim(study, first)
    trial_claim.confirm(study, first)
    trial_claim.defer(study, first)
    assert trial_claim.suggested_number(study) is None
    second = _begin(study)
    assert trial_claim.claim(study, second)
    assert trial_claim.confirm(study, second)


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
    assert trial_claim.confirm(study, free)


def test_finished_trials_of_others_do_not_block(study: Study) -> None:
    space = {"x": FloatDistribution(0, 1)}
    study.add_trial(create_trial(params={"x": 0.5}, distributions=dict(space), value=1.0))
    study.add_trial(create_trial(state=TrialState.FAIL))
    trial = _begin(study)
    assert trial_claim.claim(study, trial)


def test_a_killed_trial_blocks_for_only_a_minute(
    study: Study, add_old_running: Callable[..., FrozenTrial]
) -> None:
    add_old_running(timedelta(seconds=61))
    trial = _begin(study)
    assert trial_claim.claim(study, trial)
    assert trial_claim.confirm(study, trial)


def test_a_recent_trial_without_a_state_blocks(
    study: Study, add_old_running: Callable[..., FrozenTrial]
) -> None:
    add_old_running(timedelta(seconds=30))
    assert not trial_claim.claim(study, _begin(study))


@pytest.mark.parametrize("claim_state", [trial_claim.CLAIMED, trial_claim.ASKED])
def test_claim_of_a_running_trial_lasts_an_hour(
    study: Study, add_old_running: Callable[..., FrozenTrial], claim_state: str
) -> None:
    add_old_running(timedelta(minutes=61), claim_state)
    old = _begin(study)
    assert trial_claim.claim(study, old)
    _end(study, old)
    add_old_running(timedelta(minutes=59), claim_state)
    assert not trial_claim.claim(study, _begin(study))


def _settled(study: Study) -> Study:
    trial = _begin(study)
    assert trial_claim.claim(study, trial)
    assert trial_claim.confirm(study, trial)
    trial_claim.settle(study, trial)
    _end(study, trial, TrialState.COMPLETE)
    return study


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
    trial = _begin(copy)
    assert trial_claim.claim(copy, trial)
    trial_claim.settle(copy, trial)
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
def test_copy_of_a_running_trial_has_no_claim(
    study: Study, add_old_running: Callable[..., FrozenTrial], claim_state: str
) -> None:
    other = optuna.create_study(storage=study._storage)
    other.add_trial(add_old_running(timedelta(minutes=5), claim_state))
    assert trial_claim.claim(other, _begin(other))

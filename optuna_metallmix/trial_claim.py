"""Decide which trial of a study gets the suggestion, across threads, processes and machines.

Optuna storages have no compare-and-set, but they create trials in order: a trial sees every trial
with a lower number. So each trial claims the suggestion when it starts, unless a lower trial has
claimed it or may still do so, and asks the model only if its claim is the lowest. If a trial ends
without an answer (it was interrupted or killed, or asked for no parameter), or defers because
nothing can be learned yet, the next trial may claim the suggestion.
"""

from __future__ import annotations

from datetime import datetime
from datetime import timedelta

from optuna import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.optuna_access import all_trials
from optuna_metallmix.optuna_access import is_enqueued
from optuna_metallmix.optuna_access import storage_of
from optuna_metallmix.optuna_access import trial_id_of


CLAIM_ATTR = "metallmix:claim"
"""System attribute of a trial; its value is one of the following states."""
CLAIMED = "claimed"
ASKED = "asked"
SETTLED = "settled"
DEFERRED = "deferred"
PASSED = "passed"

_CLAIM_DELAY = timedelta(minutes=1)
"""Time in which a running trial without a state may still claim; it takes milliseconds. A trial
that runs longer belongs to another sampler, or its process was killed."""
_CLAIM_LIFETIME = timedelta(hours=1)
"""Time after which the claim of a running trial expires. The objective may load data before its
first parameter, and large models are slow, but a killed process never answers."""


def is_settled(study: Study) -> bool:
    """Return whether a trial of the study has received the suggestion."""
    return any(_state(trial) == SETTLED for trial in all_trials(study))


def claim(study: Study, trial: FrozenTrial) -> bool:
    """Claim the suggestion for a starting trial; return whether it succeeded."""
    if is_enqueued(trial):
        return False
    taken = _is_taken(study, trial, wait_for_unclaimed=True)
    # A trial that passes records it too, so that later trials need not wait for it.
    _set_state(study, trial, PASSED if taken else CLAIMED)
    return not taken


def confirm(study: Study, trial: FrozenTrial) -> bool:
    """Confirm a claim just before asking the model; only the lowest claim succeeds."""
    if _is_taken(study, trial, wait_for_unclaimed=False):
        return False
    _set_state(study, trial, ASKED)
    return True


def settle(study: Study, trial: FrozenTrial) -> None:
    """Record that this trial was the study's only attempt at a suggestion."""
    _set_state(study, trial, SETTLED)


def defer(study: Study, trial: FrozenTrial) -> None:
    """Leave the suggestion to a later trial, because nothing can be learned yet."""
    _set_state(study, trial, DEFERRED)


def _is_taken(study: Study, trial: FrozenTrial, *, wait_for_unclaimed: bool) -> bool:
    return any(
        _state(other) == SETTLED or _has_precedence(other, trial, wait_for_unclaimed)
        for other in all_trials(study)
        if other.number != trial.number
    )


def _has_precedence(other: FrozenTrial, trial: FrozenTrial, wait_for_unclaimed: bool) -> bool:
    """Return whether ``other`` is asking the model, or may ask before ``trial``."""
    if other.state is not TrialState.RUNNING or is_enqueued(other):
        return False
    state, is_lower = _state(other), other.number < trial.number
    age = datetime.now() - (other.datetime_start or datetime.min)
    if state == ASKED or (state == CLAIMED and is_lower):
        return age < _CLAIM_LIFETIME
    return wait_for_unclaimed and state is None and is_lower and age < _CLAIM_DELAY


def _state(trial: FrozenTrial) -> str | None:
    state = trial.system_attrs.get(CLAIM_ATTR)
    return None if state is None else str(state)


def _set_state(study: Study, trial: FrozenTrial, state: str) -> None:
    storage_of(study).set_trial_system_attr(trial_id_of(trial), CLAIM_ATTR, state)

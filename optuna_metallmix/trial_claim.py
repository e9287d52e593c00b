"""Decide which trial of a study gets the suggestion, across threads, processes and machines.

Optuna storages have no compare-and-set, but they create trials in order: a trial sees every trial
with a lower number. So each trial claims the suggestion when it starts, unless a lower trial has
claimed it or may still do so, and asks the model only if its claim is the lowest. If a trial ends
without an answer (it was interrupted or killed, or asked for no parameter), or defers because
nothing can be learned yet, the next trial may claim the suggestion.

Trials and studies can be copied with their attributes. A copied mark names another study or trial,
and does not count. Only a copy with the same name and ids, as of a study that moves to an empty
storage, continues the original.
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
from optuna_metallmix.optuna_access import study_id_of
from optuna_metallmix.optuna_access import trial_id_of


CLAIM_ATTR = "metallmix:claim"
"""System attribute of a trial: one of the following states, and the id of the trial."""
CLAIMED = "claimed"
ASKED = "asked"
DEFERRED = "deferred"
PASSED = "passed"

SETTLED_ATTR = "metallmix:settled"
"""System attribute of a study: its name, its id, and the number of the trial that received the
suggestion. It is not an attribute of the trial, because trials can be added to other studies."""

_CLAIM_DELAY = timedelta(minutes=1)
"""Time in which a running trial without a state may still claim; it takes milliseconds. A trial
that runs longer belongs to another sampler, or its process was killed."""
_CLAIM_LIFETIME = timedelta(hours=1)
"""Time after which the claim of a running trial expires. The objective may load data before its
first parameter, and large models are slow, but a killed process never answers."""


def suggested_number(study: Study) -> int | None:
    """Return the number of the trial that received the suggestion, ``None`` if none has."""
    attributes = storage_of(study).get_study_system_attrs(study_id_of(study))
    *owner, number = attributes.get(SETTLED_ATTR, (None,))
    # Another study's attribute was copied by `optuna.copy_study`.
    return number if owner == [study.study_name, study_id_of(study)] else None


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
    study_id = study_id_of(study)
    storage_of(study).set_study_system_attr(
        study_id, SETTLED_ATTR, [study.study_name, study_id, trial.number]
    )


def defer(study: Study, trial: FrozenTrial) -> None:
    """Leave the suggestion to a later trial, because nothing can be learned yet."""
    _set_state(study, trial, DEFERRED)


def _is_taken(study: Study, trial: FrozenTrial, *, wait_for_unclaimed: bool) -> bool:
    others = [other for other in all_trials(study) if other.number != trial.number]
    if any(_has_precedence(other, trial, wait_for_unclaimed) for other in others):
        return True
    # Read after the trials: a trial that was asking until then has settled before it finished.
    return suggested_number(study) is not None


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
    state, trial_id = trial.system_attrs.get(CLAIM_ATTR, (None, None))
    return state if trial_id == trial_id_of(trial) else None  # a copied trial keeps the attribute


def _set_state(study: Study, trial: FrozenTrial, state: str) -> None:
    trial_id = trial_id_of(trial)
    storage_of(study).set_trial_system_attr(trial_id, CLAIM_ATTR, [state, trial_id])

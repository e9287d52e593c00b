"""study + trial -> is this the one trial that gets the suggestion?

Optuna offers no compare-and-set, but creates trials one after the other: a trial sees every trial
with a lower number. So a trial claims the suggestion as it starts, unless a lower one has claimed
it or may still be about to; and asks the model only where its claim is the lowest. A trial that
claimed and ended without an answer (interrupted, killed, nothing asked for), or that found nothing
to go by, gives the next one its turn.
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
CLAIMED = "claimed"
ASKED = "asked"
SETTLED = "settled"
DEFERRED = "deferred"
PASSED = "passed"

_UNMARKED_GRACE = timedelta(minutes=1)
"""How long a running trial without a mark may still be on its way to its claim: it comes within
milliseconds. Later it is another sampler's, or the remains of a process that was killed."""
_CLAIM_LIFETIME = timedelta(hours=1)
"""How long a running trial may hold a claim without an answer: an objective may load its data
before it asks for the first parameter, a large model is slow, and a process that was killed will
never have one."""


def is_settled(study: Study) -> bool:
    """Tell whether some trial of the study has had the suggestion already."""
    return any(_mark(one) == SETTLED for one in all_trials(study))


def claim(study: Study, trial: FrozenTrial) -> bool:
    """Claim the suggestion for a trial that starts, where nobody before it has or may."""
    if is_enqueued(trial):
        return False
    taken = _is_taken(study, trial, unmarked=True)
    # Also one that gives way says so: higher ones need not wait for it to claim.
    _set_mark(study, trial, PASSED if taken else CLAIMED)
    return not taken


def confirm(study: Study, trial: FrozenTrial) -> bool:
    """Turn a claim into the right to ask, just before asking; the lowest claim wins."""
    if _is_taken(study, trial, unmarked=False):
        return False
    _set_mark(study, trial, ASKED)
    return True


def settle(study: Study, trial: FrozenTrial) -> None:
    """End the matter: this trial was the study's one attempt at a suggestion."""
    _set_mark(study, trial, SETTLED)


def defer(study: Study, trial: FrozenTrial) -> None:
    """Leave the suggestion to a later trial: there is nothing to go by yet."""
    _set_mark(study, trial, DEFERRED)


def _is_taken(study: Study, trial: FrozenTrial, *, unmarked: bool) -> bool:
    others = [one for one in all_trials(study) if one.number != trial.number]
    return any(_mark(one) == SETTLED or _may_ask(one, trial, unmarked) for one in others)


def _may_ask(other: FrozenTrial, trial: FrozenTrial, unmarked: bool) -> bool:
    """Tell whether ``other`` asks, or comes before ``trial`` in asking."""
    if other.state is not TrialState.RUNNING or is_enqueued(other):
        return False
    mark, first = _mark(other), other.number < trial.number
    age = datetime.now() - (other.datetime_start or datetime.min)
    if mark == ASKED or (mark == CLAIMED and first):
        return age < _CLAIM_LIFETIME
    return unmarked and mark is None and first and age < _UNMARKED_GRACE


def _mark(trial: FrozenTrial) -> str | None:
    mark = trial.system_attrs.get(CLAIM_ATTR)
    return None if mark is None else str(mark)


def _set_mark(study: Study, trial: FrozenTrial, mark: str) -> None:
    storage_of(study).set_trial_system_attr(trial_id_of(trial), CLAIM_ATTR, mark)

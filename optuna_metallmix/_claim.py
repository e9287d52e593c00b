"""study + trial -> is this the one trial that gets the suggestion?

Optuna offers no compare-and-set, but creates trials one after the other: a trial sees every trial
with a lower number. So a trial claims the suggestion as it starts, unless a lower one has claimed
it or may still be about to; and asks the model only where its claim is the lowest. A trial that
claimed and ended without asking, or that found nothing to go by, gives the next one its turn.
"""

from __future__ import annotations

from datetime import datetime
from datetime import timedelta

from optuna import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix._optuna_access import all_trials
from optuna_metallmix._optuna_access import is_enqueued
from optuna_metallmix._optuna_access import storage_of
from optuna_metallmix._optuna_access import trial_id_of


CLAIM_ATTR = "metallmix:claim"
CLAIMED = "claimed"
ASKED = "asked"
DEFERRED = "deferred"

_UNMARKED_GRACE = timedelta(minutes=1)
"""How long a running trial without a mark may still be on its way to its claim: it comes within
milliseconds. Later it is another sampler's, or the remains of a process that was killed."""
_CLAIM_LIFETIME = timedelta(hours=1)
"""How long a running trial may hold a claim without asking: an objective may load its data before
it asks for the first parameter, and a process that was killed never will."""


def is_settled(study: Study) -> bool:
    """Tell whether some trial of the study has asked for the suggestion already."""
    return any(_mark(one) == ASKED for one in all_trials(study))


def claim(study: Study, trial: FrozenTrial) -> bool:
    """Claim the suggestion for a trial that starts, where nobody before it has or may."""
    if is_enqueued(trial) or _is_taken(study, trial, unmarked=True):
        return False
    _set_mark(study, trial, CLAIMED)
    return True


def confirm(study: Study, trial: FrozenTrial) -> bool:
    """Turn a claim into the right to ask, just before asking; the lowest claim wins."""
    if _is_taken(study, trial, unmarked=False):
        return False
    _set_mark(study, trial, ASKED)
    return True


def defer(study: Study, trial: FrozenTrial) -> None:
    """Leave the suggestion to a later trial: there is nothing to go by yet."""
    _set_mark(study, trial, DEFERRED)


def _is_taken(study: Study, trial: FrozenTrial, *, unmarked: bool) -> bool:
    return any(
        _mark(one) == ASKED or (one.number < trial.number and _may_ask(one, unmarked))
        for one in all_trials(study)
        if one.number != trial.number
    )


def _may_ask(trial: FrozenTrial, unmarked: bool) -> bool:
    if trial.state is not TrialState.RUNNING or is_enqueued(trial):
        return False
    age = datetime.now() - (trial.datetime_start or datetime.min)
    if _mark(trial) == CLAIMED:
        return age < _CLAIM_LIFETIME
    return unmarked and _mark(trial) is None and age < _UNMARKED_GRACE


def _mark(trial: FrozenTrial) -> str | None:
    mark = trial.system_attrs.get(CLAIM_ATTR)
    return None if mark is None else str(mark)


def _set_mark(study: Study, trial: FrozenTrial, mark: str) -> None:
    storage_of(study).set_trial_system_attr(trial_id_of(trial), CLAIM_ATTR, mark)

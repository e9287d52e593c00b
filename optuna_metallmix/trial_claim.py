"""Decide which trial of a study gets the suggestion, across threads, processes and machines.

Optuna storages have no compare-and-set. So a trial announces what it is about to do in an
attribute, and only then reads what the others have announced:

1. When it starts, it claims the suggestion. It passes if a lower trial has claimed it, or if any
   trial announces to ask the model, or asks it.
2. At its first parameter, it announces to ask, and asks. It passes if a lower trial announces it,
   or if any trial asks.

So two trials never ask at the same time (compare Lamport's bakery algorithm): each announces
before it reads, and the higher one passes. If a trial ends without an answer (it was interrupted,
or has no parameter), or defers because nothing can be learned yet, a trial that starts later can
claim the suggestion.

A claim is a lease, since a process may be killed. Clocks of different machines are not compared:
the trial that asks renews a counter, and the other processes measure, each by its own monotonic
clock, for how long a claim has not changed. Processes that run a single trial each leave what they
saw on it, and how long it ran. A trial that was taken for dead, as when its machine
was suspended, notices before it uses its answer that a trial that started later asks, and passes.

The suggestion is settled by a mark on the study, which is written once the trial has its record.
The mark counts once that trial has a parameter, too.

Trials and studies can be copied with their attributes. A copied mark names another study or trial,
and does not count. Only a copy with the same name and ids, as of a study that moves to an empty
storage, continues the original.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any
from typing import TypeVar

from cachetools import LRUCache
from optuna import Study
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.errors import MetaLLMiXError
from optuna_metallmix.fork_lock import ForkLock
from optuna_metallmix.optuna_access import all_trials
from optuna_metallmix.optuna_access import duration_of
from optuna_metallmix.optuna_access import find_trial
from optuna_metallmix.optuna_access import is_enqueued
from optuna_metallmix.optuna_access import storage_of
from optuna_metallmix.optuna_access import study_id_of
from optuna_metallmix.optuna_access import study_key
from optuna_metallmix.optuna_access import trial_id_of
from optuna_metallmix.text import describe_error


_T = TypeVar("_T")

CLAIM_ATTR = "metallmix:claim"
"""System attribute of a trial: one of the following states, and the id of the trial."""
CLAIMED = "claimed"
ANNOUNCED = "announced"
ASKED = "asked"
DEFERRED = "deferred"
PASSED = "passed"

ALIVE_ATTR = "metallmix:alive"
"""System attribute of a trial: a counter that grows while the trial asks the model."""

SEEN_ATTR = "metallmix:seen"
"""System attribute of a trial that passed: the number of the trial that it passed for, the state
and the counter of its claim, and for how many seconds, at least, these had not changed then."""

SETTLED_ATTR = "metallmix:settled"
"""System attribute of a study: its name, its id, the number of the trial that received the
suggestion, and whether it counts even if that trial has no parameter. It is not an attribute of
the trial, because trials can be added to other studies."""

LEASE = 90.0
"""Seconds without a change after which a claim has expired."""
RENEWAL = 15.0
"""Seconds between two renewals: a busy machine or storage may miss a few."""
_MAX_WAIT = 2.0
"""Seconds in which two trials that claim at the same time agree; it takes milliseconds."""

_LOCK = ForkLock()
_SEEN: LRUCache[tuple[Any, ...], tuple[Any, float]] = LRUCache(1_000)
"""The latest claim of other trials, and the time at which this process first saw it."""


class NotClaimedError(MetaLLMiXError):
    """A trial has no suggestion, because another has it; the message is the reason."""


def suggested_number(study: Study) -> int | None:
    """Return the number of the trial that received the suggestion, ``None`` if none has.

    Raises:
        MetaLLMiXError: The storage failed; as all functions of this module.
    """
    mark = _mark(study)
    return None if mark is None else mark[0]


def claim(study: Study, trial: FrozenTrial) -> bool:
    """Claim the suggestion for a starting trial.

    Returns:
        Whether the claim succeeded. It does not if the trial is enqueued, or if the suggestion was
        made by a trial that has finished.

    Raises:
        NotClaimedError: Another trial has claimed the suggestion, or has it but is not finished.
    """
    if is_enqueued(trial) or _is_settled(study):
        return False
    _set_state(study, trial, CLAIMED)
    for other, state in _claims(study, trial):
        if state != CLAIMED or other.number < trial.number:
            _set_state(study, trial, PASSED)  # so that the other need not wait for this trial
            seen = [*_seen(other), _unchanged(other, _trials(study))]
            _call(storage_of(study).set_trial_system_attr, trial_id_of(trial), SEEN_ATTR, seen)
            raise NotClaimedError(_describe(other))
    return True


def confirm(study: Study, trial: FrozenTrial) -> None:
    """Confirm the claim of a trial that asks the model now.

    Raises:
        NotClaimedError: Another trial asks, or has received the suggestion.
    """
    _set_state(study, trial, ANNOUNCED)
    try:
        _await_others(study, trial)
        # Read after the claims: a trial that asked until then has settled before it finished.
        if _is_settled(study):
            raise NotClaimedError(f"Trial {suggested_number(study)} received the suggestion.")
    except NotClaimedError:
        _set_state(study, trial, PASSED)
        raise
    _set_state(study, trial, ASKED)


def unused(study: Study, trial: FrozenTrial) -> set[int]:
    """Return the numbers of running trials whose suggestion can be made again, for this trial.

    These are the trial itself, and those that were killed after the suggestion was stored on them,
    before their first parameter.
    """
    return {trial.number} | {
        other.number
        for other in _trials(study)
        if _state(other) in (CLAIMED, ANNOUNCED, ASKED) and not other.params
    }


def _await_others(study: Study, trial: FrozenTrial) -> None:
    """Wait until no other trial may ask; raise :class:`NotClaimedError` if one does."""
    deadline = time.monotonic() + _MAX_WAIT
    while True:
        others = [
            (other, state)
            for other, state in _claims(study, trial)
            if state != CLAIMED or other.number < trial.number
        ]
        if not others:
            return
        for other, state in others:
            is_first = state == ANNOUNCED and other.number < trial.number
            if state == ASKED or is_first or time.monotonic() > deadline:
                raise NotClaimedError(_describe(other))
        time.sleep(0.02)  # a lower one announces or passes, a higher one passes, within moments


@contextmanager
def renewed(study: Study, trial: FrozenTrial) -> Iterator[None]:
    """Renew the claim of a trial that asks, until the body ends."""
    stopped = threading.Event()
    arguments = storage_of(study), trial_id_of(trial), stopped
    thread = threading.Thread(target=_renew, args=arguments, name="metallmix-renewal", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(timeout=1.0)  # it may wait for a slow storage


def check(study: Study, trial: FrozenTrial) -> None:
    """Check that no other trial has taken over the claim of a trial that asked.

    Raises:
        NotClaimedError: A trial that started later has, as this one gave no sign of life.
    """
    later = [
        other.number
        for other, state in _claims(study, trial)
        if state == ASKED and other.number > trial.number
    ]
    try:
        if not later and not _is_settled(study):
            return
    except NotClaimedError:  # the other trial has the suggestion already
        pass
    number = later[0] if later else suggested_number(study)
    _set_state(study, trial, PASSED)
    raise NotClaimedError(
        f"This trial gave no sign of life for {LEASE:.0f} s while it asked for the suggestion, so "
        f"trial {number} asked for it again."
    )


def settle(study: Study, trial: FrozenTrial, *, always: bool = False) -> None:
    """Record that this trial has received the study's only suggestion.

    Args:
        study: The study.
        trial: The trial.
        always: Whether this counts even if the trial ends without a parameter. Otherwise its first
            parameter may not have been stored, and a later trial can claim the suggestion.
    """
    study_id = study_id_of(study)
    mark = [study.study_name, study_id, trial.number, always]
    _call(storage_of(study).set_study_system_attr, study_id, SETTLED_ATTR, mark)


def defer(study: Study, trial: FrozenTrial) -> None:
    """Leave the suggestion to a later trial, because nothing can be learned yet."""
    _set_state(study, trial, DEFERRED)


def _mark(study: Study) -> tuple[int, bool] | None:
    """Return the number of the trial that is marked, and whether the mark always counts."""
    attributes = _call(storage_of(study).get_study_system_attrs, study_id_of(study))
    mark = attributes.get(SETTLED_ATTR)
    owner = [study.study_name, study_id_of(study)]
    # Another study's attribute was copied by `optuna.copy_study`; anyone can damage it.
    if not isinstance(mark, list) or mark[:2] != owner or type(mark[2:3] and mark[2]) is not int:
        return None
    return mark[2], any(mark[3:])


def _is_settled(study: Study) -> bool:
    """Return whether the suggestion was made by a trial that has finished.

    Raises:
        NotClaimedError: The trial has not finished.
    """
    if (mark := _mark(study)) is None:
        return False
    number, always = mark
    marked = _call(find_trial, study, number)
    if always or marked is None:
        return True
    if marked.params and marked.state is TrialState.RUNNING:
        raise NotClaimedError(
            f"Trial {number} had the suggestion, and had not finished when this trial started. If "
            "its process was killed, evaluate it again with "
            f"study.enqueue_trial(study.trials[{number}].params)."
        )
    return bool(marked.params)


def _claims(study: Study, trial: FrozenTrial) -> list[tuple[FrozenTrial, str]]:
    """Return the other trials with a claim that has not expired, and its state.

    A trial that asks keeps its claim, for a lower trial, even if it gives no sign of life: only
    trials that start later take it over, so that it can tell.
    """
    found, trials = [], _trials(study)
    for other in trials:
        state = None if other.number == trial.number else _state(other)
        if state not in (CLAIMED, ANNOUNCED, ASKED) or other.state is not TrialState.RUNNING:
            continue
        is_alive = _watched(study, other) < LEASE and _unchanged(other, trials) < LEASE
        if is_alive or (state == ASKED and other.number > trial.number):
            found.append((other, state))
    return found


def _seen(other: FrozenTrial) -> list[Any]:
    return [other.number, _state(other), other.system_attrs.get(ALIVE_ATTR)]


def _watched(study: Study, other: FrozenTrial) -> float:
    """Return for how many seconds this process has seen no change of a claim."""
    claimed, now = _seen(other), time.monotonic()
    key = *study_key(study), trial_id_of(other)
    with _LOCK:
        seen, since = _SEEN.get(key, (None, now))
        if seen != claimed:
            since = now
        _SEEN[key] = claimed, since
    return now - since


def _unchanged(other: FrozenTrial, trials: Iterable[FrozenTrial]) -> float:
    """Return for how many seconds, at least, a claim has not changed by what trials left.

    A trial that saw the same claim when it started, and has finished, lasted in between. Its start
    and its end are by the same clock.
    """
    claimed, seconds = _seen(other), 0.0
    for trial in trials:
        *seen, before = _list(trial, SEEN_ATTR) or [None]
        duration = duration_of(trial)
        if seen == claimed and isinstance(before, int | float) and duration is not None:
            seconds = max(seconds, before + duration.total_seconds())
    return seconds


def _list(trial: FrozenTrial, name: str) -> list[Any]:
    """Return a list among the attributes of a trial; empty if there is none, or it is damaged."""
    value = trial.system_attrs.get(name)
    return value if isinstance(value, list) else []


def _describe(other: FrozenTrial) -> str:
    # It does not name the trial that passes, so that it is said once, and stays true.
    return (
        f"Trial {other.number} had claimed the suggestion, so this trial was sampled without it. "
        f"If the process of trial {other.number} was killed before it had the suggestion, a trial "
        f"that starts at least {LEASE:.0f} s later makes it."
    )


def _renew(storage: BaseStorage, trial_id: int, stopped: threading.Event) -> None:
    for renewals in count(1):
        if stopped.wait(RENEWAL):
            return
        try:
            storage.set_trial_system_attr(trial_id, ALIVE_ATTR, renewals)
        except Exception:  # any: it depends on the storage, which may work again next time
            continue


def _state(trial: FrozenTrial) -> str | None:
    claimed = _list(trial, CLAIM_ATTR)
    is_own = claimed[1:] == [trial_id_of(trial)]  # a copied trial keeps the attribute
    return claimed[0] if is_own else None


def _set_state(study: Study, trial: FrozenTrial, state: str) -> None:
    trial_id = trial_id_of(trial)
    _call(storage_of(study).set_trial_system_attr, trial_id, CLAIM_ATTR, [state, trial_id])


def _trials(study: Study) -> list[FrozenTrial]:
    return _call(all_trials, study)


def _call(function: Callable[..., _T], *arguments: Any) -> _T:
    """Call a method of a storage; see :func:`storage_error`."""
    try:
        return function(*arguments)
    except Exception as error:  # any: it depends on the storage
        raise storage_error(error) from error


def storage_error(error: Exception) -> MetaLLMiXError:
    """Return the error to raise instead of one that a storage has raised."""
    return MetaLLMiXError(
        f"The storage failed with {describe_error(error)}. Check that it can be reached and is "
        "writable."
    )

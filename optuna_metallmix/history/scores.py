"""Rank the configurations of a past study.

A configuration is compared with the others of its own study only, so that studies with different
data, metrics and directions can be combined. Its rank is 1 for the best of its study and 0 for the
worst. Its regret score keeps the distances between values: 1 is the best, 0 the median of the
complete trials, and everything that is as far below the median as the best is above it, or
farther, is -1.

* **Complete** trials are ranked by their value; equal values share their mean rank.
* **Pruned** trials are ranked by their last reported value, but never above the middle of the
  complete ones: training was not finished, and the pruner found it worse than others. Without a
  report they count as failed.
* **Failed** trials, and complete ones with an infinite value in the bad direction, have rank 0. A
  configuration that crashes or diverges is evidence: without them the first suggestion was worse
  (measured 2026-11).
* A configuration that was run several times counts once, with the mean of its complete values, or
  else of its last reports: a run that was killed and repeated did not fail.
* Trials that are waiting, running, without a parameter, or have an infinite value in the good
  direction are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.space import Config
from optuna_metallmix.space import config_key


class UnusableStudyError(HistoryError):
    """Nothing can be learned from a study; the message is the reason."""


@dataclass(frozen=True)
class PastTrial:
    """A configuration that was tried in a past study.

    Attributes:
        params: The parameter values by name, without inactive parameters.
        rank: Rank in its study, in [0, 1]; 1 is the best.
        value: The objective value in the unit of the study; ``None`` if the trial failed.
        seconds: Duration of the longest complete run; ``None`` if there is none, or if the
            storage has no durations (``study.add_trial`` sets the start and end to the same time).
        regret_score: Value on the scale of its study, in [-1, 1]; 1 is the best, 0 the median.
    """

    params: Config
    rank: float
    value: float | None
    seconds: float | None
    regret_score: float = 0.0


def rank_trials(trials: Sequence[FrozenTrial], sign: float) -> list[PastTrial]:
    """Rank the configurations of a study, best first.

    Args:
        trials: Trials whose :func:`signed_value` is known.
        sign: -1 if the study minimizes, else 1.

    Raises:
        UnusableStudyError: There are not two complete trials with different values.
    """
    runs_by_config: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        runs_by_config.setdefault(config_key(trial.params), []).append(trial)
    configs = list(runs_by_config.values())
    merged = [_merge(runs, sign) for runs in configs]
    values, states = np.array([value for value, _ in merged]), [state for _, state in merged]
    ranks = _ranks(values.copy(), states)
    past = [
        PastTrial(
            params=runs[0].params,
            rank=rank,
            value=sign * value if value > -math.inf else None,
            seconds=_seconds(runs),
            regret_score=regret_score,
        )
        for runs, rank, regret_score, (value, _) in zip(
            configs, ranks, _regret_scores(values, states), merged, strict=True
        )
    ]
    return sorted(past, key=lambda trial: -trial.rank)


def signed_value(trial: FrozenTrial, sign: float) -> float | None:
    """Return the value to rank a trial by, larger is better.

    Returns:
        ``sign`` times the value or last report, -inf for a failure, or ``None`` if the trial
        cannot be ranked.
    """
    value = None if trial.state is TrialState.FAIL else trial.value
    if trial.state is TrialState.PRUNED and value is None and trial.last_step is not None:
        value = trial.intermediate_values[trial.last_step]
    if value is None or math.isnan(value):
        return -math.inf
    return None if sign * value == math.inf else sign * value


def _merge(runs: Sequence[FrozenTrial], sign: float) -> tuple[float, TrialState]:
    """Return the mean signed value, and the best state, of the runs of a configuration."""
    for state in (TrialState.COMPLETE, TrialState.PRUNED):
        values = [signed_value(run, sign) for run in runs if run.state is state]
        if finite := [value for value in values if value is not None and math.isfinite(value)]:
            return mean(finite), state  # exact: a sum of floats may overflow
    return -math.inf, TrialState.FAIL


def _seconds(runs: Sequence[FrozenTrial]) -> float | None:
    durations = [run.duration for run in runs if run.state is TrialState.COMPLETE]
    seconds = [duration.total_seconds() for duration in durations if duration is not None]
    return max((value for value in seconds if value > 0), default=None)


def _ranks(values: NDArray[np.float64], states: Sequence[TrialState]) -> list[float]:
    complete = np.sort(values[[state is TrialState.COMPLETE for state in states]])
    if len(complete) == 0:
        raise UnusableStudyError("it has no complete trial with a finite value")
    if len(complete) == 1:
        raise UnusableStudyError("it has only one complete trial, and nothing to compare it with")
    if complete[0] == complete[-1]:
        raise UnusableStudyError("all its complete trials have the same value")
    pruned = [state is TrialState.PRUNED for state in states]
    values[pruned] = np.minimum(values[pruned], complete[(len(complete) - 1) // 2])
    ordered = np.sort(values)
    last = np.searchsorted(ordered, values, "right") - 1
    shared = (np.searchsorted(ordered, values) + last) / 2 / (len(values) - 1)
    ranks: list[float] = np.where(values == -np.inf, 0.0, shared).tolist()
    return ranks


def _regret_scores(values: NDArray[np.float64], states: Sequence[TrialState]) -> list[float]:
    is_complete = [state is TrialState.COMPLETE for state in states]
    # Differences of values near the largest float would overflow.
    _, exponent = np.frexp(np.max(np.abs(values[is_complete])))
    with np.errstate(all="ignore"):
        values = np.ldexp(values, -exponent)
        complete = values[is_complete]
        best, median = complete.max(), np.median(complete)
        if median == best:  # the next value takes the median's place: only the best scores 1
            median = complete[complete < best].max()
        scores = np.maximum(1 - (best - values) / (best - median), -1)
    pruned = [state is TrialState.PRUNED for state in states]
    scores[pruned] = np.minimum(scores[pruned], 0)
    regret_scores: list[float] = scores.tolist()
    return regret_scores

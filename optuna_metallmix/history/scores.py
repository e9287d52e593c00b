"""Rank the configurations of one past study.

A rank compares a configuration with the others of its own study only, so that studies with
different data, metrics and directions can be combined: 1 is the best of its study, 0 the worst.

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
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.space import config_key


@dataclass(frozen=True)
class MeasuredConfig:
    """The runs of one configuration, taken together.

    Attributes:
        params: The parameter values by name.
        signed_value: The objective value, negated if the study minimizes; -inf for a failure.
        state: The best state among the runs.
        seconds: Duration of the longest complete run; ``None`` if there is none, or if the
            storage has no durations (``study.add_trial`` sets the start and end to the same time).
    """

    params: Mapping[str, Any]
    signed_value: float
    state: TrialState
    seconds: float | None


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


def merge_runs(trials: Sequence[FrozenTrial], sign: float) -> list[MeasuredConfig]:
    """Merge the trials that ran the same configuration; ``sign`` is -1 if the study minimizes."""
    runs_by_config: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        runs_by_config.setdefault(config_key(trial.params), []).append(trial)
    return [_merge(runs, sign) for runs in runs_by_config.values()]


def _merge(runs: Sequence[FrozenTrial], sign: float) -> MeasuredConfig:
    seconds = _longest_complete(runs)
    for state in (TrialState.COMPLETE, TrialState.PRUNED):
        values = [signed_value(run, sign) for run in runs if run.state is state]
        if finite := [value for value in values if value is not None and math.isfinite(value)]:
            return MeasuredConfig(runs[0].params, fmean(finite), state, seconds)
    return MeasuredConfig(runs[0].params, -math.inf, TrialState.FAIL, seconds)


def _longest_complete(runs: Sequence[FrozenTrial]) -> float | None:
    durations = [run.duration for run in runs if run.state is TrialState.COMPLETE]
    seconds = [duration.total_seconds() for duration in durations if duration is not None]
    return max((value for value in seconds if value > 0), default=None)


def rank_configs(configs: Sequence[MeasuredConfig]) -> list[float]:
    """Return the rank in [0, 1] of each configuration; at least one must be complete."""
    values = np.array([config.signed_value for config in configs])
    complete = [config.state is TrialState.COMPLETE for config in configs]
    pruned = [config.state is TrialState.PRUNED for config in configs]
    ceiling = np.sort(values[complete])[(sum(complete) - 1) // 2]
    values[pruned] = np.minimum(values[pruned], ceiling)
    ordered = np.sort(values)
    last = np.searchsorted(ordered, values, "right") - 1
    shared = (np.searchsorted(ordered, values) + last) / 2 / (len(values) - 1)
    ranks: list[float] = np.where(values == -np.inf, 0.0, shared).tolist()
    return ranks

"""trials of one study -> its configurations, each with one rank.

Which trials count, and how much
--------------------------------
Ranks compare a trial with the others of its own study only, so that studies on different data,
metrics and directions can stand side by side: 1 is the best trial of its study, 0 the worst.

* **Complete**: by the rank of its value, direction honoured, equal values sharing their mean rank.
* **Pruned**: by the rank of its last report, but never above the middle of the complete trials:
  the value is of an unfinished training, and a pruner found it worse than its peers. Without a
  report, as failed.
* **Failed**, and complete with an infinite value in the bad direction: rank 0. A configuration
  that crashed or diverged is evidence (dropping such runs made the first pick worse, DESIGN).
* A configuration tried several times counts once, with the mean of the values it completed with,
  else of its last reports: a run that was killed and tried again did not fail.
* An infinite value in the good direction is no measurement, and is left out, as are waiting and
  running trials and trials without a parameter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.space import config_key


@dataclass(frozen=True)
class TriedConfig:
    """One configuration, however often it was tried.

    Attributes:
        params: Its values by name.
        worth: What it is ranked by, more is better: its value, turned round where less is.
        state: How far its best run went.
        seconds: How long its longest complete run took; ``None`` where there is none, or the
            storage does not say: a trial that was added starts and ends at once.
    """

    params: Mapping[str, Any]
    worth: float
    state: TrialState
    seconds: float | None


def by_config(trials: Sequence[FrozenTrial], sign: float) -> list[TriedConfig]:
    """Take the trials of each configuration together; ``sign`` is -1 where less is better."""
    groups: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        groups.setdefault(config_key(trial.params), []).append(trial)
    return [_as_one(runs, sign) for runs in groups.values()]


def _as_one(runs: Sequence[FrozenTrial], sign: float) -> TriedConfig:
    """Take the runs of one configuration that went furthest together."""
    for state in (TrialState.COMPLETE, TrialState.PRUNED):
        worths = [worth_of(one, sign) for one in runs if one.state is state]
        if finite := [worth for worth in worths if worth is not None and math.isfinite(worth)]:
            return TriedConfig(runs[0].params, fmean(finite), state, _seconds(runs))
    return TriedConfig(runs[0].params, -math.inf, TrialState.FAIL, _seconds(runs))


def worth_of(trial: FrozenTrial, sign: float) -> float | None:
    """Return what is ranked, more is better; -inf for a failure, ``None`` for no evidence."""
    value = None if trial.state is TrialState.FAIL else trial.value
    if trial.state is TrialState.PRUNED and value is None and trial.last_step is not None:
        value = trial.intermediate_values[trial.last_step]
    if value is None or math.isnan(value):
        return -math.inf
    return None if sign * value == math.inf else sign * value


def ranks_of(configs: Sequence[TriedConfig]) -> list[float]:
    """Return the ranks of configurations, in [0, 1]; one of them at least is complete."""
    complete = sorted(one.worth for one in configs if one.state is TrialState.COMPLETE)
    ceiling = complete[(len(complete) - 1) // 2]
    worths = [
        min(one.worth, ceiling) if one.state is TrialState.PRUNED else one.worth for one in configs
    ]
    ordered = sorted(worths)
    first = {worth: i for i, worth in reversed(list(enumerate(ordered)))}
    last = {worth: i for i, worth in enumerate(ordered)}
    top = len(worths) - 1
    return [
        0.0 if worth == -math.inf else (first[worth] + last[worth]) / 2 / top for worth in worths
    ]


def _seconds(runs: Sequence[FrozenTrial]) -> float | None:
    complete = [one.duration for one in runs if one.state is TrialState.COMPLETE]
    seconds = [one.total_seconds() for one in complete if one is not None]
    return max((one for one in seconds if one > 0), default=None)

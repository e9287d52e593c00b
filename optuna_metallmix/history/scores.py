"""Rank the configurations of a past study.

A configuration is compared with the others of its own study only, so that studies with different
data, metrics and directions can be combined. Its rank is 1 for the best of its study and 0 for the
worst.

* **Complete** trials are ranked by their value; equal values share their mean rank.
* **Pruned** trials are ranked by their last reported value, but never above the middle of the
  complete ones: training was not finished, and the pruner found it worse than others. Without a
  report they count as failed.
* **Failed** trials, and complete ones with an infinite value in the bad direction, have rank 0. A
  configuration that crashes or diverges is evidence: without them the first suggestion was worse
  (measured 2026-11).
* **Infeasible** trials, which violate a constraint, have rank 0, too, however good their value is.
* A configuration that was run several times counts once, with the mean of its complete values, or
  else of its last reports: a run that was killed and repeated did not fail.
* Trials that are waiting, running, or have an infinite value in the good direction are left out,
  and so are those without a parameter or with a numeric one whose value is no finite number.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history.meta_features import MetaFeatures
from optuna_metallmix.optuna_access import duration_of
from optuna_metallmix.optuna_access import is_feasible
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import config_key
from optuna_metallmix.space import is_number
from optuna_metallmix.space import merge_spaces


NO_COMPLETE = "it has no complete trial with a finite value"
"""Why nothing can be learned from a study without results."""
_LARGEST = sys.float_info.max
_N_BEST = 10
"""Number of a study's best trials that are always kept."""

Measured: TypeAlias = tuple[FrozenTrial, float]
"""A trial and its :func:`signed_value`."""


class UnusableStudyError(HistoryError):
    """Nothing can be learned from a study; the message is the reason."""


class UnreadableStudyError(UnusableStudyError):
    """A study is damaged, or was written by an unknown version of Optuna."""


@dataclass(frozen=True)
class PastTrial:
    """A configuration that was tried in a past study.

    Attributes:
        params: The parameter values by name, without inactive parameters.
        rank: Rank in its study, in [0, 1]; 1 is the best.
        value: The objective value in the unit of the study; ``None`` if the trial failed or is
            infeasible.
        seconds: Duration of the longest complete run; ``None`` if there is none, or if the
            storage has no durations (``study.add_trial`` sets the start and end to the same time).
    """

    params: Config
    rank: float
    value: float | None
    seconds: float | None


@dataclass(frozen=True)
class PastStudy:
    """A past study.

    Attributes:
        name: The name of the study.
        space: The distributions of its parameters by name.
        trials: Its configurations, best first.
        meta_features: Its scalar user attributes.
        is_target: Whether it consists of the earlier trials of the study being optimized.
        study_id: Its id in the storage; ``None`` if it was not read from one.
    """

    name: str
    space: SearchSpace
    trials: tuple[PastTrial, ...]
    meta_features: MetaFeatures
    is_target: bool = False
    study_id: int | None = None


def score_study(name: str, direction: StudyDirection, trials: Sequence[FrozenTrial]) -> PastStudy:
    """Rank the trials of a study, without meta-features.

    Raises:
        HistoryError: Nothing can be learned from the study; the message is the reason.
    """
    sign = sign_of(direction)
    measured = [(t, value) for t in trials if (value := signed_value(t, sign)) is not None]
    spaces = [trial.distributions for trial, _ in measured]
    if all(space is spaces[0] for space in spaces):  # also far quicker
        spaces = spaces[:1]
    return PastStudy(name, merge_spaces(spaces), tuple(rank_trials(measured, sign)), {})


def sign_of(direction: StudyDirection) -> float:
    """Return the factor by which larger values are better."""
    return 1.0 if direction is StudyDirection.MAXIMIZE else -1.0


def sample_trials(trials: Sequence[FrozenTrial], sign: float, limit: int) -> Sequence[FrozenTrial]:
    """Return at most ``limit`` trials, at least 2, evenly spaced from the best to the worst.

    Up to ten of the best are always among them: the first candidates are made of these.
    """
    if len(trials) <= limit:
        return trials
    values = [_order_value(trial, sign) for trial in trials]
    order = sorted((-value, i) for i, value in enumerate(values) if value is not None)
    if len(order) > limit:
        n_best = min(_N_BEST, limit // 4)
        spaced = np.linspace(n_best, len(order) - 1, limit - n_best).round().astype(int)
        order = order[:n_best] + [order[i] for i in spaced]
    return [trials[i] for i in sorted(i for _, i in order)]


def _order_value(trial: FrozenTrial, sign: float) -> float | None:
    """Return the value to order a trial by, larger is better, whatever its parameters are."""
    try:
        return _ranking_value(trial, sign)
    except UnusableStudyError:  # reported if the trial is used
        return -math.inf


def rank_trials(measured: Sequence[Measured], sign: float) -> list[PastTrial]:
    """Rank the configurations of a study, best first.

    Args:
        measured: Trials with their :func:`signed_value`, which is known.
        sign: -1 if the study minimizes, else 1.

    Raises:
        UnusableStudyError: No feasible complete trial is better than another trial that is
            complete, too.
    """
    runs_by_config: dict[Hashable, list[Measured]] = {}
    for trial, value in measured:
        runs_by_config.setdefault(config_key(trial.params), []).append((trial, value))
    configs = list(runs_by_config.values())
    merged = [_merge(runs) for runs in configs]
    _check_comparable(configs, merged)
    past = [
        PastTrial(
            params=runs[0][0].params,
            rank=rank,
            value=sign * value if value > -math.inf else None,
            seconds=_seconds([trial for trial, _ in runs]),
        )
        for runs, (value, _), rank in zip(configs, merged, _ranks(merged), strict=True)
    ]
    return sorted(past, key=lambda trial: -trial.rank)


def signed_value(trial: FrozenTrial, sign: float) -> float | None:
    """Return the value to rank a trial by, larger is better.

    Returns:
        ``sign`` times the value or last report, -inf for a failure or a violated constraint, or
        ``None`` if the trial cannot be ranked.

    Raises:
        UnusableStudyError: There are several values, or a value or constraint is not a number.
    """
    if not _has_known_params(trial):
        return None
    return _ranking_value(trial, sign)


def _ranking_value(trial: FrozenTrial, sign: float) -> float | None:
    try:
        value = math.nan if trial.state is TrialState.FAIL else sign * _value(trial)
        if math.isnan(value) or not is_feasible(trial):
            return -math.inf
    except (TypeError, ValueError) as error:
        raise UnusableStudyError(
            f"the value or a constraint of trial {trial.number} is not a number ({error})"
        ) from error
    return None if value == math.inf else value


def _has_known_params(trial: FrozenTrial) -> bool:
    """Return whether there are parameters, and all numeric ones have a finite number."""
    params, distributions = trial.params, trial.distributions
    others = [
        name
        for name, value in params.items()
        if not (type(value) in (float, int) and -_LARGEST <= value <= _LARGEST)
    ]
    return bool(params) and all(
        isinstance(distributions[name], CategoricalDistribution) or is_number(params[name])
        for name in others
    )


def _value(trial: FrozenTrial) -> float:
    """Return the value or last report, ``nan`` if there is neither."""
    if trial.values is not None:
        (value,) = trial.values
    elif trial.state is TrialState.PRUNED and trial.last_step is not None:
        value = trial.intermediate_values[trial.last_step]
    else:
        value = None
    try:
        return math.nan if value is None else float(value)
    except OverflowError:  # an integer too large for a float
        return math.inf if value > 0 else -math.inf


def _merge(runs: Sequence[Measured]) -> tuple[float, TrialState]:
    """Return the mean signed value, and the best state, of the runs of a configuration."""
    for state in (TrialState.COMPLETE, TrialState.PRUNED):
        finite = [value for run, value in runs if run.state is state and value > -math.inf]
        if finite:  # `mean` is exact, so that its sum does not overflow, but slow
            return mean(finite) if len(finite) > 1 else finite[0], state
    return -math.inf, TrialState.FAIL


def _check_comparable(
    configs: Sequence[Sequence[Measured]], merged: Sequence[tuple[float, TrialState]]
) -> None:
    complete = [value for value, state in merged if state is TrialState.COMPLETE]
    is_constrained = any(
        value == -math.inf and not all(is_feasible(trial) for trial, _ in runs)
        for runs, (value, _) in zip(configs, merged, strict=True)
    )
    if not complete:
        suffix = " that satisfies the constraints" if is_constrained else ""
        raise UnusableStudyError(f"{NO_COMPLETE}{suffix}")
    if is_constrained:  # any feasible trial is better than an infeasible one
        return
    if len(complete) == 1:
        raise UnusableStudyError("it has only one complete trial, and nothing to compare it with")
    if min(complete) == max(complete):
        raise UnusableStudyError("all its complete trials have the same value")


def _seconds(runs: Sequence[FrozenTrial]) -> float | None:
    durations = [duration_of(run) for run in runs if run.state is TrialState.COMPLETE]
    seconds = [duration.total_seconds() for duration in durations if duration is not None]
    return max((value for value in seconds if value > 0), default=None)


def _ranks(merged: Sequence[tuple[float, TrialState]]) -> list[float]:
    values = np.array([value for value, _ in merged])
    complete = np.sort(values[_are(TrialState.COMPLETE, merged)])
    pruned = _are(TrialState.PRUNED, merged)
    values = np.where(pruned, np.minimum(values, complete[(len(complete) - 1) // 2]), values)
    ordered = np.sort(values)
    last = np.searchsorted(ordered, values, "right") - 1
    shared = (np.searchsorted(ordered, values) + last) / 2 / (len(values) - 1)
    ranks: list[float] = np.where(values == -np.inf, 0.0, shared).tolist()
    return ranks


def _are(state: TrialState, merged: Sequence[tuple[float, TrialState]]) -> NDArray[np.bool_]:
    return np.array([other is state for _, other in merged])

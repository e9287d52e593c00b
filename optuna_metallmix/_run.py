"""study -> run: the best value after each of its trials, and after how many seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix._errors import HistoryError
from optuna_metallmix._history import read_storage
from optuna_metallmix._optuna_access import PREFERENTIAL_ATTR
from optuna_metallmix._optuna_access import all_trials
from optuna_metallmix._optuna_access import describe_storage
from optuna_metallmix._optuna_access import is_feasible
from optuna_metallmix._optuna_access import is_single_objective
from optuna_metallmix._optuna_access import storage_of
from optuna_metallmix._optuna_access import study_id_of


@dataclass(frozen=True)
class Run:
    """What one study had reached after each of its finished trials, in the order of their starts.

    A pruned or failed trial counts, for it was paid for, but reaches nothing; nor does one whose
    value is infinite, or that violates a constraint. Waiting and running trials do not count yet.

    Attributes:
        name: The study's name.
        best: (n,) the best so far, turned round where less is better: more is better; ``-inf`` as
            long as there is none.
        seconds: (n,) seconds until then in which a trial was running: trials side by side count
            once, and a pause between two sessions not at all. All ``nan`` where the storage does
            not say, as of trials that were added.
    """

    name: str
    best: np.ndarray
    seconds: np.ndarray

    def first(self, n_trials: int) -> Run:
        """Return what it was after ``n_trials``."""
        return Run(self.name, self.best[:n_trials], self.seconds[:n_trials])


def read_run(study: Study) -> Run:
    """Read the trials of a study; nothing is written.

    Raises:
        HistoryError: It cannot be read, has no finished trial, or no one order of its trials.
    """
    name = _described(study)
    if storage_of(study).get_study_system_attrs(study_id_of(study)).get(PREFERENTIAL_ATTR):
        raise HistoryError(f"{name} is preferential: its trials have no values to compare.")
    if not is_single_objective(study):
        raise HistoryError(
            f"{name} has {len(study.directions)} objectives, and so no one best value: compare "
            "studies of one objective, or look at optuna.visualization.plot_pareto_front."
        )
    trials = _finished(study)
    if not trials:
        raise HistoryError(f"{name} has no finished trial yet: run it first, then compare again.")
    sign = 1.0 if study.direction is StudyDirection.MAXIMIZE else -1.0
    worths = [_worth(one, sign) for one in trials]
    return Run(study.study_name, np.maximum.accumulate(worths), _seconds(trials))


def _described(study: Study) -> str:
    return f"Study {study.study_name!r} in {describe_storage(storage_of(study))}"


def _finished(study: Study) -> list[FrozenTrial]:
    trials = read_storage(storage_of(study), all_trials, study)
    found = [one for one in trials if one.state.is_finished() and one.datetime_start]
    return sorted(found, key=lambda one: (one.datetime_start, one.number))


def _worth(trial: FrozenTrial, sign: float) -> float:
    is_measured = (
        trial.state is TrialState.COMPLETE
        and trial.value is not None
        and math.isfinite(trial.value)
        and is_feasible(trial)
    )
    return sign * trial.values[0] if is_measured else -math.inf


def _seconds(trials: Sequence[FrozenTrial]) -> np.ndarray:
    """Measure the union of the trials' times, which are in the order of their starts."""
    total, until, seconds = 0.0, None, []
    for trial in trials:
        start, end = trial.datetime_start, trial.datetime_complete
        if start is not None and end is not None:
            start = start if until is None else max(start, until)
            total += max((end - start).total_seconds(), 0.0)
            until = end if until is None else max(end, until)
        seconds.append(total)
    return np.array(seconds) if total > 0 else np.full(len(seconds), math.nan)

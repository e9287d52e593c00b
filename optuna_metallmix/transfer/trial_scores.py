"""Score the finished trials of the current study by their objective values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.metalearner import Floats
from optuna_metallmix.optuna_access import is_feasible_own


def trial_scores(trials: Sequence[FrozenTrial], direction: StudyDirection) -> Floats:
    """Return the scores of finished trials, larger is better, shape (n,), in [-3, 1].

    The best complete trial is 1 and the median 0; failed and infeasible trials are as low as the
    worst. Scores are clipped at -3, so that a diverged training run does not make all others look
    alike.
    """
    # A sixteenth of the largest float can be multiplied by the factors below.
    sign = 0.0625 if direction is StudyDirection.MAXIMIZE else -0.0625
    complete = [t for t in trials if t.state is TrialState.COMPLETE and is_feasible_own(t)]
    finite = sorted(sign * t.values[0] for t in complete if np.isfinite(t.values[0]))
    if not finite:
        return np.zeros(len(trials))
    worst, median, best = finite[0], finite[(len(finite) - 1) // 2], finite[-1]
    unit = (best - median) or (median - worst) or 1.0
    lowest = max(-3.0, (worst - median) / unit) if worst < best else -1.0
    scores = [_signed_value(trial, sign, median) for trial in trials]
    return np.array([lowest if s is None else max((s - median) / unit, lowest) for s in scores])


def _signed_value(trial: FrozenTrial, sign: float, median: float) -> float | None:
    """Return the value of a trial times ``sign``; ``None`` if it failed."""
    value = None if trial.state is TrialState.FAIL else trial.value
    if value is None or not is_feasible_own(trial) or not np.isfinite(value):
        return None
    return min(sign * value, median) if trial.state is TrialState.PRUNED else sign * value

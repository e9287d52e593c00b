from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix.history.scores import UnusableStudyError
from optuna_metallmix.history.scores import rank_trials
from optuna_metallmix.history.scores import signed_value


HUGE = sys.float_info.max


def run(
    x: float, value: float | None = None, state: TrialState = TrialState.COMPLETE
) -> FrozenTrial:
    return create_trial(
        state=state, params={"x": x}, distributions={"x": FloatDistribution(0, 1)}, value=value
    )


def pruned(x: float, value: float | None) -> FrozenTrial:
    return run(x, value, TrialState.PRUNED)


def failed(x: float) -> FrozenTrial:
    return run(x, None, TrialState.FAIL)


def regret_scores(trials: Sequence[FrozenTrial], sign: float = 1.0) -> dict[float, float]:
    measured = [trial for trial in trials if signed_value(trial, sign) is not None]
    return {past.params["x"]: past.regret_score for past in rank_trials(measured, sign)}


def test_the_regret_score_is_1_for_the_best_and_0_for_the_median() -> None:
    trials = [run(0.1, 10.0), run(0.2, 20.0), run(0.3, 22.5), run(0.4, 24.0), run(0.5, 18.0)]
    scores = {0.1: -1.0, 0.5: -0.5, 0.2: 0.0, 0.3: 0.625, 0.4: 1.0}
    assert regret_scores(trials) == scores
    negated = [run(t.params["x"], -t.value) for t in trials if t.value is not None]
    assert regret_scores(negated, -1.0) == scores


def test_of_two_trials_the_worse_has_the_lowest_regret_score() -> None:
    assert regret_scores([run(0.1, 1.0), run(0.2, 2.0)]) == {0.1: -1.0, 0.2: 1.0}


def test_a_failed_or_diverged_trial_has_the_lowest_regret_score() -> None:
    trials = [run(0.1, 1.0), run(0.2, 2.0), run(0.3, 3.0), failed(0.4), run(0.5, -math.inf)]
    scores = regret_scores(trials)
    assert scores == {0.1: -1.0, 0.2: 0.0, 0.3: 1.0, 0.4: -1.0, 0.5: -1.0}


def test_a_pruned_trial_has_at_most_the_score_of_the_median() -> None:
    trials = [run(0.1, 1.0), run(0.2, 2.0), run(0.3, 3.0), pruned(0.4, 9.0), pruned(0.5, 1.5)]
    scores = regret_scores([*trials, pruned(0.6, None), pruned(0.7, -HUGE)])
    assert (scores[0.4], scores[0.5], scores[0.6], scores[0.7]) == (0.0, -0.5, -1.0, -1.0)


@pytest.mark.parametrize("best", [1.0, HUGE, 1e-300, 0.0])
def test_where_most_trials_are_the_best_the_next_value_takes_the_place_of_the_median(
    best: float,
) -> None:
    ties = [run(i / 100, best) for i in range(5)]
    scores = regret_scores([*ties, run(0.8, best / 2 - 1), run(0.9, -HUGE), pruned(0.7, best)])
    assert [scores[i / 100] for i in range(5)] == [1.0] * 5
    assert (scores[0.7], scores[0.8]) == (0.0, 0.0)
    assert scores[0.9] == -1.0


VALUES = st.floats(allow_nan=False) | st.sampled_from([0.0, 1e308, HUGE, -HUGE, 5e-324, math.inf])
STATES = st.sampled_from([TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED])


@given(
    rows=st.lists(st.tuples(VALUES, STATES, st.integers(0, 4)), min_size=2, max_size=12),
    sign=st.sampled_from([1.0, -1.0]),
)
def test_scores_of_any_values_are_in_range_and_order_like_the_values(
    rows: list[tuple[float, TrialState, int]], sign: float
) -> None:
    trials = [run(x / 10, value, state) for value, state, x in rows]
    measured = [trial for trial in trials if signed_value(trial, sign) is not None]
    with np.errstate(all="raise"):
        try:
            past = rank_trials(measured, sign)
        except UnusableStudyError:
            return
    assert past[0].regret_score == past[0].rank == 1.0 or past[0].rank == past[1].rank
    scores = [trial.regret_score for trial in past]
    assert all(-1.0 <= score <= 1.0 for score in scores)
    assert max(scores) == 1.0

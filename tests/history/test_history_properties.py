from __future__ import annotations

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history.history import PastStudy
from optuna_metallmix.history.history import score_study


UP, DOWN = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def _trial(x: float, kind: str, value: float) -> FrozenTrial:
    return create_trial(
        state=STATES[kind],
        params={"x": x},
        distributions={"x": FloatDistribution(0, 1)},
        value=None if kind == "failed" else value,
    )


def _scores(
    cases: list[tuple[int, str, float]], direction: StudyDirection, sign: int = 1
) -> PastStudy:
    trials = [_trial(x / 20, kind, sign * value) for x, kind, value in cases]
    return score_study("past", direction, trials)


CASES = st.lists(
    st.tuples(
        st.integers(0, 20),
        st.sampled_from(["complete", "pruned", "failed"]),
        st.one_of(st.floats(-1e6, 1e6), st.sampled_from([math.inf, -math.inf, 0.0, 1.0])),
    ),
    max_size=25,
)


@given(CASES, st.sampled_from([UP, DOWN]))
def test_any_study_is_scored_or_left_out_with_a_reason(
    cases: list[tuple[int, str, float]], direction: StudyDirection
) -> None:
    try:
        study = _scores(cases, direction)
    except HistoryError:
        return
    sign = 1 if direction is UP else -1
    ranks = [trial.rank for trial in study.trials]
    assert all(0.0 <= rank <= 1.0 for rank in ranks)
    assert ranks == sorted(ranks, reverse=True)
    assert len({trial.params["x"] for trial in study.trials}) == len(ranks)
    complete = {x / 20 for x, kind, value in cases if kind == "complete" and math.isfinite(value)}
    done = [trial for trial in study.trials if trial.params["x"] in complete]
    assert done[0].rank == max(ranks)
    for better, worse in itertools.pairwise(done):
        assert better.value is not None
        assert worse.value is not None
        assert sign * better.value >= sign * worse.value
        assert (better.value == worse.value) or better.rank > worse.rank


@given(CASES)
def test_turning_the_direction_round_changes_nothing_else(
    cases: list[tuple[int, str, float]],
) -> None:
    def scored(sign: int, direction: StudyDirection) -> object:
        try:
            study = _scores(cases, direction, sign)
            return [(trial.params, trial.rank) for trial in study.trials]
        except HistoryError as reason:
            return str(reason)

    assert scored(1, UP) == scored(-1, DOWN)

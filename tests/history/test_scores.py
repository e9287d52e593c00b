from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix.history.scores import PastTrial
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


def constrained(x: float, value: float, **attributes: object) -> FrozenTrial:
    """A trial with system attributes as Optuna stores constraints."""
    trial = run(x, value)
    trial.system_attrs.update({key.replace("__", ":"): v for key, v in attributes.items()})
    return trial


def pruned(x: float, value: float | None) -> FrozenTrial:
    return run(x, value, TrialState.PRUNED)


def failed(x: float) -> FrozenTrial:
    return run(x, None, TrialState.FAIL)


def past_trials(trials: Sequence[FrozenTrial], sign: float = 1.0) -> dict[float, PastTrial]:
    measured = [(t, value) for t in trials if (value := signed_value(t, sign)) is not None]
    return {past.params["x"]: past for past in rank_trials(measured, sign)}


@pytest.mark.parametrize(
    "attributes",
    [
        {"constraints": [-1.0, 0.5]},
        {"constraints": (0.5,)},
        {"constraints__memory": 0.5},
        {"constraints__memory": -1.0, "constraints__time": 1e-9},
        {"constraints": [-1.0], "constraints__time": math.inf},
        {"constraints": [math.nan]},
    ],
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_infeasible_trial_is_among_the_worst(attributes: dict[str, Any], sign: float) -> None:
    feasible = [
        run(0.1, sign * 1.0),
        run(0.2, sign * 3.0),
        constrained(0.3, sign, constraints=[0]),
    ]
    past = past_trials([*feasible, constrained(0.9, sign * 99.0, **attributes)], sign)
    assert next(iter(past)) == 0.2
    assert (past[0.9].rank, past[0.9].value) == (0.0, None)
    assert past[0.2].rank == 1.0
    assert min(past[x].rank for x in (0.1, 0.3)) > 0.0


@pytest.mark.parametrize("attributes", [{}, {"constraints": None}, {"constraints": []}])
def test_a_trial_without_constraint_values_is_feasible(attributes: dict[str, Any]) -> None:
    past = past_trials([run(0.1, 1.0), constrained(0.9, 2.0, **attributes)])
    assert past[0.9].rank == 1.0


def test_a_pruned_trial_is_compared_with_the_median_of_feasible_trials() -> None:
    bad = [constrained(0.5 + i / 100, 1000.0 + i, constraints=[1.0]) for i in range(20)]
    past = past_trials([run(0.1, 1.0), run(0.2, 2.0), run(0.3, 4.0), pruned(0.4, 900.0), *bad])
    assert past[0.1].rank < past[0.2].rank == past[0.4].rank < past[0.3].rank


def test_a_configuration_counts_by_its_feasible_runs() -> None:
    trials = [run(0.1, 1.0), run(0.2, 2.0), constrained(0.2, 9.0, constraints=[1.0])]
    assert past_trials(trials)[0.2].value == 2.0


def test_one_feasible_trial_can_be_compared_with_infeasible_ones() -> None:
    bad = [constrained(i / 10, 9.0, constraints=[1.0]) for i in range(1, 4)]
    past = past_trials([run(0.9, 1.0), *bad, pruned(0.8, 0.5)])
    assert list(past)[:2] == [0.9, 0.8]
    assert past[0.9].rank == 1.0
    assert {past[i / 10].rank for i in range(1, 4)} == {0.0}


def test_a_study_without_a_feasible_trial_is_unusable() -> None:
    bad = [constrained(i / 10, float(i), constraints=[1.0]) for i in range(1, 4)]
    with pytest.raises(UnusableStudyError, match=r"no complete trial .* that satisfies"):
        past_trials([*bad, failed(0.9), pruned(0.8, 1.0)])


@pytest.mark.parametrize("constraints", ["late", [None], ["1"], 5])
def test_a_constraint_that_is_not_a_number_makes_a_study_unusable(constraints: object) -> None:
    with pytest.raises(UnusableStudyError, match="constraint of trial -1 is not a number"):
        past_trials([constrained(0.1, 1.0, constraints=constraints), run(0.2, 2.0)])


@pytest.mark.parametrize("values", [["low"], [[1.0]], [1.0, 2.0]])
def test_a_value_that_is_not_a_number_makes_a_study_unusable(values: list[Any]) -> None:
    odd = run(0.1, 1.0)
    odd._values = values
    with pytest.raises(UnusableStudyError, match=r"the value .* of trial -1 is not a number"):
        past_trials([odd, run(0.2, 2.0)])


@pytest.mark.parametrize("x", [None, math.nan, math.inf, "0.5", 10**400])
def test_a_trial_with_an_unknown_parameter_value_is_left_out(x: Any) -> None:
    odd = run(0.1, 9.0)
    odd.params = {"x": x}
    assert list(past_trials([odd, run(0.2, 2.0), run(0.3, 3.0)])) == [0.3, 0.2]


def test_integers_too_large_for_a_float_are_infinite() -> None:
    low, high = run(0.1, 0.0), run(0.2, 0.0)
    low._values, high._values = [-(10**400)], [10**400]
    past = past_trials([low, high, run(0.3, 3.0), run(0.4, 4.0)])
    assert list(past) == [0.4, 0.3, 0.1]
    assert past[0.1].value is None


def test_the_mean_of_huge_values_does_not_overflow() -> None:
    trials = [run(0.1, HUGE), run(0.1, HUGE), run(0.2, -HUGE), run(0.2, HUGE), run(0.3, 1.0)]
    past = past_trials(trials)
    assert [past[x].value for x in (0.1, 0.2, 0.3)] == [HUGE, 0.0, 1.0]


VALUES = st.floats(allow_nan=False) | st.sampled_from([0.0, 1e308, HUGE, -HUGE, 5e-324, math.inf])
STATES = st.sampled_from([TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED])


@given(
    rows=st.lists(st.tuples(VALUES, STATES, st.integers(0, 4)), min_size=2, max_size=12),
    sign=st.sampled_from([1.0, -1.0]),
)
def test_any_values_are_ranked_in_their_order(
    rows: list[tuple[float, TrialState, int]], sign: float
) -> None:
    trials = [run(x / 10, value, state) for value, state, x in rows]
    with np.errstate(all="raise"):
        try:
            past = list(past_trials(trials, sign).values())
        except UnusableStudyError:
            return
    assert all(0.0 <= trial.rank <= 1.0 for trial in past)
    assert past[0].rank == 1.0 or past[0].rank == past[1].rank
    values = [sign * value for value, state, x in rows if state is TrialState.COMPLETE]
    assert past[0].value is not None
    assert sign * past[0].value <= max(value for value in values if value < math.inf)

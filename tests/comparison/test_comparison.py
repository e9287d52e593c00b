"""What a comparison says of studies whose every number can be worked out by hand."""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Sequence
from datetime import datetime
from datetime import timedelta
from io import StringIO

import optuna
import pytest
from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import BaseStorage
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix import Comparison
from optuna_metallmix import HistoryError
from optuna_metallmix import compare


NOON = datetime(2026, 1, 1, 12)
NEVER = math.inf

Outcome = float | str | None


def trial(number: int, outcome: Outcome, start: float, end: float) -> FrozenTrial:
    """A trial with a value, or one that was ``"pruned"``, ``"failed"`` or is still running."""
    states = {"pruned": TrialState.PRUNED, "failed": TrialState.FAIL, None: TrialState.RUNNING}
    is_measured = isinstance(outcome, int | float)
    return FrozenTrial(
        number=number,
        trial_id=-1,
        state=TrialState.COMPLETE if is_measured else states[outcome],
        value=outcome if is_measured else None,
        datetime_start=NOON + timedelta(seconds=start),
        datetime_complete=None if outcome is None else NOON + timedelta(seconds=end),
        params={},
        distributions={},
        user_attrs={},
        system_attrs={},
        intermediate_values={0: 99.0} if outcome == "pruned" else {},
    )


def study(
    name: str,
    outcomes: Sequence[Outcome],
    storage: BaseStorage | None = None,
    direction: str = "maximize",
    seconds: float = 10.0,
) -> optuna.Study:
    made = optuna.create_study(storage=storage, study_name=name, direction=direction)
    for i, outcome in enumerate(outcomes):
        made.add_trial(trial(i, outcome, seconds * i, seconds * (i + 1)))
    return made


def best(comparison: Comparison, side: str) -> dict[int, float | None]:
    return {one.n_trials: one.value for one in comparison.best if one.side == side}


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1.0), ("minimize", -1.0)])
def test_trials_and_seconds_saved_at_equal_quality(direction: str, sign: float) -> None:
    soon = study("soon", [sign * v for v in (5.0, 8.0, 7.0)], None, direction)
    late = study("late", [sign * v for v in (1.0, 2.0, 6.0, 8.0)], None, direction, seconds=20.0)
    comparison = compare(soon, late)
    assert best(comparison, "soon") == {1: sign * 5, 2: sign * 8, 3: sign * 8}
    assert best(comparison, "late") == {1: sign, 2: sign * 2, 3: sign * 6, 4: sign * 8}
    slow, quick = comparison.savings
    assert (slow.bar, slow.side, slow.value, slow.bar_trials) == ("soon", "late", sign * 8, 2)
    assert (slow.trials, slow.trials_saved, slow.seconds_saved) == (4, -2, -60)
    assert (quick.trials, quick.trials_saved, quick.seconds_saved) == (2, 2, 60)
    assert quick.trials_between is None
    assert "| late | " + f"{sign * 8:g} | 4 trials | soon: 2 trials | 2 | 60 |" in (
        comparison.to_markdown()
    )


def test_what_is_never_reached_is_said() -> None:
    comparison = compare(study("good", [1.0, 9.0]), study("bad", [1.0, 2.0, 3.0]))
    never = comparison.savings[0]
    assert (never.trials, never.trials_saved, never.seconds_saved) == (NEVER, -NEVER, -NEVER)
    assert "| good | 9 | 2 trials | bad: never in 3 | never | never |" in comparison.to_markdown()


def test_trials_without_a_value_count_and_reach_nothing() -> None:
    outcomes = ["failed", "pruned", math.inf, 1.0, -math.inf, 2.0, None]
    comparison = compare(study("hard", outcomes), study("easy", [1.0]))
    assert best(comparison, "hard") == {1: None, 2: None, 5: 1.0, 6: 2.0}
    assert "| 1 | none yet | 1 |" in comparison.to_markdown()
    (saving,) = [one for one in comparison.savings if one.side == "hard"]
    assert saving.trials == 4


def test_infeasible_trial_reaches_nothing() -> None:
    made = study("bound", [1.0])
    bad = trial(1, 9.0, 10, 20)
    bad.system_attrs["constraints"] = [1.0]
    made.add_trial(bad)
    assert best(compare(made, study("free", [1.0])), "bound")[2] == 1.0


def test_seconds_count_trials_side_by_side_once_and_pauses_not_at_all() -> None:
    parallel = optuna.create_study(study_name="parallel", direction="maximize")
    for i, (value, start, end) in enumerate([(1, 0, 10), (2, 5, 12), (9, 1_000, 1_003)]):
        parallel.add_trial(trial(i, value, start, end))
    comparison = compare(parallel, study("plain", [9.0], seconds=100))
    (saving,) = [one for one in comparison.savings if one.side == "parallel"]
    assert saving.seconds_saved == 100 - (12 + 3)


def test_durations_that_no_storage_tells_are_unknown() -> None:
    added = optuna.create_study(study_name="added", direction="maximize")
    added.add_trials([trial(i, float(i), 0, 0) for i in range(3)])
    comparison = compare(added, study("timed", [1.0]))
    assert all(math.isnan(one.seconds_saved) for one in comparison.savings)
    assert comparison.to_markdown().count("| unknown |") == 2
    assert [one.title.text for one in comparison.plot().select_xaxes()] == ["finished trials"]


def seeds(name: str, ends: Sequence[float], storage: BaseStorage) -> list[optuna.Study]:
    return [study(f"{name}-{i}", [0.0, e, e + 1], storage) for i, e in enumerate(ends)]


def test_several_seeds_have_medians_and_intervals() -> None:
    storage = InMemoryStorage()
    sides = {"a": seeds("a", [5, 6, 9], storage), "b": seeds("b", [1, 2, 3, 4], storage)}
    comparison = compare(sides, n_resamples=200)
    assert best(comparison, "a") == {1: 0.0, 2: 6.0, 3: 7.0}
    last = [one for one in comparison.best if one.n_trials == 3]
    assert [one.between for one in last] == [(6.0, 10.0), (2.0, 5.0)]
    to_b = comparison.savings[1]
    assert (to_b.bar, to_b.bar_trials, to_b.trials_saved) == ("b", 3, 1)
    assert to_b.trials_between == (1.0, 1.0)
    assert "7 (6 to 10)" in comparison.to_markdown()
    assert "Medians over studies (a 3, b 4)" in comparison.to_markdown()
    again = compare(sides, n_resamples=200)
    assert again.savings == comparison.savings


def test_a_run_that_got_nowhere_is_never_and_not_left_out() -> None:
    failed = study("failed", ["failed"] * 3)
    a = [study("x", [0, 5, 5]), study("y", [0, 6, 6]), failed]
    comparison = compare({"a": a, "b": study("z", [6, 6, 6])})
    assert best(comparison, "a")[3] == 5.0
    assert comparison.savings[1].trials == NEVER
    assert comparison.savings[0].trials_between == (0.0, 1.0)


def test_shortest_study_ends_a_side() -> None:
    comparison = compare(
        {"a": [study("x", [1, 2, 3]), study("y", [1, 2])], "b": study("z", [1, 1, 1, 1, 2])}
    )
    assert best(comparison, "a") == {1: 1.0, 2: 2.0}
    assert comparison.savings[0].trials_saved == -3


def two_objectives() -> optuna.Study:
    return optuna.create_study(study_name="two", directions=["maximize", "minimize"])


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (two_objectives, "Study 'two' in InMemoryStorage has 2 objectives"),
        (lambda: study("empty", []), "Study 'empty' in InMemoryStorage has no finished trial"),
        (lambda: study("begun", [None]), "'begun' in InMemoryStorage has no finished trial"),
        (lambda: study("broken", ["failed", math.inf]), "'broken' has no value to compare"),
        (lambda: study("down", [1.0], None, "minimize"), "'down' is to minimize: compare"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(other: object, said: str) -> None:
    with pytest.raises(HistoryError) as caught:
        compare(study("fine", [1.0]), other())  # type: ignore[operator]
    assert said in str(caught.value)


def test_wrong_use_says_what_to_write() -> None:
    one = study("a", [1.0])
    with pytest.raises(ValueError, match="nothing to compare in 'a': pass at least two"):
        compare(one)
    with pytest.raises(ValueError, match="Two sides are called 'a': name them"):
        compare(one, study("a", [1.0]))
    with pytest.raises(ValueError, match="Side 'x' has a study twice"):
        compare({"x": [one, one], "y": study("b", [1.0])})
    with pytest.raises(ValueError, match="confidence=95 must be between 0 and 1"):
        compare(one, study("b", [1.0]), confidence=95)
    with pytest.raises(TypeError, match="'a' is no study"):
        compare("a", "b")  # type: ignore[arg-type]


def test_dashboard_shows_studies_of_one_storage() -> None:
    storage = InMemoryStorage()
    first, second = study("a", [1.0], storage), study("b", [1.0], storage)
    ids = f"{first._study_id},{second._study_id}"
    path = f"/dashboard/compare-studies?ids={ids}"
    assert compare(first, second).dashboard_path == path
    assert f"[{path}]({path})" in compare(first, second).to_markdown()
    apart = compare(first, study("c", [1.0]))
    assert apart.dashboard_path is None
    assert "dashboard" not in apart.to_markdown()


def test_names_act_on_nothing() -> None:
    evil = "<b>|x|</b> *y*"
    comparison = compare(study(evil, [1.0, 2.0]), study("a", [1.0]))
    assert "\\<b\\>\\|x\\|\\</b\\> \\*y\\*" in comparison.to_markdown()
    html = comparison._repr_html_()
    assert "<b>" not in html
    assert html.count("&lt;b&gt;|x|&lt;/b&gt; *y*") == 3


def test_csv_has_every_number() -> None:
    comparison = compare(study("a", [1.0, 2.0]), study("b", [1.0]))
    rows = list(csv.DictReader(StringIO(comparison.to_csv())))
    values = {(r["measure"], r["side"], r["after_trials"]): r["value"] for r in rows}
    assert values["best value", "a", "2"] == "2.0"
    assert values["trials to be as good", "b", "2"] == "inf"
    assert values["trials saved", "a", "1"] == "0.0"


def test_figure_has_units_and_no_background_of_its_own() -> None:
    storage = InMemoryStorage()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        plain = study("plain", [0.0, 1.0], storage)
        plain.set_metric_names(["accuracy"])
    figure = compare(plain, {"seeds": seeds("s", [1, 2, 3], storage)}).plot()
    axes = [one.title.text for one in figure.select_xaxes()]
    assert axes == ["finished trials", "wall seconds"]
    assert figure.layout.yaxis.title.text == "best accuracy (more is better)"
    named = [one for one in figure.data if one.name and one.showlegend]
    assert [one.name for one in named] == ["plain", "seeds"]
    assert list(named[0].y) == [0.0, 1.0, 1.0]
    assert sum(one.fill == "tonexty" for one in figure.data) == 1
    assert {figure.layout.paper_bgcolor, figure.layout.plot_bgcolor} == {"rgba(0, 0, 0, 0)"}
    assert len({(one.line.color, one.line.dash) for one in named}) == 2


values = st.lists(
    st.one_of(st.floats(-9, 9), st.sampled_from(["failed", "pruned", math.inf, -math.inf])),
    min_size=1,
    max_size=8,
).map(lambda some: [*some, 0.0])


def _has_median(outcomes: list[list[Outcome]]) -> bool:
    """More than half of the studies have a value within the length of the shortest."""
    n = min(map(len, outcomes))
    there = [any(isinstance(o, float) and math.isfinite(o) for o in some[:n]) for some in outcomes]
    return sum(there) > len(there) / 2


@example([[0.0, 0.0], [0.0, 0.0], ["failed", "failed", 0.0]])
@given(st.lists(values, min_size=2, max_size=4))
def test_any_studies_compare(outcomes: list[list[Outcome]]) -> None:
    storage = InMemoryStorage()
    made = [study(str(i), some, storage) for i, some in enumerate(outcomes)]
    if not _has_median(outcomes[1:]):
        with pytest.raises(HistoryError, match="no value to compare"):
            compare(made[0], {"others": made[1:]})
        return
    comparison = compare(made[0], {"others": made[1:]}, n_resamples=5)
    mine = optuna.load_study(study_name="0", storage=storage)
    finite = [
        one.value for one in mine.trials if one.value is not None and math.isfinite(one.value)
    ]
    assert best(comparison, "0")[len(outcomes[0])] == max(finite)
    for one in comparison.savings:
        assert one.trials_saved <= one.bar_trials - 1
        assert one.trials_between is None or one.trials_between[0] <= one.trials_between[1]
    assert comparison.to_markdown()
    assert comparison.to_csv()

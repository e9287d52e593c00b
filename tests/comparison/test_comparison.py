"""Comparison of studies whose numbers can be worked out by hand."""

from __future__ import annotations

import csv
import math
import sys
import warnings
from collections.abc import Sequence
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from io import StringIO

import numpy as np
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
from optuna_metallmix import MetaLLMiXError
from optuna_metallmix import compare
from optuna_metallmix.comparison.comparison import Measure


NOON = datetime(2026, 1, 1, 12)

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
    rows = [row for row in comparison.best if row.side == side]
    return {row.after_trials: None if math.isnan(row.value) else row.value for row in rows}


def saving(comparison: Comparison, side: str, compared_with: str) -> dict[str, Measure]:
    rows = [row for row in comparison.savings if row.side == side]
    return {row.measure: row for row in rows if row.compared_with == compared_with}


def values_of(saved: dict[str, Measure]) -> tuple[float, ...]:
    """The trials to be as good, the trials saved and the seconds saved."""
    names = ("trials to be as good", "trials saved", "seconds saved")
    return tuple(saved[name].value for name in names)


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1.0), ("minimize", -1.0)])
def test_trials_and_seconds_saved_at_equal_quality(direction: str, sign: float) -> None:
    soon = study("soon", [sign * v for v in (5.0, 8.0, 7.0)], None, direction)
    late = study("late", [sign * v for v in (1.0, 2.0, 6.0, 8.0)], None, direction, seconds=20.0)
    comparison = compare(soon, late)
    assert best(comparison, "soon") == {1: sign * 5, 2: sign * 8, 3: sign * 8}
    assert best(comparison, "late") == {1: sign, 2: sign * 2, 3: sign * 6, 4: sign * 8}
    slow, quick = saving(comparison, "late", "soon"), saving(comparison, "soon", "late")
    assert values_of(slow) == (4, -2, -60)
    assert values_of(quick) == (2, 2, 60)
    assert {row.after_trials for row in slow.values()} == {2}
    assert math.isnan(quick["trials saved"].low)
    markdown, value = comparison.to_markdown(), f"{sign * 8:g}"
    assert f"| soon | late | {value} | 2 trials instead of 4 | 2 fewer | 60 s less |" in markdown
    assert f"| late | soon | {value} | 4 trials instead of 2 | 2 more | 60 s more |" in markdown
    assert str(comparison).splitlines() == [
        f"soon reached the best value of late ({value}) after 2 trials instead of 4.",
        f"late reached the best value of soon ({value}) after 4 trials instead of 2.",
    ]


def test_times_with_and_without_a_time_zone() -> None:
    values = (5.0, 8.0, 7.0)
    expected = compare(study("soon", values), study("late", [1.0, 2.0, 6.0, 8.0]))
    soon = optuna.create_study(study_name="soon", direction="maximize")
    for i, value in enumerate(values):
        made = trial(i, value, 10.0 * i, 10.0 * (i + 1))
        assert made.datetime_start is not None
        made.datetime_start = made.datetime_start.astimezone(UTC)
        soon.add_trial(made)
    comparison = compare(soon, study("late", [1.0, 2.0, 6.0, 8.0]))
    assert comparison.to_markdown() == expected.to_markdown()


def test_a_value_that_is_not_reached_has_infinite_trials() -> None:
    comparison = compare(study("good", [1.0, 9.0]), study("bad", [1.0, 2.0, 3.0]))
    assert values_of(saving(comparison, "bad", "good")) == (math.inf, -math.inf, -math.inf)
    row = "| bad | good | 9 | not reached in 3 trials (good: 2) | not reached | not reached |"
    assert row in comparison.to_markdown()
    row = "| good | bad | 3 | 2 trials instead of 3 | 1 fewer | 10 s less |"
    assert row in comparison.to_markdown()
    assert "bad did not reach the best value of good (9) in 3 trials." in str(comparison)
    soon = compare(study("good", [9.0]), study("bad", [1.0, 2.0]))
    assert "| good | bad | 2 | 1 trial instead of 2 |" in soon.to_markdown()
    assert "| bad | good | 9 | not reached in 2 trials (good: 1) |" in soon.to_markdown()
    assert "bad did not reach the best value of good (9) in 1 trial." in str(
        compare(study("good", [9.0]), study("bad", [1.0]))
    )


def test_equal_sides_save_nothing() -> None:
    row = "| 2 trials instead of 2 | as many | as long |"
    assert row in compare(study("a", [1.0, 2.0]), study("b", [0.0, 2.0])).to_markdown()


def test_interval_of_samples_that_reach_nothing_says_so() -> None:
    mixed = {"mixed": [study("x", [9.0]), study("y", [9.0]), study("z", [1.0])]}
    comparison = compare(mixed, study("plain", [0.0, 0.0, 9.0]))
    trials = saving(comparison, "mixed", "plain")["trials saved"]
    assert (trials.value, trials.low, trials.high) == (2, -math.inf, 2)
    markdown = comparison.to_markdown()
    assert "| 1 trial instead of 3 | 2 fewer (not reached to 2 fewer) |" in markdown
    assert "inf" not in markdown
    mostly = {"mixed": [study("x", [9.0]), study("y", [1.0]), study("z", [1.0])]}
    markdown = compare(mostly, study("plain", [0.0, 0.0, 9.0])).to_markdown()
    assert "| not reached in 1 trial (plain: 3) | not reached (at best 2 fewer) |" in markdown


def test_trials_without_a_value_count_and_reach_nothing() -> None:
    outcomes = ["failed", "pruned", math.inf, 1.0, -math.inf, 2.0, None]
    comparison = compare(study("hard", outcomes), study("easy", [1.0]))
    assert best(comparison, "hard") == {1: None, 2: None, 5: 1.0, 6: 2.0}
    assert "| 1 | none yet | 1 |" in comparison.to_markdown()
    assert saving(comparison, "hard", "easy")["trials to be as good"].value == 4


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
    saved = saving(comparison, "parallel", "plain")["seconds saved"]
    assert saved.value == 100 - (12 + 3)


def test_durations_that_are_not_stored_are_unknown() -> None:
    added = optuna.create_study(study_name="added", direction="maximize")
    added.add_trials([trial(i, float(i), 0, 0) for i in range(3)])
    comparison = compare(added, study("timed", [1.0]))
    seconds = [row.value for row in comparison.savings if row.measure == "seconds saved"]
    assert len(seconds) == 2
    assert all(map(math.isnan, seconds))
    assert comparison.to_markdown().count("| unknown |") == 2


def seeds(name: str, ends: Sequence[float], storage: BaseStorage) -> list[optuna.Study]:
    return [study(f"{name}-{i}", [0.0, e, e + 1], storage) for i, e in enumerate(ends)]


def test_several_seeds_have_medians_and_intervals() -> None:
    storage = InMemoryStorage()
    sides = {"a": seeds("a", [5, 6, 9], storage), "b": seeds("b", [1, 2, 3, 4], storage)}
    comparison = compare(sides, n_resamples=200)
    assert best(comparison, "a") == {1: 0.0, 2: 6.0, 3: 7.0}
    last = [row for row in comparison.best if row.after_trials == 3]
    assert [(row.low, row.high) for row in last] == [(6.0, 10.0), (2.0, 5.0)]
    saved = saving(comparison, "a", "b")["trials saved"]
    assert (saved.after_trials, saved.value, saved.low, saved.high) == (3, 1, 1, 1)
    assert "7 (6 to 10)" in comparison.to_markdown()
    assert "Medians over studies (a 3, b 4)" in comparison.to_markdown()
    again = compare(sides, n_resamples=200).savings
    assert repr(again) == repr(comparison.savings)  # NaN is not equal to itself


def test_a_study_without_a_value_is_not_left_out() -> None:
    failed = study("failed", ["failed"] * 3)
    a = [study("x", [0, 5, 5]), study("y", [0, 6, 6]), failed]
    comparison = compare({"a": a, "b": study("z", [6, 6, 6])})
    assert best(comparison, "a")[3] == 5.0
    assert saving(comparison, "a", "b")["trials to be as good"].value == math.inf
    saved = saving(comparison, "b", "a")["trials saved"]
    assert (saved.low, saved.high) == (0.0, 1.0)


def test_shortest_study_ends_a_side() -> None:
    comparison = compare(
        {"a": [study("x", [1, 2, 3]), study("y", [1, 2])], "b": study("z", [1, 1, 1, 1, 2])}
    )
    assert best(comparison, "a") == {1: 1.0, 2: 2.0}
    assert saving(comparison, "b", "a")["trials saved"].value == -3
    assert "A side ends with its shortest study." in comparison.to_markdown()


def two_objectives() -> optuna.Study:
    return optuna.create_study(study_name="two", directions=["maximize", "minimize"])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (two_objectives, "Study 'two' in InMemoryStorage has 2 objectives"),
        (lambda: study("empty", []), "Study 'empty' in InMemoryStorage has no finished trial"),
        (lambda: study("begun", [None]), "'begun' in InMemoryStorage has no finished trial"),
        (lambda: study("broken", ["failed", math.inf]), "'broken' has no value to compare"),
        (lambda: study("all", ["pruned"] * 2), "it has no complete trial with a finite value"),
        (lambda: study("down", [1.0], None, "minimize"), "'down' is to minimize. Compare"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(other: object, message: str) -> None:
    with pytest.raises(HistoryError) as caught:
        compare(study("fine", [1.0]), other())  # type: ignore[operator]
    assert message in str(caught.value)


def test_wrong_use_says_what_to_write() -> None:
    first = study("a", [1.0])
    with pytest.raises(ValueError, match=r"Nothing to compare in 'a'\. Pass at least two"):
        compare(first)
    with pytest.raises(ValueError, match=r"Nothing to compare\. Pass at least two sides"):
        compare()
    with pytest.raises(ValueError, match="Two sides have the name 'a'"):
        compare(first, study("a", [1.0]))
    with pytest.raises(ValueError, match="Side 'x' has a study twice"):
        compare({"x": [first, first], "y": study("b", [1.0])})
    with pytest.raises(ValueError, match="confidence=95 must be between 0 and 1"):
        compare(first, study("b", [1.0]), confidence=95)
    with pytest.raises(TypeError, match="'a' is neither a study"):
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
    markdown, html = comparison.to_markdown(), comparison._repr_html_()
    assert evil not in markdown
    escaped = markdown.count("\\<b\\>\\|x\\|\\</b\\> \\*y\\*")
    assert html.count("&lt;b&gt;|x|&lt;/b&gt; *y*") == escaped > 0
    assert "<em>" not in html


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
    assert figure.layout.xaxis.title.text == "finished trials"
    assert figure.layout.yaxis.title.text == "best accuracy (larger is better)"
    named = [trace for trace in figure.data if trace.name]
    assert [trace.name for trace in named] == ["plain", "seeds"]
    assert list(named[0].y) == [0.0, 1.0]
    assert "bdata" not in figure.to_json()  # an array's encoding, new in plotly 6
    assert sum(trace.fill == "tonexty" for trace in figure.data) == 1
    assert {figure.layout.paper_bgcolor, figure.layout.plot_bgcolor} == {"rgba(0, 0, 0, 0)"}
    assert len({(trace.line.color, trace.line.dash) for trace in named}) == 2


def test_missing_plotly_is_named_with_the_command_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    comparison = compare(study("a", [1.0]), study("b", [2.0]))
    with pytest.raises(MetaLLMiXError, match="pip install plotly"):
        comparison.plot()


values = st.lists(
    st.one_of(st.floats(-9, 9), st.sampled_from(["failed", "pruned", math.inf, -math.inf])),
    min_size=1,
    max_size=8,
).map(lambda some: [*some, 0.0])


def _has_median(outcomes: list[list[Outcome]]) -> bool:
    """More than half of the studies have a value within the length of the shortest."""
    n = min(map(len, outcomes))
    finite = [
        [o for o in own[:n] if isinstance(o, float) and math.isfinite(o)] for own in outcomes
    ]
    return sum(map(bool, finite)) > len(outcomes) / 2


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
    complete = [trial.value for trial in mine.trials if trial.value is not None]
    assert best(comparison, "0")[len(outcomes[0])] == max(filter(math.isfinite, complete))
    for row in comparison.savings:
        assert row.measure != "trials saved" or row.value <= row.after_trials - 1
        assert math.isnan(row.low) or row.low <= row.high
    assert comparison.to_markdown()
    assert comparison.to_csv()


@pytest.mark.parametrize("penalty", [1e308, sys.float_info.max])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_medians_of_huge_penalties_do_not_overflow(penalty: float, direction: str) -> None:
    sign = 1.0 if direction == "minimize" else -1.0
    outcomes = [[penalty, penalty, 2.0], [penalty, 5e-324, 1.0], [penalty, penalty, penalty]]
    outcomes = [[sign * value for value in values] for values in outcomes]
    sides = {
        "old": [study(str(i), outcomes[i], direction=direction) for i in (0, 1, 2, 2)],
        "new": [study(str(i), outcomes[i], direction=direction) for i in (0, 1)],
    }
    with np.errstate(all="raise"):
        result = compare({"new": sides["new"]}, {"old": sides["old"]})
        assert result.to_markdown()
    assert best(result, "new")[3] == sign
    assert values_of(saving(result, "new", "old"))[0] <= 3

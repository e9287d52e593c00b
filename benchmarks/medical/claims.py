"""what the paper's abstract says -> what became of it here."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from benchmarks.medical.numbers import Arm
from benchmarks.medical.numbers import Chosen
from benchmarks.medical.numbers import best_of_others
from benchmarks.medical.numbers import by_task
from benchmarks.medical.numbers import interval
from benchmarks.medical.numbers import points_behind
from benchmarks.medical.numbers import ratios
from benchmarks.medical.numbers import within
from benchmarks.report.table import header
from benchmarks.report.table import line
from benchmarks.report.table import section


WANTED = 6
"""Of eight sets, on which one training of ours should be within a point of TPE's best of 50."""
ACCURACY, BALANCED = "test_accuracy", "test_balanced_accuracy"


def claims(found: Chosen) -> Iterator[str]:
    """Yield the page's section, a column for each way to make the first pick."""
    ours = [arm for arm in found if arm.is_ours and arm.n_trials == 1]
    best = last(found, "tpe")
    yield from section(
        "Beside the paper's claims",
        "The abstract of arXiv 2509.09387, and here; gaps in percentage points of test results.",
    )
    yield from header("", "paper", *(plain(arm) for arm in ours))
    yield line("best result", "5 of 8 tasks", *(_wins(found, arm) for arm in ours))
    behind = "otherwise, beside the best of all others"
    yield line(behind, "within 1 to 5 %", *(_behind_all(found, arm) for arm in ours))
    for words, column in (("accuracy", ACCURACY), ("balanced accuracy", BALANCED)):
        cells = [_behind(points_behind(found[arm], found[best], column)) for arm in ours]
        yield line(f"{words}, beside {best.label}", "", *cells)
    cells = [_waits(found[arm], found[best]) for arm in ours]
    yield line(f"response time, beside {best.label}", "-99.6 to -99.9 %", *cells)
    for words, column in (("features included", "whole"), ("features given", "seconds")):
        cells = [_speed(found[arm], found[best], column) for arm in ours]
        yield line(
            f"training of the chosen model, {words}", "2.4 to 15.7 times faster, on 6", *cells
        )
    yield ""
    yield from (_aim(found, arm, best) for arm in ours)


def last(found: Chosen, method: str) -> Arm:
    """Return a method after its last training."""
    return max((arm for arm in found if arm.method == method), key=lambda arm: arm.n_trials)


def plain(arm: Arm) -> str:
    """Return a label for use in a sentence."""
    return arm.label.replace("*", "")


def _wins(found: Chosen, ours: Arm) -> str:
    """On how many sets no method but the library's is better, whole searches among them."""
    own, others = by_task(found[ours], ACCURACY), best_of_others(found, ACCURACY)
    return f"{int((own >= others - 1e-9).sum())} of {len(own)} sets"


def _behind_all(found: Chosen, ours: Arm) -> str:
    gaps = 100 * (best_of_others(found, ACCURACY) - by_task(found[ours], ACCURACY))
    return _behind(gaps.dropna())


def _behind(gaps: pd.Series[float]) -> str:
    return (
        f"within 1 on {within(gaps, 1)} of {len(gaps)}, within 5 on {within(gaps, 5)}; at most "
        f"{gaps.max():.1f} behind ({gaps.idxmax()})"
    )


def _waits(ours: pd.DataFrame, best: pd.DataFrame) -> str:
    more = ratios(ours, best, "waited") - 1
    longer = int((more > 0).sum())
    return (
        f"{more.min():+.1%} to {more.max():+.1%}, median {more.median():+.1%}"
        f"{f'; longer on {longer}' if longer else ''}"
    )


def _speed(ours: pd.DataFrame, best: pd.DataFrame, column: str) -> str:
    speed = ratios(best, ours, column)
    faster = int((speed > 1).sum())
    return (
        f"{speed.min():.2g} to {speed.max():.2g}, median {speed.median():.2g}; faster on {faster}"
    )


def _aim(found: Chosen, ours: Arm, best: Arm) -> str:
    gaps = points_behind(found[ours], found[best], ACCURACY)
    mean, low, high = interval(-gaps)
    met = "met" if within(gaps, 1) >= WANTED else "**not met**"
    return (
        f"- The aim, {plain(ours)} within one point of {best.label} on at least {WANTED} sets: "
        f"{met} ({within(gaps, 1)}). Mean difference {mean:+.2f} points (95 % t interval over the "
        f"{len(gaps)} sets {low:+.2f} to {high:+.2f})."
    )

"""Write the page: bars, first trials, searches, the surrogate, and how it was measured."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from benchmarks.paths import RESULTS
from benchmarks.report.numbers import Interval
from benchmarks.report.numbers import frame
from benchmarks.report.numbers import interval
from benchmarks.report.plot import plot_families
from benchmarks.report.rows import Row
from benchmarks.report.rows import read_csv
from benchmarks.report.table import commands
from benchmarks.report.table import header
from benchmarks.report.table import line
from benchmarks.report.table import ran_with
from benchmarks.report.table import section
from benchmarks.shipped.methods import DEFAULT
from benchmarks.shipped.methods import METHODS
from benchmarks.shipped.methods import OURS
from benchmarks.shipped.methods import PERMUTED
from benchmarks.shipped.methods import RANDOM
from benchmarks.shipped.methods import TPE
from benchmarks.shipped.numbers import CLIP
from benchmarks.shipped.numbers import EVERY
from benchmarks.shipped.numbers import N_OURS
from benchmarks.shipped.numbers import N_TPE
from benchmarks.shipped.numbers import FirstTrials
from benchmarks.shipped.numbers import Searches
from benchmarks.shipped.numbers import first_trials
from benchmarks.shipped.numbers import mean
from benchmarks.shipped.numbers import of_library
from benchmarks.shipped.numbers import searches
from benchmarks.shipped.numbers import share
from benchmarks.shipped.surrogate import SURROGATE
from benchmarks.shipped.tables import library_of
from benchmarks.shipped.tables import recorded


SHARE = 0.8
"""Share of tables on which the first trial is to be at or above the default."""
ALL = "all"
"""What the libraries together are called."""
TRIALS = (1, 5, 10, 25, 50)
PACKAGES = ("lightgbm", "xgboost-cpu", "flaml", "scikit-learn")
"""Named with their versions where they are installed."""
DRAWN = (OURS, TPE, RANDOM, DEFAULT)
KEPT = ("tpe", "past-bests", "ours-no-llm")
"""Methods of the page of the family `xgboost` that are shown again."""


def write_page(rows: Sequence[Row], skipped: Mapping[str, str], path: Path, command: str) -> Path:
    """Write the page and its plot; return the path of the page."""
    libraries = dict.fromkeys(library_of(row.task) for row in rows)
    by_library = {name: of_library(rows, name) for name in libraries if name != SURROGATE}
    scales = {
        study.name: study.scale for library in by_library for study in recorded(library).values()
    }
    lines = [
        *_head(rows, skipped, commands(path, command)),
        *_bars(by_library, scales),
        *_first_trials(by_library, scales),
        *_losers(by_library, scales),
        *_searches(by_library),
        *_figure(by_library, path.with_suffix(".png")),
        *_surrogate(of_library(rows, SURROGATE)),
        *_methods(),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _head(rows: Sequence[Row], skipped: Mapping[str, str], ran: Sequence[str]) -> Iterator[str]:
    yield "# shipped"
    yield ""
    yield (
        "What the past that comes with the package is worth. Each table of the past is left out "
        "in turn, with all tables of the same origin; the library is trained on it anew, on the "
        "three folds of the recorded study, and the value is the area under the ROC curve or R2. "
        "The past is that of the same library on the other tables, of which the sampler takes "
        "those of the same kind, classifications or regressions. It knows the seven meta-features "
        "of the table. Nothing was tuned on these results, but the rule of the same kind was "
        "added after a first measurement without it, in which LightGBM's first trials were at or "
        "above the default on 77 % of the tables, with a gain in regret of 0.430. A gain is a "
        "difference in value. Regret: (best - value) / (best - median), where best is that of the "
        "recorded study, 100 trials, and median that of its 60 random trials; lower is better, "
        "and a search can find more than the recorded best. "
        f"Regrets above {CLIP:g} count as {CLIP:g}. "
        "A trial that fails counts as the worst recorded one. Intervals are 95 % bootstrap "
        "intervals over tables."
    )
    yield ""
    seeds = ", ".join(map(str, sorted({row.seed for row in rows})))
    yield (
        f"Seeds: {seeds}. The default parameters, trained again, differ from the recorded values "
        f"by at most {_deviation(rows):.1e}."
    )
    codes = ", ".join(sorted({row.code for row in rows if row.method in (OURS, PERMUTED)}))
    yield f"{ran_with()}, {', '.join(_versions())}, library code {codes}. Written by:"
    yield ""
    yield from ran
    for method, reason in skipped.items():
        yield f"\nSkipped: `{method}`: {reason}."


def _deviation(rows: Sequence[Row]) -> float:
    """Return by how much a default trained again differs from the recorded one, at most."""
    gaps = [0.0]
    for row in rows:
        if row.method == DEFAULT:
            study = recorded(library_of(row.task))[row.task]
            value = study.best - row.regret * study.scale
            gaps.append(abs(value - study.attributes["default_value"]))
    return max(gaps)


def _versions() -> Iterator[str]:
    for name in PACKAGES:
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{name} not installed"


def _bars(by_library: Mapping[str, Sequence[Row]], scales: Mapping[str, float]) -> Iterator[str]:
    yield from section("The bars", "Measured on the tables that both sides have.")
    yield from header("bar", "library", "measured", "limit", "tables", "met")
    whole = [row for rows in by_library.values() for row in rows]
    for library, rows in {**by_library, ALL: whole}.items():
        if first := first_trials(rows, OURS, scales):
            yield line(
                "first trial at or above the default: share of tables",
                library,
                f"{first.share:.0%}",
                f"{SHARE:.0%}",
                _measured(library, len(first.gains)),
                _met(first.share >= SHARE),
            )
    for library, rows in by_library.items():
        if control := first_trials(rows, PERMUTED, scales):
            gain = mean(control.regrets).mean
            yield line(
                "control, permuted past: mean gain in regret of the first trial",
                library,
                f"{gain:.3f}",
                "0.000",
                _measured(library, len(control.regrets)),
                _met(gain <= 0),
            )
    for library, rows in by_library.items():
        if found := searches(rows):
            five, fifty = found.regrets
            yield line(
                f"mean regret of {N_OURS} trials at most that of TPE's {N_TPE}",
                library,
                f"{five:.3f}",
                f"{fifty:.3f}",
                _measured(library, found.n_tables, EVERY),
                _met(five <= fifty),
            )


def _met(is_met: bool) -> str:
    return "yes" if is_met else "**no**"


def _first_trials(
    by_library: Mapping[str, Sequence[Row]], scales: Mapping[str, float]
) -> Iterator[str]:
    yield from section(
        "The first trial against the library's default",
        "One training each; where some tables have not been measured yet, the number of all "
        "follows. Gain: mean of value minus the default's; in regret: the default's regret minus "
        "the method's, so that more is better. `random`: the first recorded random trial.",
    )
    yield from header("library", "method", "tables", "at or above", "gain", "gain in regret")
    for library, rows in by_library.items():
        for method in METHODS:
            # TPE has searched some of the tables only, and starts at random.
            if method not in (DEFAULT, TPE) and (first := first_trials(rows, method, scales)):
                yield line(library, method, _measured(library, len(first.gains)), *_cells(first))


def _measured(library: str, n: int, every: int = 1) -> str:
    """Return the number of tables, and that of all if some have not been measured."""
    n_all = math.ceil(len(recorded(library)) / every) if library != ALL else n
    return str(n) if n == n_all else f"{n} of {n_all}"


def _cells(first: FirstTrials) -> Iterator[str]:
    yield f"{first.share:.0%}"
    yield _shown(mean(first.gains), 4)
    yield _shown(mean(first.regrets))


def _losers(by_library: Mapping[str, Sequence[Row]], scales: Mapping[str, float]) -> Iterator[str]:
    yield from section(
        "Where the first trial is below the default",
        "Share of tables at or above the default by kind of table; then those below it with the "
        "difference in value, the largest first.",
    )
    for library, rows in by_library.items():
        if first := first_trials(rows, OURS, scales):
            names = (
                f"{str(name).partition('/')[2]} {gain:.4f}" for name, gain in first.losses.items()
            )
            shares = ", ".join(_by_kind(first.gains))
            yield f"- {library} ({shares}): {', '.join(names) or 'nowhere'}."


def _by_kind(gains: pd.Series[float]) -> Iterator[str]:
    """Return the share and the number of tables of each kind."""
    kinds = [recorded(library_of(name))[name].attributes["task"] for name in map(str, gains.index)]
    for kind, of_kind in gains.groupby(kinds):
        yield f"{kind} {share(of_kind):.0%} of {len(of_kind)}"


def _searches(by_library: Mapping[str, Sequence[Row]]) -> Iterator[str]:
    found = {name: result for name, rows in by_library.items() if (result := searches(rows))}
    if not found:
        return
    yield from section(
        "Searches",
        "Mean regret of the best trial so far on every fourth table, in order of task and name, "
        "as far as they have been measured. `default` and `flaml` are single configurations.",
    )
    yield from header("library", "method", "tables", *TRIALS)
    for library, result in found.items():
        for method in METHODS:
            if (method, 1) in result.table and method != PERMUTED:
                yield line(library, method, *_means(result.table, method))
    yield ""
    for library, result in found.items():
        yield f"- {library}: {_five_against_fifty(result)}"


def _means(table: pd.DataFrame, method: str) -> Iterator[object]:
    yield table[method, 1].dropna().index.get_level_values("task").nunique()
    for trial in TRIALS:
        has = (method, trial) in table
        yield _shown(interval(table[method, trial])) if has else ""


def _five_against_fifty(result: Searches) -> str:
    return (
        f"the best of our {N_OURS} trials is at least as good as the best of TPE's {N_TPE} on "
        f"{result.n_as_good} of {result.n_tables} tables."
    )


def _figure(by_library: Mapping[str, Sequence[Row]], path: Path) -> Iterator[str]:
    tables = {
        f"{name}, {result.n_tables} tables": result.table
        for name, rows in by_library.items()
        if (result := searches(rows))
    }
    if tables:
        drawn = [name for name in DRAWN if all((name, 1) in table for table in tables.values())]
        plot_families(tables, drawn, path)
        yield f"\n![Regret over trials]({path.name})"


def _surrogate(rows: Sequence[Row]) -> Iterator[str]:
    """Compare the shipped past with that of the surrogate's other tasks, on the same searches."""
    if not rows:
        return
    table = frame([replace(row, task=row.task.partition("/")[2]) for row in rows], CLIP)
    kept = [row for row in read_csv(RESULTS / "xgboost.csv", Row) if row.method in KEPT]
    other = frame(kept, CLIP).reindex(table.index)
    yield from section(
        "Tasks of other people",
        "XGBoost's shipped past on the surrogate of [the family `xgboost`](xgboost.md): another "
        "space, accuracy instead of the area under the ROC curve, meta-features not known. The "
        "linear booster, `dart` and imputation are not in the past. Regret as on that page, from "
        "which the rows below the first are: the same tasks and seeds, with 50 random trials on "
        "each of 40 other tasks of the surrogate as the past, or none for `tpe`.",
    )
    yield from header("method", "past", "searches", *TRIALS)
    yield line(OURS, "shipped", table[OURS, 1].count(), *list(_means(table, OURS))[1:])
    for method in KEPT:
        if (method, 1) in other:
            past = "none" if method == TPE else "the surrogate's own"
            cells = list(_means(other, method))[1:]
            yield line(method, past, other[method, 1].count(), *cells)


def _shown(found: Interval | None, digits: int = 3) -> str:
    if found is None:
        return ""
    values = (f"{x:.{digits}f}" for x in (found.mean, found.low, found.high))
    return "{} ({} to {})".format(*values)


def _methods() -> Iterator[str]:
    yield from section("The methods", "What each name means.")
    yield from (f"- `{name}`: {text}" for name, (_, text) in METHODS.items())

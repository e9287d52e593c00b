"""rows -> a Markdown page: what was run, the bars, means, medians, differences, seconds."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import shlex
import sys
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.families.family import Family
from benchmarks.report.numbers import Interval
from benchmarks.report.numbers import frame
from benchmarks.report.numbers import interval
from benchmarks.report.numbers import outcome
from benchmarks.report.rows import Row


REFERENCE = "tpe"
"""Whom the others are compared with, search by search."""
PACKAGES = ("optuna", "catboost", "numpy", "pandas")
COMMAND = "    python -m benchmarks"


def write_table(
    family: Family,
    rows: Sequence[Row],
    skipped: Mapping[str, str],
    figure: Path | None,
    path: Path,
    command: str,
) -> Path:
    """Write the page; commands of earlier runs that the rows come from are kept on it."""
    known = [row.method for row in rows]
    methods = [name for name in family.methods if name in known]
    table = frame(rows)
    parts = [
        *_head(family, rows, skipped, commands(path, command)),
        *_bars(family, table),
        *_means(methods, table, family.unit),
        *_medians(methods, table),
        *_differences(methods, table),
        *_seconds(methods, rows),
    ]
    if figure is not None:
        parts += ["", f"![Regret over trials]({figure.name})"]
    parts += section("The methods", "What each name stands for.")
    parts += [f"- `{name}`: {family.methods[name]}" for name in methods]
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return path


def commands(path: Path, command: str) -> list[str]:
    """Return the commands that wrote a page so far, and this one."""
    old = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return list(
        dict.fromkeys([*(one for one in old if one.startswith(COMMAND)), f"    {command}"])
    )


def _head(
    family: Family, rows: Sequence[Row], skipped: Mapping[str, str], commands: Sequence[str]
) -> Iterator[str]:
    tasks, seeds = {row.task for row in rows}, sorted({row.seed for row in rows})
    codes = sorted({row.code for row in rows})
    yield f"# {family.name}"
    yield ""
    yield f"{family.title} Each task is left out once. Regret: {family.unit}; less is better."
    yield ""
    yield f"Tasks: {len(tasks)} of {len(family.tasks)}. Seeds: {', '.join(map(str, seeds))}."
    yield "A method may have fewer: the column `searches` counts them."
    for method, n in family.seeds.items():
        yield f"`{method}` is slow and usually has {n} of {family.n_seeds} seeds."
    yield f"{ran_with()}, library code {', '.join(codes)}. Written by:"
    yield ""
    yield from commands
    for method, reason in skipped.items():
        yield f"\nNot run: {method}: {reason}."


def ran_with() -> str:
    """Return the date and the versions that a page was written with."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return f"{datetime.date.today()}, Python {platform.python_version()}, {versions}"


def typed() -> str:
    """Return the command that this is."""
    return shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])


def _bars(family: Family, table: pd.DataFrame) -> Iterator[str]:
    found = [one for one in (outcome(bar, table) for bar in family.bars) if one is not None]
    if not found:
        return
    yield from section("The bars", "On the searches that both sides have.")
    yield from header("bar", "method", "regret", "at most", "searches", "met")
    for one in found:
        yield line(
            one.bar.text,
            one.bar.method,
            f"{one.regret:.3f}",
            f"{one.limit:.3f}",
            one.n,
            "yes" if one.met else "**no**",
        )


def _means(methods: Sequence[str], table: pd.DataFrame, unit: str) -> Iterator[str]:
    yield from section(
        "Mean regret", f"{unit}; 95 % bootstrap intervals over tasks, at the trial that heads."
    )
    yield from header("method", "searches", *_trials(table))
    for method in methods:
        cells = [_measured(table, method, trial) for trial in _trials(table)]
        n = max(one.n for one in cells if one is not None)
        yield line(method, n, *map(_shown, cells))


def _medians(methods: Sequence[str], table: pd.DataFrame) -> Iterator[str]:
    yield from section("Median regret", "Over all searches.")
    yield from header("method", *_trials(table))
    for method in methods:
        yield line(
            method,
            *(
                f"{table[method, trial].median():.3f}" if (method, trial) in table else ""
                for trial in _trials(table)
            ),
        )


def _differences(methods: Sequence[str], table: pd.DataFrame) -> Iterator[str]:
    if (REFERENCE, 1) not in table:
        return
    yield from section(
        f"Regret minus {REFERENCE}'s", "Search by search; below 0 is better than it."
    )
    yield from header("method", *_trials(table))
    for method in (one for one in methods if one != REFERENCE):
        yield line(
            method,
            *(
                _shown(interval(table[method, trial] - table[REFERENCE, trial]))
                if (method, trial) in table and (REFERENCE, trial) in table
                else ""
                for trial in _trials(table)
            ),
        )


def _seconds(methods: Sequence[str], rows: Sequence[Row]) -> Iterator[str]:
    yield from section(
        "Own seconds", "Without the trainings; machines are noisy, so compare within a column."
    )
    yield from header("method", "first trial", "each later one")
    taken = pd.DataFrame([vars(row) for row in rows])
    for method in methods:
        own = taken[taken["method"] == method]
        runs = own.sort_values("trial").groupby(["task", "seed"])
        first, last = runs.first(), runs.last()
        later = (last["seconds"] - first["seconds"]) / (last["trial"] - first["trial"])
        yield line(method, f"{first['seconds'].mean():.3f}", _or_empty(float(later.mean())))


def _or_empty(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.4f}"


def _measured(table: pd.DataFrame, method: str, trial: int) -> Interval | None:
    return interval(table[method, trial]) if (method, trial) in table else None


def _shown(one: Interval | None) -> str:
    return "" if one is None else f"{one.mean:.3f} ({one.low:.3f} to {one.high:.3f})"


def _trials(table: pd.DataFrame) -> list[int]:
    return sorted({int(trial) for trial in table.columns.get_level_values("trial")})


def section(title: str, text: str) -> Iterable[str]:
    """Return a heading and what is said under it."""
    return ["", f"## {title}", "", text, ""]


def header(*cells: object) -> Iterable[str]:
    """Return the first two lines of a table."""
    return [line(*cells), line(*["---"] * len(cells))]


def line(*cells: object) -> str:
    """Return a line of a table."""
    return "| " + " | ".join(map(str, cells)) + " |"

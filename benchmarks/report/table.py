"""Write the Markdown page of a family: setup, bars, kinds of past, means, differences, seconds."""

from __future__ import annotations

import datetime
import importlib.metadata
import math
import platform
import shlex
import sys
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.report.numbers import Compared
from benchmarks.report.numbers import Interval
from benchmarks.report.numbers import compare
from benchmarks.report.numbers import frame
from benchmarks.report.numbers import interval
from benchmarks.report.numbers import outcome
from benchmarks.report.rows import Row
from benchmarks.tasks.family import Family


REFERENCE = "tpe"
"""The method that the others are compared with, search by search."""
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
    """Write the page; it keeps the commands of the earlier runs that its rows come from."""
    known = [row.method for row in rows]
    methods = [name for name in family.methods if name in known]
    table = frame(rows, family.clip)
    columns = pd.MultiIndex.from_product([methods, _trials(table)], names=table.columns.names)
    filled = table.reindex(columns=columns)
    plain = [name for name in methods if "@" not in name]
    parts = [
        *_head(family, rows, skipped, commands(path, command)),
        *_bars(family, table),
        *_comparisons(family, table),
        *_means(family, methods, filled),
        *_differences(plain, filled),
        *_seconds(plain, rows),
    ]
    if figure is not None:
        parts += ["", f"![Regret over trials]({figure.name})"]
    parts += section("The methods", "What each name means; the past follows `@`.")
    parts += dict.fromkeys(
        f"- `{name[max(name.find('@'), 0) :]}`: {family.methods[name]}" for name in methods
    )
    path.write_text("\n".join(parts) + "\n", encoding="utf-8")
    return path


def commands(path: Path, command: str) -> list[str]:
    """Return the commands that wrote the page so far, followed by ``command``."""
    old = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return list(
        dict.fromkeys([*(text for text in old if text.startswith(COMMAND)), f"    {command}"])
    )


def _head(
    family: Family, rows: Sequence[Row], skipped: Mapping[str, str], commands: Sequence[str]
) -> Iterator[str]:
    tasks, seeds = {row.task for row in rows}, sorted({row.seed for row in rows})
    codes = sorted({row.code for row in rows})
    yield f"# {family.name}"
    yield ""
    yield f"{family.title} Each task is held out once. Regret: {family.unit}; lower is better."
    yield ""
    yield f"Tasks: {len(tasks)} of {len(family.tasks)}. Seeds: {', '.join(map(str, seeds))}."
    yield "The column `searches` shows methods with fewer of them."
    yield f"{ran_with()}, library code {', '.join(codes)}. Written by:"
    yield ""
    yield from commands
    for reason in dict.fromkeys(skipped.values()):
        names = ", ".join(f"`{name}`" for name, why in skipped.items() if why == reason)
        yield f"\nSkipped: {names}: {reason}."


def ran_with() -> str:
    """Return the date and the versions of Python and the packages."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return f"{datetime.date.today()}, Python {platform.python_version()}, {versions}"


def typed_command() -> str:
    """Return the command line that started this process."""
    return shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])


def _bars(family: Family, table: pd.DataFrame) -> Iterator[str]:
    outcomes = [result for bar in family.bars if (result := outcome(bar, table))]
    if not outcomes:
        return
    yield from section("The bars", "On the searches that both methods have.")
    yield from header("bar", "method", "regret", "at most", "searches", "met")
    for result in outcomes:
        yield line(
            result.bar.text,
            result.bar.method,
            f"{result.regret:.3f}",
            f"{result.limit:.3f}",
            result.n,
            "yes" if result.met else "**no**",
        )


def _comparisons(family: Family, table: pd.DataFrame) -> Iterator[str]:
    rows = {
        comparison.text: [compare(comparison, trial, table) for trial in _trials(table)]
        for comparison in family.comparisons
    }
    found = [cell for cells in rows.values() for cell in cells if cell is not None]
    if not found:
        return
    bars = [met for cell in found for met in cell.met.values()]
    yield from section(
        "With pasts as people have them",
        "Mean regret of `ours-no-llm` / `past-bests` / `tpe` at each trial, on the searches that "
        "all of them have. A bar is met if the first is no worse than the second, and from trial "
        "10 on no worse than the third, within 5 % or the 95 % interval of the difference over "
        "tasks. With a flawed past, only the third counts. "
        f"Bold: a bar is not met; {sum(bars)} of {len(bars)} are.",
    )
    yield from header("past", "searches", *_trials(table))
    for text, cells in rows.items():
        if any(cells):
            yield line(text, max(cell.n for cell in cells if cell), *map(_compared, cells))


def _compared(cell: Compared | None) -> str:
    if cell is None:
        return ""
    text = " / ".join(f"{regret:.3f}" for regret in cell.regrets.values())
    return text if all(cell.met.values()) else f"**{text}**"


def _means(family: Family, methods: Sequence[str], table: pd.DataFrame) -> Iterator[str]:
    clipped = f" Regrets above {family.clip:g} count as {family.clip:g}."
    yield from section(
        "Regret",
        f"{family.unit}: mean (95 % bootstrap interval over tasks), median over all searches. "
        f"Columns are trials.{clipped if family.clip < math.inf else ''}",
    )
    yield from header("method", "searches", *_trials(table))
    for method in methods:
        columns = [table[method, trial] for trial in _trials(table)]
        cells = [
            f"{_shown(mean)}, {column.median():.3f}" if (mean := interval(column)) else ""
            for column in columns
        ]
        yield line(method, max(column.count() for column in columns), *cells)


def _differences(methods: Sequence[str], table: pd.DataFrame) -> Iterator[str]:
    if REFERENCE not in methods:
        return
    yield from section(
        f"Regret minus {REFERENCE}'s", f"Search by search; negative is better than {REFERENCE}."
    )
    yield from header("method", *_trials(table))
    for method in (name for name in methods if name != REFERENCE):
        gaps = [table[method, trial] - table[REFERENCE, trial] for trial in _trials(table)]
        yield line(method, *(_shown(interval(gap)) for gap in gaps))


def _seconds(methods: Sequence[str], rows: Sequence[Row]) -> Iterator[str]:
    yield from section(
        "Own seconds", "Trainings excluded. Machines are noisy, so compare within a column."
    )
    yield from header("method", "first trial", "each later one")
    seconds = pd.DataFrame([vars(row) for row in rows])
    for method in methods:
        own = seconds[seconds["method"] == method]
        runs = own.sort_values("trial").groupby(["task", "seed"])
        first, last = runs.first(), runs.last()
        later = (last["seconds"] - first["seconds"]) / (last["trial"] - first["trial"])
        yield line(method, f"{first['seconds'].mean():.3f}", _number(float(later.mean()), 4))


def _number(value: float, digits: int) -> str:
    return "" if pd.isna(value) else f"{value:.{digits}f}"


def _shown(mean: Interval | None) -> str:
    return "" if mean is None else f"{mean.mean:.3f} ({mean.low:.3f} to {mean.high:.3f})"


def _trials(table: pd.DataFrame) -> list[int]:
    return sorted({int(trial) for trial in table.columns.get_level_values("trial")})


def section(title: str, text: str) -> Iterable[str]:
    """Return the lines of a heading and its introduction."""
    return ["", f"## {title}", "", text, ""]


def header(*cells: object) -> Iterable[str]:
    """Return the header row of a table and the row below it."""
    return [line(*cells), line(*["---"] * len(cells))]


def line(*cells: object) -> str:
    """Return a row of a table."""
    return "| " + " | ".join(map(str, cells)) + " |"

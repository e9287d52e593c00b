"""Measure the seconds and the memory that past studies cost as they grow, compared with TPE.

    python -m benchmarks scale [--quick] [--repeats 3]

The pasts are synthetic. "Cold" is the first trial of a study in a new process, which imports
CatBoost, pandas and optuna-dashboard and reads the past; "warm" is that of a second study in the
same process. "Trial 2" is the second trial of the first study, in which `MetaLLMiXSampler` reads
the past anew for later trials and fits its Gaussian processes. "Away" adds the latency of a
network to a past in a SQLite file: a pause before each statement, and three for each connection.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import fields
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage
from sqlalchemy import event
from sqlalchemy.engine import Engine

from benchmarks.paths import RESULTS
from benchmarks.report.plot import COLOURS
from benchmarks.report.plot import MARKERS
from benchmarks.report.table import header
from benchmarks.report.table import line
from benchmarks.report.table import ran_with
from benchmarks.report.table import section
from benchmarks.report.table import typed_command
from benchmarks.tasks.family import code_of_library
from benchmarks.tasks.synthetic import build_sqlite
from benchmarks.tasks.synthetic import open_sqlite
from benchmarks.tasks.synthetic import synthetic_space
from benchmarks.tasks.synthetic import synthetic_study
from benchmarks.tasks.synthetic import synthetic_value
from benchmarks.timing import timed
from benchmarks.work import in_new_process
from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record
from optuna_metallmix.history.study_reader import MAX_CELLS
from optuna_metallmix.trial_claim import LEASE
from optuna_metallmix.trial_claim import RENEWAL


OWN = 7
"""Index of the synthetic study that is optimized."""
LATENCY = 0.02
"""Seconds of a round trip to a database in another town."""
WAYS = ("storage object", "own storage", "path", "URL")
TPE, AWAY = "TPE", "URL, 20 ms away"


@dataclass(frozen=True)
class Past:
    """Size of a synthetic past."""

    studies: int
    trials: int
    parameters: int = 8

    def __str__(self) -> str:
        return f"{self.studies:,} x {self.trials}, {self.parameters} parameters"


PASTS = (
    *(Past(n, 20) for n in (1, 10, 100, 1_000, 5_000)),
    Past(50, 200),
    Past(200, 500),
    Past(50, 200, 40),
    Past(50, 200, 300),
)
QUICK = (Past(1, 20), Past(3, 20), Past(3, 20, 40))
LIMITS = {"cold": 10.0, "warm": 1.0, "memory": 1_000.0}
"""Goals at 100,000 past trials: wall seconds, and MB."""


MEGABYTES = MAX_CELLS * 130 / 1e6
"""Maximum size of what is read: a value and its distribution take 130 bytes in these pasts."""
REASONED = (
    f"Bandwidth: a process reads at most {MAX_CELLS:,} parameter values, with their distributions "
    f"about {MEGABYTES:.0f} MB, or {MEGABYTES * 8 / 100:.0f} s at 100 Mbit/s, once.",
    "Training on a GPU: the models of the past are fitted on the CPU before the first training, "
    "and need no GPU memory. A language model frees its memory before that. What remains is the "
    "memory above, beside that of the training.",
    "Several regions: each process pays the pauses of its own distance to the storage. Who makes "
    "the suggestion is decided without comparing clocks: its claim is renewed every "
    f"{RENEWAL:.0f} s and void after {LEASE:.0f} s without a sign, so that round trips of a few "
    "seconds do no harm.",
)


@dataclass(frozen=True)
class Measured:
    """What one process measured, or medians of several.

    Attributes:
        cold: Seconds of the first trial, and of making its sampler.
        trial2: Seconds of the second trial of the same study.
        warm: Seconds of the first trial of the next study, and of making its sampler.
        memory: Peak memory of the process in MB.
        statements: SQL statements of the first trial.
    """

    cold: float
    trial2: float
    warm: float
    memory: float
    statements: float


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the options of `scale`."""
    parser.add_argument("--quick", action="store_true", help="small pasts only, not a result")
    parser.add_argument("--repeats", type=int, default=3, help="number of runs; medians are shown")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the results")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure every past by every way, then write the table, the plot and the page."""
    rows = [row for past in (QUICK if args.quick else PASTS) for row in _rows(past, args.repeats)]
    table = pd.DataFrame(rows).round(4)
    name = f"scale{'-quick' * args.quick}"
    args.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out / f"{name}.csv", index=False)
    plot(table, args.out / f"{name}.png")
    page = "\n".join(page_of(table, args.repeats, f"{name}.png"))
    (args.out / f"{name}.md").write_text(page + "\n", encoding="utf-8")
    print(args.out / f"{name}.md")


def _rows(past: Past, repeats: int) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "past.db"
        in_new_process(_build, path, past)
        for way in (*WAYS, AWAY, TPE):
            runs = [in_new_process(_measure, path, past, way) for _ in range(repeats)]
            row = {**asdict(past), "way": way, **median(runs), "code": code_of_library()}
            print(row, flush=True)
            yield row


def median(runs: Sequence[Measured]) -> dict[str, float]:
    """Return the median of each field."""
    by_field = pd.DataFrame([asdict(run) for run in runs]).median()
    return {str(name): float(value) for name, value in by_field.items()}


def _build(path: Path, past: Past) -> None:
    studies = (synthetic_study(i, past.trials, past.parameters) for i in range(past.studies))
    build_sqlite(path, studies)


def _measure(path: Path, past: Past, way: str) -> Measured:
    """Measure two studies in this process, which must be new."""
    import resource

    statements = _count_statements(pause=LATENCY if way == AWAY else 0.0)
    opened = open_sqlite(path) if way in ("storage object", "own storage", TPE) else None
    study, cold = _first_trial(path, past, way, opened)
    n_statements = len(statements)
    with timed() as trial2:
        _run_trial(study, past)
    _, warm = _first_trial(path, past, way, opened)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # kB on Linux
    return Measured(cold, trial2.wall, warm, memory, n_statements)


def _first_trial(
    path: Path, past: Past, way: str, opened: BaseStorage | None
) -> tuple[optuna.Study, float]:
    """Return a study after its first trial, and the seconds of that and of its sampler."""
    storage = opened if way in ("own storage", TPE) else None
    study = optuna.create_study(storage=storage, direction="maximize")
    with timed() as elapsed:
        study.sampler = _sampler(path, way, opened)
        _run_trial(study, past)
    record = read_record(study.trials[0])
    if way != TPE and (record is None or record["source"] == "base-sampler"):
        raise RuntimeError(f"The sampler made no suggestion: {record}")
    return study, elapsed.wall


def _sampler(path: Path, way: str, opened: BaseStorage | None) -> BaseSampler:
    if way == TPE:
        return TPESampler(seed=0)
    url = f"sqlite:///{path}"
    sources = {"storage object": opened, "own storage": None, "path": path}
    return MetaLLMiXSampler(source_storage=sources.get(way, url), llm=False, seed=0)


def _run_trial(study: optuna.Study, past: Past) -> None:
    trial = study.ask()
    space = synthetic_space(past.parameters)
    params = {name: trial._suggest(name, dist) for name, dist in space.items()}
    study.tell(trial, synthetic_value(params, OWN))


def _count_statements(pause: float) -> list[None]:
    """Return a list that gets an item for each SQL statement; wait ``pause`` seconds before it."""
    statements: list[None] = []

    def on_statement(*_: Any) -> None:
        statements.append(None)
        time.sleep(pause)

    event.listen(Engine, "before_cursor_execute", on_statement)
    event.listen(Engine, "connect", lambda *_: time.sleep(3 * pause))
    return statements


def page_of(table: pd.DataFrame, repeats: int, figure: str) -> Iterator[str]:
    """Write the page.

    Args:
        table: A row for each past and way: the fields of :class:`Past` and :class:`Measured`.
        repeats: Number of runs that the medians are of.
        figure: File name of the plot.
    """
    yield "# scale"
    yield ""
    yield f"Synthetic pasts in SQLite; medians of {repeats} runs, each in new processes. "
    yield f"{ran_with()}, library code {', '.join(sorted(set(table['code'])))}. Written by:"
    yield ""
    yield f"    {typed_command()}"
    yield ""
    yield f"![Seconds and memory over the number of past studies]({figure})"
    yield from _goals(table)
    yield from _table(table)
    yield from _network(table)
    yield from section("Reasoned, not measured", "What the numbers above do not show.")
    yield from (f"- {text}" for text in REASONED)


def _goals(table: pd.DataFrame) -> Iterator[str]:
    large = table[(table["studies"] * table["trials"] == 100_000) & table["way"].isin(WAYS)]
    if large.empty:
        return
    yield from section(
        "The goals",
        "At 100,000 past trials, the worst of all ways. In its own storage, a second study has "
        "the first among its past studies, so that the models are fitted again.",
    )
    yield from header("measure", "measured", "at most", "met")
    is_own = large["way"] == "own storage"
    measured = {
        "cold": large["cold"],
        "warm": large["warm"][~is_own],
        "warm, own storage": large["warm"][is_own],
        "memory": large["memory"],
    }
    for name, values in measured.items():
        worst, limit = values.max(), LIMITS[name.partition(",")[0]]
        yield line(name, f"{worst:.2f}", f"{limit:.2f}", "yes" if worst <= limit else "**no**")


def _table(table: pd.DataFrame) -> Iterator[str]:
    yield from section(
        "By past and way",
        "Past: studies x trials. Wall seconds of `ask`, all parameters and `tell` in the first "
        "trial of a new process (cold), in its second trial (trial 2), and in the first trial of "
        "a second study (warm). Memory: peak of the process in MB. With `own storage` and `TPE` "
        "the study is in the file of the past, else in memory.",
    )
    yield from header("past", "way", "cold", "trial 2", "warm", "memory")
    for past, rows in _by_past(table):
        for row in rows[rows["way"] != AWAY].to_dict("records"):
            seconds = (f"{row[name]:.2f}" for name in ("cold", "trial2", "warm"))
            yield line(past, row["way"], *seconds, f"{row['memory']:.0f}")


def _network(table: pd.DataFrame) -> Iterator[str]:
    yield from section(
        "Over a network",
        f"The past by URL, with a pause of {1e3 * LATENCY:.0f} ms before each SQL statement, and "
        "of three times that for each connection, as to a database in another town. Statements: "
        "those of the first trial.",
    )
    yield from header("past", "statements", "cold", "cold, away", "trial 2, away", "warm, away")
    for past, rows in _by_past(table):
        by_way = {row["way"]: row for row in rows.to_dict("records")}
        near, away = by_way["URL"], by_way[AWAY]
        seconds = (near["cold"], away["cold"], away["trial2"], away["warm"])
        yield line(past, f"{away['statements']:.0f}", *(f"{x:.2f}" for x in seconds))


def _by_past(table: pd.DataFrame) -> Iterator[tuple[Past, pd.DataFrame]]:
    sizes = [field.name for field in fields(Past)]
    for _, rows in table.groupby(sizes, sort=False):
        yield Past(*rows[sizes].iloc[0].tolist()), rows


def plot(table: pd.DataFrame, path: Path) -> None:
    """Plot seconds and memory over the number of past studies of 20 trials."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    sizes = table[(table["trials"] == 20) & (table["parameters"] == 8)]
    ours, tpe = sizes[sizes["way"] == "URL"], sizes[sizes["way"] == TPE]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10.0, 4.2), layout="constrained")
    lines = {"first trial, cold": "cold", "trial 2": "trial2", "first trial, warm": "warm"}
    for i, (label, column) in enumerate(lines.items()):
        _draw(left, ours, column, label, i)
    _draw(left, tpe, "trial2", "TPE, trial 2", len(lines))
    _draw(right, ours, "memory", "MetaLLMiXSampler", 0)
    _draw(right, tpe, "memory", "TPE", len(lines))
    left.set(yscale="log", ylabel="seconds", title="Past given as URL")
    right.set(ylabel="peak memory in MB", title="Memory of the process", ylim=(0, None))
    for axes in (left, right):
        axes.set(xscale="log", xlabel="past studies of 20 trials")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _draw(axes: Any, table: pd.DataFrame, column: str, label: str, i: int) -> None:
    axes.plot(table["studies"], table[column], label=label, color=COLOURS[i], marker=MARKERS[i])

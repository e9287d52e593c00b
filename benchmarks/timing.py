"""a past of many studies -> own seconds of a suggestion and of later trials, beside TPE's.

    python -m benchmarks timing [--studies 50] [--trials 200] [--repeats 3] [--llm embedded]

The past is synthetic, with eight parameters, one of them conditional. "Cold" is a storage that was
just opened, as in a new process; "warm" the same storage read again. These machines are noisy:
compare the ratios of one run, not seconds of two.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import optuna
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage

from benchmarks.families.family import code_of_library
from benchmarks.families.synthetic import KINDS
from benchmarks.families.synthetic import SPACE
from benchmarks.families.synthetic import synthetic_study
from benchmarks.families.synthetic import synthetic_value
from benchmarks.report.table import header
from benchmarks.report.table import line
from benchmarks.report.table import ran_with
from benchmarks.report.table import section
from benchmarks.report.table import typed
from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import TransferSampler
from optuna_metallmix import read_record


STAGES = ("history", "meta-learner", "candidates", "explanation", "model")
COLD, WARM = 3.0, 0.3
"""The bars, in wall seconds, at 50 studies x 200 trials without a language model."""
N_LATER = 50
OWN = 7
"""Which synthetic study the later trials belong to."""
RESULTS = Path(__file__).resolve().parent / "results"


Column: TypeAlias = dict[str, float]
"""Seconds by row of the table."""


@dataclass
class Taken:
    """Seconds of one thing that was timed.

    Attributes:
        wall: By the clock.
        cpu: Of this process, all threads.
    """

    wall: float = 0.0
    cpu: float = 0.0


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add this benchmark's options."""
    parser.add_argument("--studies", type=int, default=50)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--llm", help='time a model too, such as "embedded"')
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Write and print the page."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    past = [synthetic_study(i, args.trials) for i in range(args.studies)]
    columns: dict[str, Column] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, (build, open_again) in KINDS.items():
            path = Path(folder) / f"past.{kind}"
            build(path, past)
            cold = [suggestion(open_again(path), args.llm) for _ in range(args.repeats)]
            storage = open_again(path)
            suggestion(storage, args.llm)
            warm = [suggestion(storage, args.llm) for _ in range(args.repeats)]
            columns[f"{kind} cold"], columns[f"{kind} warm"] = median(cold), median(warm)
        transfer = later_trials(TransferSampler(source_storage=storage, seed=0))
    tpe = later_trials(TPESampler(seed=0))
    page = "\n".join([*_head(args), *_suggestions(columns, args.llm), *_later(transfer, tpe)])
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "timing.md").write_text(page + "\n", encoding="utf-8")
    print(page)


def suggestion(storage: BaseStorage, llm: str | None) -> Column:
    """Time one suggestion for a new study: wall seconds by stage, then all of it."""
    sampler = MetaLLMiXSampler(source_storage=storage, llm=llm or False, seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    trial = study.ask()
    with timed() as taken:
        for name, distribution in SPACE.items():
            trial._suggest(name, distribution)
    record = read_record(study.trials[0])
    if record is None or record["source"] == "base-sampler":
        raise RuntimeError(f"There was no suggestion to time: {record}")
    return {**record["seconds"], "all": taken.wall, "all, CPU": taken.cpu}


def later_trials(sampler: BaseSampler) -> list[Taken]:
    """Time each trial of a study, asked and told."""
    study = optuna.create_study(direction="maximize", sampler=sampler)
    trials = []
    for _ in range(N_LATER):
        with timed() as taken:
            trial = study.ask()
            params = {name: trial._suggest(name, one) for name, one in SPACE.items()}
            study.tell(trial, synthetic_value(params, OWN))
        trials.append(taken)
    return trials


@contextmanager
def timed() -> Iterator[Taken]:
    """Fill in the seconds of what is done meanwhile."""
    taken = Taken()
    wall, cpu = time.perf_counter(), time.process_time()
    yield taken
    taken.wall, taken.cpu = time.perf_counter() - wall, time.process_time() - cpu


def median(runs: Sequence[Column]) -> Column:
    """Return the median of each row."""
    return {row: statistics.median(run[row] for run in runs) for row in runs[0]}


def _head(args: argparse.Namespace) -> Iterator[str]:
    yield "# timing"
    yield ""
    yield f"{args.studies} past studies x {args.trials} trials, {len(SPACE)} parameters; medians "
    yield f"of {args.repeats} runs. {ran_with()},"
    yield f"library code {code_of_library()}. Written by:"
    yield ""
    yield f"    {typed()}"


def _suggestions(columns: Mapping[str, Column], llm: str | None) -> Iterator[str]:
    yield from section("A suggestion", "Wall seconds by stage; CPU seconds count all threads.")
    yield from header("stage", *columns)
    for stage in (*STAGES, "all", "all, CPU"):
        if any(stage in column for column in columns.values()):
            yield line(stage, *(f"{column.get(stage, 0.0):.2f}" for column in columns.values()))
    if llm is None:
        yield line(
            "at most", *(f"{COLD if name.endswith('cold') else WARM:.2f}" for name in columns)
        )


def _later(transfer: Sequence[Taken], tpe: Sequence[Taken]) -> Iterator[str]:
    yield from section(
        "Later trials",
        f"Seconds of one trial, asked and told: the first, which fits the past where there is "
        f"one, and the mean of trials 2 to {N_LATER}. The bar: at most TPE's own.",
    )
    yield from header("sampler", "first", "first, CPU", "later", "later, CPU")
    for name, trials in (("TransferSampler", transfer), ("TPESampler", tpe)):
        wall, cpu = [one.wall for one in trials], [one.cpu for one in trials]
        later = statistics.mean(wall[1:]), statistics.mean(cpu[1:])
        yield line(name, *(f"{one:.4f}" for one in (wall[0], cpu[0], *later)))

"""Time a suggestion and the later trials, with many past studies, in comparison with TPE.

    python -m benchmarks timing [--studies 50] [--trials 200] [--repeats 3] [--llm embedded]

The past is synthetic, with eight parameters, one of them conditional. "Cold" is a new process,
which imports CatBoost, pandas and optuna-dashboard; "warm" is the same storage read again.
Machines are noisy: compare ratios within a run, not seconds between runs.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
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

from benchmarks.paths import RESULTS
from benchmarks.report.table import header
from benchmarks.report.table import line
from benchmarks.report.table import ran_with
from benchmarks.report.table import section
from benchmarks.report.table import typed_command
from benchmarks.tasks.family import code_of_library
from benchmarks.tasks.synthetic import KINDS
from benchmarks.tasks.synthetic import SPACE
from benchmarks.tasks.synthetic import synthetic_study
from benchmarks.tasks.synthetic import synthetic_value
from benchmarks.work import in_new_process
from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import TransferSampler
from optuna_metallmix import read_record


STAGES = ("history", "meta-learner", "candidates", "explanation", "model")
COLD, WARM = 3.0, 0.3
"""Limits in wall seconds for 50 studies of 200 trials without a language model."""
LATER = {"2 to 100": (range(1, 100), 2.0), "101 to 500": (range(100, 500), 3.0)}
"""Indices of later trials, and the limit of their time as a multiple of TPE's."""
N_TRIALS = 500
OWN = 7
"""Index of the synthetic study that the later trials belong to."""


Column: TypeAlias = dict[str, float]
"""Seconds, by row of the table."""


@dataclass
class Elapsed:
    """Seconds that a block took.

    Attributes:
        wall: Wall time.
        cpu: CPU time of this process, all threads.
    """

    wall: float = 0.0
    cpu: float = 0.0


def add_command(parser: argparse.ArgumentParser) -> None:
    """Add the options of `timing`."""
    parser.add_argument("--studies", type=int, default=50, help="number of past studies")
    parser.add_argument("--trials", type=int, default=200, help="trials per past study")
    parser.add_argument("--repeats", type=int, default=3, help="number of runs; medians are shown")
    parser.add_argument("--llm", help='also time a model, such as "embedded"')
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the page")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure, then write and print the page."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    past = [synthetic_study(i, args.trials) for i in range(args.studies)]
    columns: dict[str, Column] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, (build, open_again) in KINDS.items():
            path = Path(folder) / f"past.{kind}"
            build(path, past)
            cold = [
                in_new_process(_open_and_suggest, open_again, path, args.llm)
                for _ in range(args.repeats)
            ]
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


def _open_and_suggest(
    open_again: Callable[[Path], BaseStorage], path: Path, llm: str | None
) -> Column:
    return suggestion(open_again(path), llm)


def suggestion(storage: BaseStorage, llm: str | None) -> Column:
    """Time one suggestion for a new study: wall seconds by stage, then in total."""
    sampler = MetaLLMiXSampler(source_storage=storage, llm=llm or False, llm_timeout=None, seed=0)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    trial = study.ask()
    with timed() as elapsed:
        for name, distribution in SPACE.items():
            trial._suggest(name, distribution)
    record = read_record(study.trials[0])
    if record is None or record["source"] == "base-sampler":
        raise RuntimeError(f"The sampler made no suggestion: {record}")
    return {**record["seconds"], "all": elapsed.wall, "all, CPU": elapsed.cpu}


def later_trials(sampler: BaseSampler) -> list[Elapsed]:
    """Time `ask` and `tell` of each trial of a study."""
    study = optuna.create_study(direction="maximize", sampler=sampler)
    trials = []
    for _ in range(N_TRIALS):
        with timed() as elapsed:
            trial = study.ask()
            params = {name: trial._suggest(name, dist) for name, dist in SPACE.items()}
            study.tell(trial, synthetic_value(params, OWN))
        trials.append(elapsed)
    return trials


@contextmanager
def timed() -> Iterator[Elapsed]:
    """Measure the seconds of the block; filled in when it ends."""
    elapsed = Elapsed()
    wall, cpu = time.perf_counter(), time.process_time()
    yield elapsed
    elapsed.wall, elapsed.cpu = time.perf_counter() - wall, time.process_time() - cpu


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
    yield f"    {typed_command()}"


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


def _later(transfer: Sequence[Elapsed], tpe: Sequence[Elapsed]) -> Iterator[str]:
    yield from section(
        "Later trials",
        "Wall seconds of `ask` and `tell` in the first trial, in which TransferSampler fits the "
        "past, and means over later trials.",
    )
    yield from header("sampler", "first", *LATER)
    for name, trials in (("TransferSampler", transfer), ("TPESampler", tpe)):
        seconds = [trials[0].wall, *(_mean(trials, indices) for indices, _ in LATER.values())]
        yield line(name, *(f"{x:.4f}" for x in seconds))
    ratios = [_mean(transfer, indices) / _mean(tpe, indices) for indices, _ in LATER.values()]
    yield line("ratio", "", *(f"{ratio:.1f}" for ratio in ratios))
    yield line("at most", "", *(f"{limit:.1f}" for _, limit in LATER.values()))


def _mean(trials: Sequence[Elapsed], indices: range) -> float:
    return statistics.mean(trials[i].wall for i in indices)

"""Write the page: claims, tables, cost of the past, protocol, and the notes kept by hand."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.medical.claims import ACCURACY
from benchmarks.medical.claims import BALANCED
from benchmarks.medical.claims import claims
from benchmarks.medical.claims import hindsight
from benchmarks.medical.claims import last
from benchmarks.medical.costs import costs
from benchmarks.medical.costs import seconds_of_trainings
from benchmarks.medical.jobs import Bench
from benchmarks.medical.jobs import Training
from benchmarks.medical.numbers import Chosen
from benchmarks.medical.numbers import arms
from benchmarks.medical.numbers import by_task
from benchmarks.medical.numbers import chosen
from benchmarks.medical.numbers import frame
from benchmarks.medical.numbers import interval
from benchmarks.medical.numbers import points_behind
from benchmarks.medical.numbers import whole_seconds
from benchmarks.medical.numbers import within
from benchmarks.medical.plot import plot
from benchmarks.report.table import commands
from benchmarks.report.table import header
from benchmarks.report.table import line
from benchmarks.report.table import section


PACKAGES = ("optuna", "catboost", "timm", "torch", "scikit-learn", "numpy", "pandas")


def write_page(
    rows: Sequence[Training],
    bench: Bench,
    path: Path,
    command: str,
    skipped: Mapping[str, str],
) -> Path:
    """Write the page and its plot; return the path of the page."""
    table = frame(rows)
    table = whole_seconds(table, seconds_of_trainings(table, bench))
    by_arm = {arm: chosen(table, arm) for arm in arms(rows)}
    figure = plot(table, bench, path.with_suffix(".png"))
    lines = [
        *_head(table, bench, commands(path, command)),
        *(f"- Skipped: `{method}`: {reason}" for method, reason in skipped.items()),
        *claims(by_arm),
        *results(by_arm),
        *hindsight(table),
        *_times(by_arm),
        *costs(by_arm, bench),
        "",
        f"![test accuracy after n trainings, set by set]({figure.name})",
        *_protocol(bench),
        *_notes(path),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _head(table: pd.DataFrame, bench: Bench, ran: Sequence[str]) -> Iterator[str]:
    yield "# medical"
    yield ""
    yield (
        f"{table['task'].nunique()} medical image sets, each held out once with the others as its "
        f"past (`studies/{bench.past.name}`); {table['seed'].nunique()} repetitions, each with "
        "its own split, weights and sampler. Test results are those of the configuration with "
        "the best validation result."
    )
    yield ""
    yield (
        f"{datetime.date.today()}, {ran_with_versions()}, library code "
        f"{', '.join(sorted(set(table['code'])))}. Written by:"
    )
    yield ""
    yield from ran


def ran_with_versions() -> str:
    """Return the versions of Python and the packages, and the machine."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return f"Python {platform.python_version()}, {versions}, {os.cpu_count()} cores, no GPU"


def results(by_arm: Chosen) -> Iterator[str]:
    """Yield the tables of test results, which depend on the trainings only."""
    means = "In percent, means over repetitions; the last column is the mean over sets."
    for title, text, column in (
        ("Test accuracy", means, ACCURACY),
        (
            "Test macro AUC",
            "One class against the rest, averaged over classes. " + means,
            "test_macro_auc",
        ),
        ("Test balanced accuracy", "The objective of every search. " + means, BALANCED),
    ):
        yield from section(title, text)
        yield from _by_set(by_arm, lambda arm, column=column: by_task(arm, column) * 100)  # type: ignore[misc]
    yield from _differences(by_arm)


def _differences(by_arm: Chosen) -> Iterator[str]:
    best = last(by_arm, "tpe")
    yield from section(
        f"Compared with {best.label}",
        "Mean difference in points on the same splits with its 95 % t interval over the sets, and "
        "the number of sets on which a method is at most 1 and 5 points behind. Searches optimize "
        "the validation result.",
    )
    kinds = {"accuracy": ACCURACY, "balanced accuracy": BALANCED, "validation": "value"}
    yield from header("", *(f"{name}; 1; 5" for name in kinds))
    for arm, own in by_arm.items():
        cells = (_difference(own, by_arm[best], column) for column in kinds.values())
        yield line(arm.label, *cells)


def _difference(own: pd.DataFrame, best: pd.DataFrame, column: str) -> str:
    gaps = points_behind(own, best, column)
    mean, low, high = interval(-gaps)
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f}); {within(gaps, 1)}; {within(gaps, 5)}"


def _times(by_arm: Chosen) -> Iterator[str]:
    yield from section(
        "Response time",
        "Seconds until the configuration is known: reading and learning from the past and asking "
        "the model, or all trainings of a search and its sampler. Features are precomputed.",
    )
    yield from _by_set(by_arm, lambda arm: by_task(arm, "waited"))
    yield from section(
        "Training time",
        "Seconds of the training of the chosen configuration. The first table includes the "
        "features of its frozen network, which a new set needs; the second does not.",
    )
    yield from _by_set(by_arm, lambda arm: by_task(arm, "whole"))
    yield ""
    yield from _by_set(by_arm, lambda arm: by_task(arm, "seconds"))


def _by_set(by_arm: Chosen, values: Callable[[pd.DataFrame], pd.Series[float]]) -> Iterator[str]:
    rows = {arm.label: values(results) for arm, results in by_arm.items()}
    tasks = sorted(set().union(*(row.index for row in rows.values())))
    yield from header("", *tasks, "mean")
    for label, row in rows.items():
        cells = (format(row[task], ".1f") if task in row else "" for task in tasks)
        yield line(label, *cells, format(row.mean(), ".1f"))


def _protocol(bench: Bench) -> Iterator[str]:
    space = bench.recipe.space
    yield from section("Protocol", "The same for every method.")
    yield from (
        f"- Images: at most {bench.recipe.limit} per set; exact duplicates are removed before "
        "splitting; 60/20/20, stratified. Near duplicates remain: rotated copies of an original "
        "(blood cells), slices of the same patient (MRI and CT), classes from different cameras "
        "(fundus). They raise the results of all methods; see `studies/README.md`.",
        "- Every method searches the same space (`studies/README.md`), trains on the training "
        "images, chooses by balanced accuracy on the validation images (ties: the earliest), and "
        "is scored on the test images, which are used for nothing else. No training is pruned; "
        "all use the same early stopping.",
        "- Networks: EfficientNet-Lite frozen, with ImageNet weights; "
        f"{' and '.join(space['from_scratch'])} from random weights at {space['scratch_side']} "
        "pixels.",
        "- The past of a held-out set is the other sets' recorded trials (split 0). Only "
        "the meta-features of the held-out set itself are known.",
        "- Ours: `MetaLLMiXSampler`; its first trial is the suggestion, and its `TransferSampler` "
        "samples the later ones, from the past and the study's own trials.",
        "- Repetition s: split, weights and batches seeded by s, samplers by the set's name and "
        "s. TPE's first ten trials are random; in repetitions 1 and 2 they equal those of random "
        "search. Random search in repetition 0 is the set's recorded study, which has the same "
        "split and weights.",
        "- `best mean rank` uses more information than ours: the two best configurations of each "
        "study were trained on all other sets for it. `plain default` is our choice: Lite 0 at "
        "128 pixels, a linear head, AdamW at 1e-3, ten epochs.",
    )


def _notes(path: Path) -> Iterator[str]:
    """Yield the comments on these results that are kept in a file of their own."""
    notes = path.with_name(f"{path.stem}-notes.md")
    if notes.exists():
        yield ""
        yield notes.read_text("utf-8").rstrip()

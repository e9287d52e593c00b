"""trainings -> the page: claims, tables, what the past cost, protocol, and what a person noted."""

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

from benchmarks.medical import costs as feature_costs
from benchmarks.medical.claims import ACCURACY
from benchmarks.medical.claims import BALANCED
from benchmarks.medical.claims import claims
from benchmarks.medical.claims import last
from benchmarks.medical.costs import costs
from benchmarks.medical.hindsight import hindsight
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
from benchmarks.medical.world import Bench
from benchmarks.medical.world import Trained
from benchmarks.report.table import commands
from benchmarks.report.table import header
from benchmarks.report.table import line
from benchmarks.report.table import section


PACKAGES = ("optuna", "catboost", "timm", "torch", "scikit-learn", "numpy", "pandas")


def write_page(
    rows: Sequence[Trained],
    bench: Bench,
    path: Path,
    command: str,
    skipped: Mapping[str, str],
) -> Path:
    """Write the page and its plot; returns the page's path."""
    table = frame(rows)
    table = whole_seconds(table, feature_costs.of_trainings(table, bench))
    found = {arm: chosen(table, arm) for arm in arms(rows)}
    figure = plot(table, bench, path.with_suffix(".png"))
    lines = [
        *_head(table, bench, commands(path, command)),
        *(f"- `{method}` is left out: {reason}" for method, reason in skipped.items()),
        *claims(found),
        *results(found),
        *hindsight(table),
        *_times(found),
        *costs(found, bench),
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
        f"{table['task'].nunique()} medical image sets, each held out once and the others its "
        f"past (`studies/{bench.past.name}`); {table['seed'].nunique()} repetitions, each with "
        "its own split, weights and sampler. Test results of the configuration that the "
        "validation images chose."
    )
    yield ""
    yield (
        f"{datetime.date.today()}, {ran_with_versions()}, library code "
        f"{', '.join(sorted(set(table['code'])))}. Written by:"
    )
    yield ""
    yield from ran


def ran_with_versions() -> str:
    """Return the versions and the machine that made a page."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return f"Python {platform.python_version()}, {versions}, {os.cpu_count()} cores, no GPU"


def results(found: Chosen) -> Iterator[str]:
    """Yield the tables of test results; they follow from the trainings alone."""
    means = "In percent, means over the repetitions; in the last column over sets."
    for title, text, column in (
        ("Test accuracy", means, ACCURACY),
        (
            "Test macro AUC",
            "One class against the rest, mean over classes. " + means,
            "test_macro_auc",
        ),
        ("Test balanced accuracy", "What is searched for. " + means, BALANCED),
    ):
        yield from section(title, text)
        yield from _by_set(found, lambda one, column=column: by_task(one, column) * 100)  # type: ignore[misc]
    yield from _differences(found)


def _differences(found: Chosen) -> Iterator[str]:
    best = last(found, "tpe")
    yield from section(
        f"Beside {best.label}",
        "Mean difference in points on the same splits with its 95 % t interval over the sets, and "
        "on how many sets a method is at most 1 and 5 points behind; validation is what each "
        "search is best at.",
    )
    kinds = {"accuracy": ACCURACY, "balanced accuracy": BALANCED, "validation": "value"}
    yield from header("", *(f"{name}; 1; 5" for name in kinds))
    for arm, one in found.items():
        yield line(arm.label, *(_beside(one, found[best], column) for column in kinds.values()))


def _beside(one: pd.DataFrame, best: pd.DataFrame, column: str) -> str:
    gaps = points_behind(one, best, column)
    mean, low, high = interval(-gaps)
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f}); {within(gaps, 1)}; {within(gaps, 5)}"


def _times(found: Chosen) -> Iterator[str]:
    yield from section(
        "Response time",
        "Seconds until the configuration is known: the past read, learned from and the model "
        "asked, or all trainings of a search and what its sampler took, features given.",
    )
    yield from _by_set(found, lambda one: by_task(one, "waited"))
    yield from section(
        "Training time",
        "Seconds of the chosen configuration's training, with the frozen network's features of "
        "the set, which are new where the set is; below, features given.",
    )
    yield from _by_set(found, lambda one: by_task(one, "whole"))
    yield ""
    yield from _by_set(found, lambda one: by_task(one, "seconds"))


def _by_set(found: Chosen, values: Callable[[pd.DataFrame], pd.Series[float]]) -> Iterator[str]:
    columns = {arm.label: values(one) for arm, one in found.items()}
    tasks = sorted(set().union(*(one.index for one in columns.values())))
    yield from header("", *tasks, "mean")
    for label, one in columns.items():
        cells = (format(one[task], ".1f") if task in one else "" for task in tasks)
        yield line(label, *cells, format(one.mean(), ".1f"))


def _protocol(bench: Bench) -> Iterator[str]:
    space = bench.recipe.space
    yield from section("Protocol", "The same for every method.")
    yield from (
        f"- Images: at most {bench.recipe.limit} of a set; exact copies go before splitting; "
        "60/20/20, stratified. What no MD5 tells stays: rotated copies of one original (blood "
        "cells), slices of one person (MRI and CT), classes from different cameras (fundus). That "
        "flatters all methods; see `studies/README.md`.",
        "- Every method searches the same space (`studies/README.md`), trains on the training "
        "images, chooses by balanced accuracy on the validation images (of equals the earliest), "
        "and is scored on the test images, which nothing else sees. No training is pruned; each "
        "stops early by one rule.",
        "- Networks: EfficientNet-Lite frozen, with ImageNet weights; "
        f"{' and '.join(space['from_scratch'])} from random weights at {space['scratch_side']} "
        "pixels.",
        "- The past of a held-out set is the other sets' recorded trials (split 0). Of the "
        "held-out set itself nothing is known but its meta-features.",
        "- Ours: `MetaLLMiXSampler`; its first trial is the suggestion, later ones are by its "
        "`TransferSampler`, from the past and the study's own trials.",
        "- Repetition s: split, weights and batches seeded by s, samplers by the set's name and "
        "s. TPE's first ten trials are random draws; in repetitions 1 and 2 random search's. "
        "Random search in repetition 0 is the set's own recording, made with that split and those "
        "weights.",
        "- `best mean rank` is told more than ours: the two best configurations of each study "
        "were trained on all other sets for it. `plain default` is ours to name: Lite 0 at 128 "
        "pixels, a linear head, AdamW at 1e-3, ten epochs.",
    )


def _notes(path: Path) -> Iterator[str]:
    """What a person wrote about these results."""
    notes = path.with_name(f"{path.stem}-notes.md")
    if notes.exists():
        yield ""
        yield notes.read_text("utf-8").rstrip()

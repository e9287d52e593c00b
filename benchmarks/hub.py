"""Draw the picture of the OptunaHub package from the kept searches.

    python -m benchmarks hub

It shows the searches that all of its methods have on the families where OptunaHub's own sampler
for past studies was measured.
"""

from __future__ import annotations

import argparse

import pandas as pd

from benchmarks.paths import RESULTS
from benchmarks.paths import ROOT
from benchmarks.report.numbers import frame
from benchmarks.report.plot import plot_families
from benchmarks.report.rows import Row
from benchmarks.report.rows import read_csv


FAMILIES = {
    "hpobench": "HPOBench",
    "xgboost": "XGBoost",
    "hpolib": "HPOLib",
    "nasbench201": "NAS-Bench-201",
}
METHODS = {
    "ours-no-llm": "MetaLLMiXSampler(llm=False)",
    "meta-learn-tpe": "MetaLearnTPESampler",
    "past-bests": "five past bests enqueued, then TPESampler",
    "tpe": "TPESampler",
}
CLIP = 3.0
PICTURE = ROOT / "samplers" / "metallmix" / "images" / "benchmark.png"


def add_command(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=lambda _: print(draw()))


def draw() -> str:
    """Write the picture, and return its path in the repository."""
    PICTURE.parent.mkdir(exist_ok=True)
    named = {
        f"{FAMILIES[name]}, {len(table)} searches": table.rename(columns=METHODS, level="method")
        for name, table in shared_searches().items()
    }
    return str(plot_families(named, list(METHODS.values()), PICTURE).relative_to(ROOT))


def shared_searches() -> dict[str, pd.DataFrame]:
    """Return the regrets of the searches that all methods have, by family."""
    tables = {}
    for name in FAMILIES:
        rows = [row for row in read_csv(RESULTS / f"{name}.csv", Row) if row.method in METHODS]
        tables[name] = frame(rows, CLIP).dropna()
    return tables

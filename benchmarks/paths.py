"""Locate the repository, the result pages, the caches and the data of other people."""

from __future__ import annotations

import os
from pathlib import Path


ROOT = Path(__file__).resolve().parents[1]
"""The root of the checkout."""
RESULTS = ROOT / "benchmarks" / "results"
CACHE = ROOT / "cache"


def data_folder() -> Path:
    """Return the folder of recorded data: ``METALLMIX_DATA``, by default beside the checkout."""
    return Path(os.environ.get("METALLMIX_DATA") or ROOT.with_name("shared") / "data")

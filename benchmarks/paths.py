"""Locate the repository, the result pages, the caches and the data of other people."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


ROOT = Path(__file__).resolve().parents[1]
"""The root of the checkout."""
RESULTS = ROOT / "benchmarks" / "results"
CACHE = ROOT / "cache"


def data_folder() -> Path:
    """Return the folder of recorded data: ``METALLMIX_DATA``, by default beside the checkout."""
    return Path(os.environ.get("METALLMIX_DATA") or ROOT.with_name("shared") / "data")


def cached(name: str, compute: Callable[[], Any]) -> Any:
    """Return what a JSON file of the cache holds; compute and write it if there is none."""
    path = CACHE / "benchmarks" / f"{name}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}")  # other workers may use the file
        new.write_text(json.dumps(compute()), encoding="utf-8")
        new.replace(path)
    return json.loads(path.read_text(encoding="utf-8"))

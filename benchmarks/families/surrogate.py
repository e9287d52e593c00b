"""Evaluate configurations with the surrogates of YAHPO Gym.

Regret is (value - best) / (median - best) of 20,000 random configurations, so that a search that
beats all of them has a negative regret.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from typing import Literal

import numpy as np

from benchmarks.paths import cached
from benchmarks.paths import data_folder
from benchmarks.tasks.family import SkippedError
from benchmarks.tasks.past import Floats
from benchmarks.tasks.past import Task
from benchmarks.tasks.space import Config


N_REFERENCE = 20_000


def surrogate_folder(name: str) -> Path:
    """Return the folder of a surrogate.

    Raises:
        SkippedError: It is not there.
    """
    folder = data_folder() / name
    if not (folder / "model.onnx").is_file():
        raise SkippedError(f"no surrogate in {folder}. Set METALLMIX_DATA.")
    return folder


@cache
def session(folder: Path) -> Any:
    """Load a surrogate, to be run on one thread: a configuration takes 0.1 ms.

    Raises:
        SkippedError: The package onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise SkippedError("onnxruntime is not installed") from error
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        str(folder / "model.onnx"), settings, providers=["CPUExecutionProvider"]
    )


@cache
def codes(folder: Path, name: str) -> dict[str, int]:
    """Return the surrogate's code of each value of a categorical input."""
    encoding = json.loads((folder / "encoding.json").read_text(encoding="utf-8"))
    found: dict[str, int] = encoding[name]
    return found


def surrogate_task(
    family: str,
    name: str,
    direction: Literal["minimize", "maximize"],
    values: Callable[[Sequence[Config]], Floats],
    reference: Callable[[], Sequence[Config]],
    attributes: dict[str, int | str],
) -> Task:
    """Return a task; its best and median are computed on first use of the regret."""

    @cache
    def scale() -> tuple[float, float]:
        best, middle = cached(f"{family}-{name}", lambda: _scale(values(reference()), direction))
        return best, middle

    def regret(value: float) -> float:
        best, middle = scale()
        return (value - best) / (middle - best)

    return Task(name, direction, values, regret, attributes)


def _scale(values: Floats, direction: str) -> tuple[float, float]:
    best = values.min() if direction == "minimize" else values.max()
    return float(best), float(np.median(values))

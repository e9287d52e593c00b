"""Make three small image sets of scikit-learn's digits, with a recorded past, for smoke tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from benchmarks.medical.jobs import Bench
from recipes import MEDICAL
from recipes import ImageSet
from record import Setting
from record import export
from record import record_all


DIGITS = {"low": (0, 1, 2), "middle": (3, 4, 5), "high": (6, 7, 8)}
N_PAST = 6
SMALL = replace(
    MEDICAL,
    name="quick",
    space={"from_scratch": ("test_resnet",), "scratch_side": 32, "max_epochs": 4}
    | {"networks": ("tf_efficientnet_lite0",), "max_image_size": 64},
    n_trials=N_PAST,
    limit=90,
)


def quick_bench(folder: Path, llm: str | None) -> Bench:
    """Write the sets to ``folder`` and record a short random search on each."""
    digits = load_digits()
    sets = []
    for name, classes in DIGITS.items():
        kept = np.isin(digits.target, classes)
        images = (digits.images[kept] * 255 / 16).astype(np.uint8)
        np.savez(folder / f"{name}.npz", images=images, labels=digits.target[kept])
        sets.append(ImageSet(name, f"{name}.npz", "handwriting", "BSD"))
    features = folder / "features"
    setting = Setting(SMALL, folder / "working.jsonl", tuple(sets), folder, features)
    record_all(setting, N_PAST, workers=2)
    export(setting, folder / "quick.jsonl")
    return Bench(tuple(sets), folder, SMALL, folder / "quick.jsonl", features, llm)

"""Define the image sets of the shipped studies, and how networks are trained on them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any


ROOT = Path(__file__).resolve().parent.parent
SEED = 0  # for split, weights and batches


@dataclass(frozen=True)
class ImageSet:
    """Image set of a study."""

    study: str
    file: str
    modality: str
    licence: str  # of the upstream data


@dataclass(frozen=True)
class Recipe:
    """How networks are trained.

    Attributes:
        name: Name of the file `studies/<name>.jsonl`.
        space: Arguments of `Space` in `examples/timm_objective.py`.
        n_trials: Number of trials of each study.
        limit: Maximum number of images of a set, stratified by class; None for all.
        needs_gpu: Whether a CPU would take days.
        description: What is trained.
    """

    name: str
    space: dict[str, Any] = field(hash=False)
    n_trials: int
    limit: int | None
    needs_gpu: bool
    description: str

    @property
    def shipped(self) -> Path:
        """Path of the file in this repository."""
        return ROOT / "studies" / f"{self.name}.jsonl"

    @property
    def text(self) -> str:
        """Description of the recipe, as stored in each study."""
        images = "all images" if self.limit is None else f"at most {self.limit} images"
        return (
            f"studies/record.py: random search, trial n seeded by crc32(study name) + n; "
            f"{images}, split 60/20/20 with seed {SEED}; {self.description}"
        )


IMAGE_SETS = (
    ImageSet("alzheimer-mri", "alzheimer_mri4_128.parquet", "MRI", "ODbL-type"),
    ImageSet("eye-fundus", "eye_fundus4_128.parquet", "fundus photography", "ODbL-type"),
    ImageSet("blood-cell-microscopy", "wbc_microscopy4_sub_128.parquet", "microscopy", "MIT"),
    ImageSet("pneumonia-xray", "pneumoniamnist_modified_subset_28.npz", "X-ray", "CC BY 4.0"),
    ImageSet("brain-tumor-mri", "brain_tumor_mri4_128.parquet", "MRI", "MIT"),
    ImageSet("chest-ct", "chest_ct4_128.parquet", "CT", "ODbL"),
    ImageSet("breast-ultrasound", "busi_ultrasound3_128.parquet", "ultrasound", "CC0"),
    ImageSet("brain-mri-yesno", "brain_mri_yesno_128.parquet", "MRI", "unstated"),
)

MEDICAL = Recipe(
    name="medical",
    space={
        "from_scratch": ("mobilenetv3_small_050", "test_resnet"),
        "scratch_side": 32,
        "max_epochs": 16,
    },
    n_trials=100,
    limit=1_500,
    needs_gpu=False,
    description="a head on a frozen network's ImageNet features, or a small network from random "
    "weights",
)
FINE_TUNED = Recipe(
    name="medical-finetuned",
    space={
        "from_scratch": ("mobilenetv3_small_100", "resnet18"),
        "trained": ("head", "last_block", "all"),
        "scratch_side": 128,
        "max_epochs": 30,
    },
    n_trials=100,
    limit=None,
    needs_gpu=True,
    description="ImageNet weights: a head, the last block or all layers; others from random "
    "weights",
)
RECIPES = {recipe.name: recipe for recipe in (MEDICAL, FINE_TUNED)}


def images_folder() -> Path:
    """Return the folder of the image sets, which are not in this repository."""
    return Path(os.environ.get("METALLMIX_DATA", ROOT.parent / "shared" / "data")) / "images"

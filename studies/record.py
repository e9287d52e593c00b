"""medical image sets -> `medical.jsonl`: random searches, recorded for others to learn from.

    python studies/record.py            # record what is missing, then export and tabulate it
    python studies/record.py --table    # only write README.md's table anew

This is the only writer of `studies/*.jsonl`. Each study is a random search: no sampler's taste is
in the past, and every trial runs to its end. Trial n of a study has the same configuration however
often the recording was interrupted, for its sampler is seeded by n.
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import os
import platform
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from zlib import crc32

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial
from optuna.trial import TrialState


ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "studies" / "medical.jsonl"
README = ROOT / "studies" / "README.md"
WORKING = ROOT / "cache" / "medical.jsonl"
FEATURES = ROOT / "cache" / "features"
MARKS = ("<!-- table: python studies/record.py --table -->\n", "<!-- end of table -->\n")

N_TRIALS = 60
LIMIT = 3_000  # images of a set; the classes keep their proportions
SEED = 0  # of the split, the weights and the batches
RECIPE = (
    f"studies/record.py: RandomSampler, trial n seeded by crc32(study name) + n; at most {LIMIT} "
    f"images, split 60/20/20 with seed {SEED}; ImageNet features of a frozen network, trained head"
)

Attributes = dict[str, float | int | str]


@dataclass(frozen=True)
class ImageSet:
    """Where a study's images are, and what has to be said about them."""

    study: str
    file: str
    modality: str
    licence: str  # the upstream data's


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


def images_folder() -> Path:
    return Path(os.environ.get("METALLMIX_DATA", ROOT.parent / "shared" / "data")) / "images"


def open_journal(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path)))


def record(image_set: ImageSet, n_trials: int, journal: Path, limit: int = LIMIT) -> None:
    """Bring one study up to `n_trials` complete trials."""
    sys.path.insert(0, str(ROOT / "examples"))
    import torch
    from finetune_timm import load_images
    from finetune_timm import make_objective
    from finetune_timm import meta_features

    torch.set_num_threads(1)  # one process a study uses the cores better than threads do
    data = load_images(images_folder() / image_set.file, limit=limit, seed=SEED)
    study = optuna.create_study(
        storage=open_journal(journal),
        study_name=image_set.study,
        direction="maximize",
        pruner=optuna.pruners.NopPruner(),
        load_if_exists=True,
    )
    describe(study, meta_features(data, image_set.modality), keep=False)
    describe(study, provenance(image_set, len(data.labels)), keep=True)  # of the first day
    objective = make_objective(data, cache_dir=FEATURES, device="cpu", seed=SEED)
    for number in range(len(complete(study)), n_trials):
        seed = crc32(image_set.study.encode()) % 2**31 + number
        study.sampler = optuna.samplers.RandomSampler(seed=seed)
        study.optimize(objective, n_trials=1)


def describe(study: optuna.Study, attributes: Attributes, *, keep: bool) -> None:
    """Set attributes that differ; `keep` leaves alone what was said before."""
    said = study.user_attrs
    for name, value in attributes.items():
        if name not in said or (not keep and said[name] != value):
            study.set_user_attr(name, value)


def provenance(image_set: ImageSet, n_images: int) -> Attributes:
    names = ("optuna", "timm", "torch", "numpy", "scikit-learn")
    return {
        "n_images": n_images,
        "licence": image_set.licence,
        "hardware": f"one thread of a {platform.machine()} CPU ({os.cpu_count()} cores), no GPU",
        "versions": ", ".join(f"{name} {version(name)}" for name in names),
        "recorded": datetime.date.today().isoformat(),
        "recipe": RECIPE,
        "metric": "balanced accuracy on the validation images after the last epoch",
    }


def complete(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])


def record_all(n_trials: int, workers: int, journal: Path) -> None:
    journal.parent.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for future in [pool.submit(record, each, n_trials, journal) for each in IMAGE_SETS]:
            future.result()


def export(journal: Path, shipped: Path) -> None:
    """Copy the complete trials, one line each, into a fresh file that replaces the old one."""
    fresh = shipped.with_suffix(".part")
    fresh.unlink(missing_ok=True)
    storage = open_journal(fresh)
    for name in [each.study for each in IMAGE_SETS]:
        study = optuna.load_study(study_name=name, storage=open_journal(journal))
        copy = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        for attribute, value in study.user_attrs.items():
            copy.set_user_attr(attribute, value)
        copy.add_trials(complete(study))
    fresh.replace(shipped)


def table(shipped: Path) -> str:
    """Build README.md's table from the file itself, so that the two cannot differ."""
    head = (
        "Study",
        "Images",
        "Classes",
        "Modality",
        "Trials",
        "Best",
        "Median",
        "Worst",
        "Test, of best",
        "Seconds",
        "Upstream licence",
    )
    storage = open_journal(shipped)
    studies = [
        optuna.load_study(study_name=name, storage=storage)
        for name in optuna.get_all_study_names(storage)
    ]
    rows = [head, ("---",) * len(head), *(row(study) for study in studies)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def row(study: optuna.Study) -> tuple[str, ...]:
    trials, attrs = complete(study), study.user_attrs
    values = [trial.values[0] for trial in trials]
    seconds = sum(trial.user_attrs["seconds"] for trial in trials)
    return (
        f"`{study.study_name}`",
        f"{attrs['n_images']:,}",
        str(attrs["n_classes"]),
        attrs["modality"],
        str(len(trials)),
        f"{max(values):.3f}",
        f"{statistics.median(values):.3f}",
        f"{min(values):.3f}",
        f"{study.best_trial.user_attrs['test_balanced_accuracy']:.3f}",
        f"{seconds:.0f}",
        attrs["licence"],
    )


def with_table(text: str, new: str) -> str:
    """README.md's text with the table between the marks replaced."""
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return before + MARKS[0] + new + MARKS[1] + after


def main() -> None:
    parser = argparse.ArgumentParser(description="Record the studies that are shipped.")
    parser.add_argument("--n-trials", type=int, default=N_TRIALS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="only write README.md's table anew")
    args = parser.parse_args()
    if not args.table:
        record_all(args.n_trials, args.workers, WORKING)
        export(WORKING, SHIPPED)
    README.write_text(with_table(README.read_text("utf-8"), table(SHIPPED)), "utf-8")


if __name__ == "__main__":
    main()

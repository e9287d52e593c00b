"""Tune an image classifier on your own images: a timm network, chosen and trained by Optuna.

    python examples/finetune_timm.py --data folder/ --modality photograph
    python examples/finetune_timm.py --data folder/ --study-name whole --train all --timeout 3600

The folder has a sub-folder for each class (or `train`, `val` and `test` with such sub-folders). By
default a network with ImageNet weights stays frozen: its features are computed once and cached,
and a trial trains only the head, in seconds. `--train last_block all` lets trials train the last
block of layers or all layers, which needs a GPU. Networks named after `--from-scratch` start from
random weights. The score is balanced accuracy (the mean of the classes' recalls).

The study is stored in `finetune.db`, and the same command resumes it. The weights of each trial
that was the best so far are stored in `artifacts/`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts import get_all_artifact_meta
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend

from finetune_options import PRUNERS
from finetune_options import make_space
from finetune_options import parse
from image_data import ImageData
from image_data import load_images
from image_data import meta_features
from timm_objective import Space
from timm_objective import TrialOutOfMemoryError
from timm_objective import make_objective


def main(arguments: Sequence[str] | None = None) -> None:
    """Run or resume a study."""
    args = parse(arguments)
    make_repeatable(args.threads)
    data = read_images(args)
    described = meta_features(data, args.modality)
    storage = open_storage(args.storage)
    study = optuna.create_study(
        storage=storage,
        study_name=args.study_name or data.name,
        pruner=PRUNERS[args.pruner](),
        direction="maximize",
        load_if_exists=True,
    )
    check_same(study, identity(data, make_space(args)))
    study.sampler = make_sampler(args, described, len(study.trials))
    for name, value in described.items():  # so that later studies can learn from this study
        study.set_user_attr(name, value)
    objective = make_objective(
        data,
        make_space(args),
        patience=args.patience,
        compiled=args.compile,
        artifact_store=open_artifacts(args.artifacts),
        cache_dir=args.cache_dir,
        device=args.device,
        seed=args.seed,
    )
    study.optimize(
        objective,
        n_trials=args.n_trials,
        timeout=args.timeout,
        catch=TrialOutOfMemoryError,  # the trial fails, smaller ones may fit
        gc_after_trial=True,  # free the models of failed and pruned trials
        show_progress_bar=not args.no_progress,
    )
    print(summarize(study, storage, data, args.artifacts))


def identity(data: ImageData, space: Space) -> dict[str, Any]:
    """Return what must not change in a study: its images, their split, and its choices."""
    parts = hashlib.md5(data.test.tobytes() + data.validation.tobytes(), usedforsecurity=False)
    return {
        "images": data.digest,
        "split": parts.hexdigest()[:16],
        "networks": [*space.networks, *space.from_scratch],
        "trained": list(space.trained),
    }


def check_same(study: optuna.Study, own: dict[str, Any]) -> None:
    """Exit if a resumed study has other images, another split or other choices.

    The study's identity is stored when it is first run.
    """
    stored = study.user_attrs.get("identity", own)
    if other := [name for name, value in own.items() if stored.get(name) != value]:
        raise SystemExit(
            f"finetune_timm.py: the study {study.study_name!r} has other {' and '.join(other)} "
            f"({', '.join(f'{name}: {stored.get(name)}' for name in other)}). Use the same, or "
            "start another study with --study-name."
        )
    study.set_user_attr("identity", own)


def make_sampler(
    args: argparse.Namespace, described: dict[str, float | int | str], n_trials: int
) -> optuna.samplers.BaseSampler:
    """Return the sampler, with a different seed for each process and resumed run."""
    seed = args.seed
    if args.worker or n_trials:
        seed = int(np.random.SeedSequence((args.seed, args.worker, n_trials)).generate_state(1)[0])
    if args.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if args.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    from optuna_metallmix import MetaLLMiXSampler  # not needed by the other samplers

    return MetaLLMiXSampler(
        source_storage=args.source_storage,
        meta_features=described,
        llm=False if args.llm == "none" else args.llm,
        seed=seed,
    )


def read_images(args: argparse.Namespace) -> ImageData:
    """Read the images at the largest size of the search; exit if they are invalid."""
    side = max(args.max_image_size, args.scratch_image_size)
    try:
        return load_images(args.data, limit=args.limit, seed=args.seed, side=side)
    except ValueError as error:
        raise SystemExit(f"finetune_timm.py: {error}") from None


def open_storage(text: str) -> BaseStorage:
    """Open a database URL, or a `.jsonl` journal, which processes can share on any disk."""
    if text.endswith(".jsonl"):
        return JournalStorage(JournalFileBackend(text))
    return get_storage(text)


def open_artifacts(folder: str) -> FileSystemArtifactStore:
    """Open the artifact store; Optuna does not create its folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    return FileSystemArtifactStore(folder)


def make_repeatable(threads: int | None) -> None:
    """Make runs with the same seed give the same numbers on a machine, also on a GPU."""
    if threads:
        torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # must be set before CUDA is used
    # Pooling at odd sizes has no deterministic GPU kernel: warn and continue.
    torch.use_deterministic_algorithms(True, warn_only=True)


def summarize(study: optuna.Study, storage: BaseStorage, data: ImageData, artifacts: str) -> str:
    """Describe the best trial, and where its weights are."""
    states = [optuna.trial.TrialState.COMPLETE]
    if not study.get_trials(deepcopy=False, states=states):
        return "No trial was completed. The trials' attribute `failed` has the reasons."
    best, attrs = study.best_trial, study.best_trial.user_attrs
    artifacts_of_best = get_all_artifact_meta(best, storage=storage)
    lines = [
        f"Best balanced accuracy {best.value:.4f} (trial {best.number}) with {best.params}",
        f"On the {len(data.test)} test images: accuracy {attrs['test_accuracy']:.4f}, balanced "
        f"{attrs['test_balanced_accuracy']:.4f}, macro AUC {attrs['test_macro_auc']:.4f}",
        *(f"Weights: {Path(artifacts) / meta.artifact_id}" for meta in artifacts_of_best),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

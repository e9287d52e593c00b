"""your images -> a tuned classifier: a timm network, chosen and trained by Optuna.

    python examples/finetune_timm.py --data folder/ --modality photograph
    python examples/finetune_timm.py --data folder/ --train head last_block all --timeout 3600

The folder has one sub-folder a class (or `train`, `val` and `test` with such sub-folders). By
default a network with ImageNet weights stays frozen: its features are computed once and cached,
and a trial trains the head alone, in seconds. `--train last_block all` lets trials train the last
block of layers, or all of them, for which a GPU is wanted; networks named under `--from-scratch`
start from random weights. The score is balanced accuracy (the mean of the classes' recalls).

The study is kept in `finetune.db`, where the same command goes on with it, and the weights of
each trial that was the best so far in `artifacts/`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import optuna
import torch
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts import get_all_artifact_meta
from optuna.storages import BaseStorage
from optuna.storages import JournalStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend

from image_data import ImageData
from image_data import load_images
from image_data import meta_features
from timm_features import NETWORKS
from timm_features import check_network
from timm_objective import SCRATCH_SIDE
from timm_objective import TRAINED
from timm_objective import Space
from timm_objective import TrialOutOfMemoryError
from timm_objective import make_objective


SHIPPED = Path(__file__).resolve().parent.parent / "studies" / "medical.jsonl"
PRUNERS = {
    "median": optuna.pruners.MedianPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "none": optuna.pruners.NopPruner,
}


def main(words: Sequence[str] | None = None) -> None:
    """Run or go on with one study."""
    args = parse(words)
    make_repeatable(args.threads)
    data = read_images(args)
    described = meta_features(data, args.modality)
    storage = open_storage(args.storage)
    study = optuna.create_study(
        storage=storage,
        study_name=args.study_name or data.name,
        sampler=make_sampler(args, described),
        pruner=PRUNERS[args.pruner](),
        direction="maximize",
        load_if_exists=True,
    )
    check_choices(study, make_space(args))
    for name, value in described.items():  # so that this study can be another one's past
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
        catch=TrialOutOfMemoryError,  # the trial fails and says why; others may fit
        show_progress_bar=not args.no_progress,
    )
    print(told(study, storage, data, args.artifacts))


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; a network's name is checked before anything is made."""
    parser = argparse.ArgumentParser(description="Tune a timm network on your images.")
    for group in (add_data, add_study, add_space, add_training):
        group(parser)
    args = parser.parse_args(words)
    try:
        for name in (*args.networks, *args.from_scratch):
            check_network(name)
    except ValueError as error:
        parser.error(str(error))
    return args


def add_data(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("data").add_argument
    add("--data", default="digits", help='image folder, .parquet, .npz, or "digits"')
    add("--limit", type=int, help="use this many images at most")
    add("--modality", help='how the images were made, for example "MRI"; metallmix reads it')
    add("--cache-dir", default="cache/features", help="where frozen networks' features are kept")


def add_study(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("study").add_argument
    add("--n-trials", type=int, default=15)
    add("--timeout", type=float, help="seconds after which no further trial is begun")
    add("--storage", default="sqlite:///finetune.db", help="an Optuna URL, or a .jsonl file")
    add("--study-name", help="by default the name of the data")
    add("--sampler", choices=["metallmix", "tpe", "random"], default="metallmix")
    add("--source-storage", default=str(SHIPPED), help="past studies that metallmix learns from")
    add("--llm", help='for example "ollama:qwen3:8b"; "none" for no language model')
    add("--pruner", choices=list(PRUNERS), default="median")
    add("--artifacts", default="artifacts", help="folder of the best trials' weights")
    add("--no-progress", action="store_true", help="no progress bar")
    add("--seed", type=int, default=0, help="of the split, the weights and the sampler")
    add("--worker", type=int, default=0, help="its number, where processes share a study")


def add_space(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what is searched").add_argument
    add("--networks", nargs="*", default=NETWORKS, help="timm's, with ImageNet weights")
    add("--from-scratch", nargs="*", default=(), help="timm's, from random weights")
    add("--train", nargs="+", choices=TRAINED, default=("head",), help="of pretrained networks")
    add("--max-image-size", type=pixels, default=128, help="pixels, a multiple of 32 from 64")
    add(
        "--scratch-image-size",
        type=pixels,
        default=SCRATCH_SIDE,
        help="for --from-scratch",
    )
    add("--max-epochs", type=int, default=30)
    add("--max-batch-size", type=int, default=256)


def add_training(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("training").add_argument
    add("--patience", type=int, default=5, help="epochs without a better one that end a training")
    add("--compile", action=argparse.BooleanOptionalAction, help="torch.compile; where it pays")
    add("--device", help="cpu, cuda, ...; chosen automatically")
    add("--threads", type=int, help="CPU threads for torch; 1 is fastest on a busy machine")


def make_space(args: argparse.Namespace) -> Space:
    """Return what the command line asks to search."""
    return Space(
        networks=tuple(args.networks),
        from_scratch=tuple(args.from_scratch),
        trained=tuple(args.train),
        max_image_size=args.max_image_size,
        scratch_side=args.scratch_image_size,
        max_epochs=args.max_epochs,
        max_batch_size=args.max_batch_size,
    )


def check_choices(study: optuna.Study, space: Space) -> None:
    """Stop where a study that is gone on with has other choices: Optuna cannot change them."""
    choices = {
        "network": [*space.networks, *space.from_scratch],
        "trained": list(space.trained),
    }
    said = study.user_attrs.get("choices", choices)
    if said != choices:
        raise SystemExit(
            f"finetune_timm.py: the study {study.study_name!r} chooses among {said}, not among "
            f"{choices}. Ask for the same, or begin another study with --study-name."
        )
    study.set_user_attr("choices", choices)


def make_sampler(
    args: argparse.Namespace, described: dict[str, float | int | str]
) -> optuna.samplers.BaseSampler:
    """Return the sampler; processes of one study draw different numbers."""
    seed = args.seed + args.worker
    if args.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if args.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    from optuna_metallmix import MetaLLMiXSampler  # an ordinary search does without it

    return MetaLLMiXSampler(
        source_storage=args.source_storage,
        meta_features=described,
        llm=False if args.llm == "none" else args.llm,
        seed=seed,
    )


def read_images(args: argparse.Namespace) -> ImageData:
    """Read them no larger than the search will ask for; what is wrong with them ends the run."""
    side = max(args.max_image_size, args.scratch_image_size)
    try:
        return load_images(args.data, limit=args.limit, seed=args.seed, side=side)
    except ValueError as error:
        raise SystemExit(f"finetune_timm.py: {error}") from None


def pixels(text: str) -> int:
    """Read an image size: networks halve it five times."""
    if not text.isdecimal() or int(text) < 64 or int(text) % 32:
        raise argparse.ArgumentTypeError(f"{text!r} is not 64, 96, 128 or a larger multiple of 32")
    return int(text)


def open_storage(text: str) -> BaseStorage:
    """A `.jsonl` file is a journal, which many processes can share on any disk."""
    if text.endswith(".jsonl"):
        return JournalStorage(JournalFileBackend(text))
    return get_storage(text)


def open_artifacts(folder: str) -> FileSystemArtifactStore:
    """Make the folder, for Optuna's store does not."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    return FileSystemArtifactStore(folder)


def make_repeatable(threads: int | None) -> None:
    """Two runs with one seed give the same numbers on one machine, on a GPU, too."""
    if threads:
        torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA is first used
    # Pooling at odd sizes has no repeatable form on a GPU: then torch says so and goes on.
    torch.use_deterministic_algorithms(True, warn_only=True)


def told(study: optuna.Study, storage: BaseStorage, data: ImageData, artifacts: str) -> str:
    """Say what came of it, and where the weights are."""
    states = [optuna.trial.TrialState.COMPLETE]
    if not study.get_trials(deepcopy=False, states=states):
        return "No trial was completed; each trial's attribute `failed` says why."
    best, attrs = study.best_trial, study.best_trial.user_attrs
    kept = get_all_artifact_meta(best, storage=storage)
    lines = [
        f"Best balanced accuracy {best.value:.4f} (trial {best.number}) with {best.params}",
        f"On the {len(data.test)} test images: accuracy {attrs['test_accuracy']:.4f}, balanced "
        f"{attrs['test_balanced_accuracy']:.4f}, macro AUC {attrs['test_macro_auc']:.4f}",
        *(f"Its weights: {Path(artifacts) / one.artifact_id}" for one in kept),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

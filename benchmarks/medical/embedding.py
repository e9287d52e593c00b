"""Measure whether an embedding of the images helps as meta-features.

The embedding is the mean and spread of the frozen features of a small pretrained network
(EfficientNet-Lite 0 at 64 pixels, training images), compared with the paper's seven groups of
meta-features. Each medical image set is held out once, and a recorded trial of its own is picked
by a model of the other sets' trials.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.medical.jobs import Bench
from benchmarks.medical.jobs import data_of
from benchmarks.medical.jobs import study_of
from benchmarks.medical.page import ran_with_versions
from benchmarks.report.numbers import bootstrap
from benchmarks.report.table import header
from benchmarks.report.table import line
from benchmarks.report.table import typed_command
from benchmarks.tasks.family import seed_of
from benchmarks.tasks.past import Floats
from image_data import meta_features
from optuna_metallmix.history import distances
from optuna_metallmix.history import read_history
from optuna_metallmix.metalearner import MetaDataset
from optuna_metallmix.metalearner import Trees
from optuna_metallmix.metalearner import build_meta_dataset
from optuna_metallmix.metalearner import fit_regressor
from optuna_metallmix.metalearner import to_frame
from recipes import IMAGE_SETS
from recipes import MEDICAL
from recipes import images_folder
from shipped_table import complete
from shipped_table import open_journal
from timm_features import FeatureStore


NETWORK, SIDE = "tf_efficientnet_lite0", 64
N_DIMENSIONS = 8
"""Dimensions the mean feature vector is projected to: 1,280 columns for 8 tasks are noise."""
TREES = Trees(n=200, depth=6, learning_rate=0.05)
METHODS = {
    "no meta-features": "200 trees on the configuration only, as in the library",
    "seven groups": "the same with the paper's meta-features as columns",
    "embedding": "the same with the embedding as columns",
    "both": "the same with both",
    "shuffled embedding": "control: the embedding of another set",
    "nearest, seven groups": "trees on the nearest study only, nearest by the seven groups",
    "nearest, embedding": "the same, nearest by the embedding",
    "nearest, both": "the same, nearest by both",
    "any study": "control: trees on a single study, mean over all studies",
}
Attributes = Mapping[str, float | int | str]


def picks(n_seeds: int) -> pd.DataFrame:
    """Pick with every method on every set and return a row per pick.

    Raises:
        SystemExit: The images are missing.
    """
    bench = Bench(IMAGE_SETS, images_folder(), MEDICAL, MEDICAL.shipped)
    tasks = [image_set.study for image_set in bench.image_sets]
    if not (bench.images / IMAGE_SETS[0].file).exists():
        raise SystemExit(f"No image sets in {bench.images}. Set METALLMIX_DATA.")
    rows = []
    for seed in tqdm(range(n_seeds), unit="seed"):
        groups = {task: seven_groups(bench, task) for task in tasks}
        embeddings = {task: embedding(bench, task, seed) for task in tasks}
        for task in tasks:
            for method, regret in _picks(bench, task, groups, embeddings, seed):
                rows.append({"task": task, "seed": seed, "method": method, "regret": regret})
    return pd.DataFrame(rows)


def seven_groups(bench: Bench, task: str) -> Attributes:
    """Return the paper's meta-features of a set."""
    return meta_features(data_of(bench, task, 0), bench.named(task).modality)


def embedding(bench: Bench, task: str, seed: int) -> Attributes:
    """Return the projected mean and the spread of the features of the training images."""
    import torch

    data = data_of(bench, task, 0)
    store = FeatureStore(data, bench.features, torch.device("cpu"))
    features = store.get(NETWORK, SIDE, "avg").float().numpy()[data.train]
    rng = np.random.default_rng(seed_of("embedding", seed))
    projection = rng.normal(size=(features.shape[1], N_DIMENSIONS))
    mean = features.mean(axis=0) / np.linalg.norm(features.mean(axis=0))
    projected = {f"embedding_{i}": float(x) for i, x in enumerate(mean @ projection)}
    return {**projected, "embedding_spread": float(features.std(axis=0).mean())}


def _picks(
    bench: Bench,
    task: str,
    groups: Mapping[str, Attributes],
    embeddings: Mapping[str, Attributes],
    seed: int,
) -> Iterator[tuple[str, float]]:
    others = bench.others(task)
    both = {name: {**groups[name], **embeddings[name]} for name in groups}
    kinds: dict[str, Mapping[str, Attributes]] = {
        "no meta-features": {name: {} for name in groups},
        "seven groups": groups,
        "embedding": embeddings,
        "both": both,
        "shuffled embedding": _permuted(embeddings, seed),
    }
    for method, features in kinds.items():
        yield method, _regret(bench, task, others, features, seed)
    no_features = kinds["no meta-features"]
    alone = {name: _regret(bench, task, [name], no_features, seed) for name in others}
    for name, features in (("seven groups", groups), ("embedding", embeddings), ("both", both)):
        to_task = distances(features[task], [features[other] for other in others])
        nearest = min(zip(to_task, others, strict=True), key=lambda p: (p[0] is None, p[0]))[1]
        yield f"nearest, {name}", alone[nearest]
    yield "any study", float(np.mean(list(alone.values())))


def _permuted(embeddings: Mapping[str, Attributes], seed: int) -> Mapping[str, Attributes]:
    """Give each set the embedding of another."""
    names = np.random.default_rng(seed_of("moved", seed)).permutation(sorted(embeddings)).tolist()
    return {name: embeddings[names[i - 1]] for i, name in enumerate(names)}


def _regret(
    bench: Bench, task: str, past: list[str], features: Mapping[str, Attributes], seed: int
) -> float:
    """Return the percentage points of balanced accuracy lost to the set's best trial."""
    trials = complete(study_of(bench, task))
    space = {name: dist for trial in trials for name, dist in trial.distributions.items()}
    dataset = build_meta_dataset(read_history(open_journal(bench.past), names=past), space)
    frame = _with(to_frame(space, dataset.configs), _of_rows(dataset, features))
    model = fit_regressor(space, frame, dataset.scores, TREES, seed_of(task, seed) % 2**31)
    configs = to_frame(space, [trial.params for trial in trials])
    pool = _with(configs, [features[task]] * len(trials))
    values: Floats = np.array([trial.values[0] for trial in trials], dtype=np.float64)
    picked = int(np.argmax(model.predict(pool)))
    return float(100 * (values.max() - values[picked]))


def _of_rows(dataset: MetaDataset, features: Mapping[str, Attributes]) -> list[Attributes]:
    return [features[dataset.studies[group]] for group in dataset.groups]


def _with(frame: pd.DataFrame, attributes: list[Attributes]) -> pd.DataFrame:
    """Add meta-features as numeric columns; the modality is one-hot encoded."""
    extra = pd.DataFrame(attributes, index=frame.index)
    if "modality" in extra:
        for modality in sorted({image_set.modality for image_set in IMAGE_SETS}):
            extra[modality] = (extra["modality"] == modality).astype(float)
        extra = extra.drop(columns="modality")
    return pd.concat([frame, extra], axis=1)


def write_page(table: pd.DataFrame, path: Path) -> Path:
    """Write the page and return its path."""
    methods = [f"- {method}: {text}." for method, text in METHODS.items()]
    lines = [*_head(table), *_rows(table), "", *_verdict(table), "", *methods]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _head(table: pd.DataFrame) -> Iterator[str]:
    yield "# embedding"
    yield ""
    yield (
        f"Does an embedding help as meta-features? {table['task'].nunique()} medical "
        f"image sets (`studies/{MEDICAL.shipped.name}`), each held out once, "
        f"{table['seed'].nunique()} seeds: one pick from the set's own recorded trials. Regret: "
        "percentage points of validation balanced accuracy below the set's best trial, mean over "
        f"sets with a 95 % bootstrap interval. Embedding: mean (projected to {N_DIMENSIONS} "
        f"numbers) and spread of {NETWORK}'s features at {SIDE} pixels over the training images."
    )
    yield ""
    yield f"{datetime.date.today()}, {ran_with_versions()}. Written by:"
    yield f"\n    {typed_command()}\n"


def _rows(table: pd.DataFrame) -> Iterator[str]:
    wide = table.pivot_table(index="task", columns="method", values="regret")
    yield from header("", "regret", "gain over no meta-features, or over any study")
    for method in METHODS:
        base = "any study" if method.startswith(("nearest", "any")) else "no meta-features"
        gain = np.asarray(wide[base] - wide[method], dtype=np.float64)
        yield line(method, _shown(np.asarray(wide[method], dtype=np.float64)), _shown(gain))


def _verdict(table: pd.DataFrame) -> Iterator[str]:
    """Yield the gain of each way of using the embedding over the same method without it."""
    wide = table.pivot_table(index="task", columns="method", values="regret")
    for without, with_it in (
        ("no meta-features", "embedding"),
        ("seven groups", "both"),
        ("nearest, seven groups", "nearest, both"),
    ):
        gain = np.asarray(wide[without] - wide[with_it], dtype=np.float64)
        result = "it helps" if bootstrap(gain)[0] > 0 else "no gain shown"
        yield f"- `{with_it}` instead of `{without}`: {_shown(gain)} points less regret; {result}."


def _shown(values: NDArray[np.float64]) -> str:
    low, high = bootstrap(values)
    return f"{values.mean():.2f} ({low:.2f} to {high:.2f})"

"""meta-features of one kind or another -> the first pick on a set that is held out."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.families.family import seed_of
from benchmarks.families.past import Floats
from benchmarks.medical.page import ran_with_versions
from benchmarks.medical.world import Bench
from benchmarks.medical.world import data_of
from benchmarks.medical.world import study_of
from benchmarks.report.numbers import resampled
from benchmarks.report.table import header
from benchmarks.report.table import line
from benchmarks.report.table import typed
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
"""The mean feature vector is projected to so many: 1,280 columns for 8 tasks are noise."""
TREES = Trees(n=200, depth=6, learning_rate=0.05)
METHODS = {
    "no meta-features": "200 trees see the configuration only, as the library's members do",
    "seven groups": "they also see the paper's meta-features, as columns",
    "embedding": "they also see the embedding instead",
    "both": "they also see both",
    "shuffled embedding": "control: the embedding of another set",
    "nearest, seven groups": "trees on the nearest study alone, near by the seven groups",
    "nearest, embedding": "the same, near by the embedding",
    "nearest, both": "the same, near by both",
    "any study": "control: trees on one study alone, mean over all of them",
}
Attributes = Mapping[str, float | int | str]


def picks(n_seeds: int) -> pd.DataFrame:
    """Pick with every method on every set; a row a pick."""
    bench = Bench(IMAGE_SETS, images_folder(), MEDICAL, MEDICAL.shipped)
    tasks = [one.study for one in bench.image_sets]
    if not (bench.images / IMAGE_SETS[0].file).exists():
        raise SystemExit(f"There are no image sets in {bench.images}. Set METALLMIX_DATA.")
    rows = []
    for seed in tqdm(range(n_seeds), unit="seed"):
        groups = {task: seven_groups(bench, task) for task in tasks}
        embeddings = {task: embedding(bench, task, seed) for task in tasks}
        for task in tasks:
            for method, regret in _picks(bench, task, groups, embeddings, seed):
                rows.append({"task": task, "seed": seed, "method": method, "regret": regret})
    return pd.DataFrame(rows)


def seven_groups(bench: Bench, task: str) -> Attributes:
    """The paper's meta-features."""
    return meta_features(data_of(bench, task, 0), bench.named(task).modality)


def embedding(bench: Bench, task: str, seed: int) -> Attributes:
    """Mean and spread of a small network's features over the training images."""
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
    both = {one: {**groups[one], **embeddings[one]} for one in groups}
    kinds: dict[str, Mapping[str, Attributes]] = {
        "no meta-features": {one: {} for one in groups},
        "seven groups": groups,
        "embedding": embeddings,
        "both": both,
        "shuffled embedding": _moved(embeddings, seed),
    }
    for method, known in kinds.items():
        yield method, _regret(bench, task, others, known, seed)
    alone = {one: _regret(bench, task, [one], kinds["no meta-features"], seed) for one in others}
    for name, known in (("seven groups", groups), ("embedding", embeddings), ("both", both)):
        away = distances(known[task], [known[one] for one in others])
        nearest = min(zip(away, others, strict=True), key=lambda p: (p[0] is None, p[0]))[1]
        yield f"nearest, {name}", alone[nearest]
    yield "any study", float(np.mean(list(alone.values())))


def _moved(embeddings: Mapping[str, Attributes], seed: int) -> Mapping[str, Attributes]:
    """Give each set another's, none its own."""
    names = np.random.default_rng(seed_of("moved", seed)).permutation(sorted(embeddings)).tolist()
    return {name: embeddings[names[i - 1]] for i, name in enumerate(names)}


def _regret(
    bench: Bench, task: str, past: list[str], known: Mapping[str, Attributes], seed: int
) -> float:
    """Percentage points of balanced accuracy between the set's best trial and the picked one."""
    trials = complete(study_of(bench, task))
    space = {name: one for trial in trials for name, one in trial.distributions.items()}
    dataset = build_meta_dataset(read_history(open_journal(bench.past), names=past), space)
    frame = _with(to_frame(space, dataset.configs), _of_rows(dataset, known))
    model = fit_regressor(space, frame, dataset.scores, TREES, seed_of(task, seed) % 2**31)
    pool = _with(to_frame(space, [one.params for one in trials]), [known[task]] * len(trials))
    values: Floats = np.array([one.values[0] for one in trials], dtype=np.float64)
    picked = int(np.argmax(model.predict(pool)))
    return float(100 * (values.max() - values[picked]))


def _of_rows(dataset: MetaDataset, known: Mapping[str, Attributes]) -> list[Attributes]:
    return [known[dataset.studies[group]] for group in dataset.groups]


def _with(frame: pd.DataFrame, attributes: list[Attributes]) -> pd.DataFrame:
    """Add meta-features as columns of numbers; of modalities one each."""
    extra = pd.DataFrame(attributes, index=frame.index)
    if "modality" in extra:
        for modality in sorted({one.modality for one in IMAGE_SETS}):
            extra[modality] = (extra["modality"] == modality).astype(float)
        extra = extra.drop(columns="modality")
    return pd.concat([frame, extra], axis=1)


def write_page(table: pd.DataFrame, path: Path) -> Path:
    """Write the page."""
    words = [f"- {method}: {text}." for method, text in METHODS.items()]
    lines = [*_head(table), *_rows(table), "", *_verdict(table), "", *words]
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
    yield f"\n    {typed()}\n"


def _rows(table: pd.DataFrame) -> Iterator[str]:
    wide = table.pivot_table(index="task", columns="method", values="regret")
    yield from header("", "regret", "less than without, or than any study")
    for method in METHODS:
        base = "any study" if method.startswith(("nearest", "any")) else "no meta-features"
        gain = np.asarray(wide[base] - wide[method], dtype=np.float64)
        yield line(method, _shown(np.asarray(wide[method], dtype=np.float64)), _shown(gain))


def _verdict(table: pd.DataFrame) -> Iterator[str]:
    """What the embedding is beside what there is without it, both ways of using it."""
    wide = table.pivot_table(index="task", columns="method", values="regret")
    for without, with_it in (
        ("no meta-features", "embedding"),
        ("seven groups", "both"),
        ("nearest, seven groups", "nearest, both"),
    ):
        gain = np.asarray(wide[without] - wide[with_it], dtype=np.float64)
        helps = np.percentile(resampled(gain), 2.5) > 0
        found = "it helps" if helps else "no gain shown"
        yield f"- `{with_it}` instead of `{without}`: {_shown(gain)} points less regret; {found}."


def _shown(values: NDArray[np.float64]) -> str:
    low, high = np.percentile(resampled(values), [2.5, 97.5])
    return f"{values.mean():.2f} ({low:.2f} to {high:.2f})"

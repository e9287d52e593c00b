"""Convert fine-tuning runs recorded by others into Optuna studies.

The data are not shipped; see `benchmarks.paths.data_folder`. Each data set becomes a
:class:`Replay`: its trials in the order they ran, and a define-by-run search space.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import TypeAlias

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna.trial import create_trial

from benchmarks.tasks.space import Conditions
from benchmarks.tasks.space import Space
from benchmarks.tasks.space import is_active


Row: TypeAlias = Mapping[Hashable, Any]

QUICKTUNE = "quicktune_13ds.parquet"
QUICKTUNE_SPACE = "quicktune_search_space.json"
MEDQUICKTUNE = "medquicktune_6ds_505trials.csv"

_BY_MODEL = {
    "densenet": (
        "bn_size",
        "growth_rate",
        "dropout_prob",
        "init_features",
        "densenet_type",
        "remove_last_block",
    ),
    "resnet": (
        "conv1_t_stride",
        "conv1_t_size",
        "no_max_pool",
        "widen_factor",
        "resnet_type",
    ),
}
_MEDQUICKTUNE_PARAMETERS = (
    "model",
    "learning_rate",
    "weight_decay",
    "batch_size",
    "gradient_accumulation_steps",
    "optimizer_type",
    "scheduler_type",
    "warmup_epochs",
    "label_smoothing",
    "mixup_alpha",
    "act",
)
_MEDQUICKTUNE_LOG = ("learning_rate", "weight_decay")


@dataclass(frozen=True)
class Replay:
    """The recorded runs on a data set as an Optuna study to be maximized.

    Attributes:
        name: Name of the data set.
        attributes: Meta-features, stored as the study's user attributes.
        space: All parameters by name, parents before children.
        conditions: When conditional parameters are active.
        trials: The runs; aborted runs are FAIL and have no value.
    """

    name: str
    attributes: Mapping[str, int | str]
    space: Mapping[str, BaseDistribution]
    conditions: Conditions
    trials: tuple[FrozenTrial, ...]

    def add_to(self, storage: BaseStorage | str) -> optuna.Study:
        """Add a study of the runs to a storage."""
        study = optuna.create_study(storage=storage, study_name=self.name, direction="maximize")
        for key, value in self.attributes.items():
            study.set_user_attr(key, value)
        study.add_trials(self.trials)
        return study

    def ask(self, trial: optuna.Trial) -> dict[str, Any]:
        """Suggest the parameters as a define-by-run objective does, and return them."""
        return Space(self.space, self.conditions).ask(trial)


def quicktune(folder: Path, max_trials: int | None = None) -> list[Replay]:
    """Read Quick-Tune: 13 image sets, 32 parameters, values in percent of accuracy.

    A run with one epoch was aborted. Only the first ``max_trials`` runs of a set are kept.
    """
    frame = pd.read_parquet(folder / QUICKTUNE)
    described = json.loads((folder / QUICKTUNE_SPACE).read_text(encoding="utf-8"))
    conditions = dict(map(_condition, described["conditions"]))
    # The records have -1 for "None", and numbers that the published space does not list.
    frame[["clip_grad", "layer_decay"]] = (
        frame[["clip_grad", "layer_decay"]].astype(object).replace(-1.0, "None")
    )
    given = {p["name"]: p for p in described["hyperparameters"] if p["name"] in frame}
    names = sorted(given, key=lambda name: name in conditions)
    rows: list[dict[Hashable, Any]] = frame.to_dict("records")
    space: dict[str, BaseDistribution] = {
        name: _choices(
            given[name], [row[name] for row in rows if is_active(name, row, conditions)]
        )
        for name in names
    }
    return _replays(
        rows,
        space,
        conditions,
        ("n_train", "n_classes", "img_px", "channels", "domain"),
        lambda row: None if row["n_epochs"] == 1 else float(row["best_top1"]),
        max_trials,
    )


def medquicktune(folder: Path, max_trials: int | None = None) -> list[Replay]:
    """Read MedQuickTune: 6 oncology sets, ResNets and DenseNets; failed runs have score 0."""
    frame = pd.read_csv(folder / MEDQUICKTUNE)
    conditions = {
        child: ("model", frozenset([model]))
        for model, children in _BY_MODEL.items()
        for child in children
    }
    names = (*_MEDQUICKTUNE_PARAMETERS, *conditions)
    space = {
        name: _range_or_choices(frame[name].dropna().tolist(), log=name in _MEDQUICKTUNE_LOG)
        for name in names
    }
    rows: list[dict[Hashable, Any]] = frame.to_dict("records")
    return _replays(
        rows,
        space,
        conditions,
        ("total_num_samples", "num_classes", "input_size_h", "input_size_d", "modality"),
        lambda row: None if row["best_score"] == 0 else float(row["best_score"]),
        max_trials,
    )


def _replays(
    rows: Sequence[Row],
    space: Mapping[str, BaseDistribution],
    conditions: Conditions,
    attributes: Iterable[str],
    value: Callable[[Row], float | None],
    max_trials: int | None,
) -> list[Replay]:
    sets = {str(row["dataset"]): row for row in rows}
    return [
        Replay(
            name,
            {key: first[key] for key in attributes},
            space,
            conditions,
            tuple(
                _trial(row, space, conditions, value(row))
                for row in [row for row in rows if row["dataset"] == name][:max_trials]
            ),
        )
        for name, first in sorted(sets.items())
    ]


def _trial(
    row: Row, space: Mapping[str, BaseDistribution], conditions: Conditions, value: float | None
) -> FrozenTrial:
    active = {name: dist for name, dist in space.items() if is_active(name, row, conditions)}
    return create_trial(
        state=TrialState.FAIL if value is None else TrialState.COMPLETE,
        params={name: _value(dist, row[name]) for name, dist in active.items()},
        distributions=active,
        value=value,
    )


def _value(distribution: BaseDistribution, recorded: Any) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return next(choice for choice in distribution.choices if choice == recorded)
    return int(recorded) if isinstance(distribution, IntDistribution) else float(recorded)


def _condition(described: Mapping[str, Any]) -> tuple[str, tuple[str, frozenset[str]]]:
    parts = described.get("conditions", [described])
    values = frozenset(str(part["value"]) for part in parts)
    return described["child"], (parts[0]["parent"], values)


def _choices(described: Mapping[str, Any], recorded: Iterable[Any]) -> CategoricalDistribution:
    listed = list(described.get("choices") or described["sequence"])
    return CategoricalDistribution(listed + sorted(set(recorded) - set(listed)))


def _range_or_choices(values: Sequence[Any], *, log: bool) -> BaseDistribution:
    if isinstance(values[0], str | bool):
        return CategoricalDistribution(sorted(set(values)))
    low, high = min(values), max(values)
    if all(float(value).is_integer() for value in values):
        return IntDistribution(int(low), int(high))
    return FloatDistribution(low, high, log=log)

"""recorded fine-tuning runs of other people -> the Optuna studies they would have been.

The data are not ours and are not shipped: see :func:`data_folder`. Each data set becomes one
:class:`Replay`: its trials in the order they were run, and the space as an objective asks for it.
"""

from __future__ import annotations

import json
import os
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


Row: TypeAlias = Mapping[Hashable, Any]
Conditions: TypeAlias = Mapping[str, tuple[str, frozenset[str]]]
"""By child parameter: its parent, and the parent's values under which the child is active."""

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
    """One data set's recorded runs as an Optuna study, to be maximised.

    Attributes:
        name: The data set.
        attributes: What is known of it, for the study's user attributes.
        space: All parameters by name, parents before children.
        conditions: Which of them are active when.
        trials: The runs; an aborted one is FAIL and has no value.
    """

    name: str
    attributes: Mapping[str, int | str]
    space: Mapping[str, BaseDistribution]
    conditions: Conditions
    trials: tuple[FrozenTrial, ...]

    def add_to(self, storage: BaseStorage | str) -> optuna.Study:
        """Make a study of the runs."""
        study = optuna.create_study(storage=storage, study_name=self.name, direction="maximize")
        for key, value in self.attributes.items():
            study.set_user_attr(key, value)
        study.add_trials(self.trials)
        return study

    def ask(self, trial: optuna.Trial) -> dict[str, Any]:
        """Ask for the parameters as a define-by-run objective does, and return them."""
        asked: dict[str, Any] = {}
        for name, distribution in self.space.items():
            if is_active(name, asked, self.conditions):
                asked[name] = trial._suggest(name, distribution)
        return asked


def is_active(name: str, params: Mapping[Any, Any], conditions: Conditions) -> bool:
    """Tell whether a parameter is asked for, given its parent's value."""
    if name not in conditions:
        return True
    parent, values = conditions[name]
    return params.get(parent) in values


def data_folder() -> Path:
    """Return where the recorded runs are: ``METALLMIX_DATA``, else beside the checkout."""
    beside = Path(__file__).resolve().parents[1].with_name("shared") / "data"
    return Path(os.environ.get("METALLMIX_DATA") or beside)


def quicktune(folder: Path, max_trials: int | None = None) -> list[Replay]:
    """Read Quick-Tune: 13 image sets, 32 parameters, values in percent of accuracy.

    A run with one epoch was aborted. Of more than ``max_trials`` runs a set keeps the first ones.
    """
    frame = pd.read_parquet(folder / QUICKTUNE)
    described = json.loads((folder / QUICKTUNE_SPACE).read_text(encoding="utf-8"))
    conditions = dict(map(_condition, described["conditions"]))
    # Recorded: -1 for "None", and numbers that the published space does not list.
    frame[["clip_grad", "layer_decay"]] = (
        frame[["clip_grad", "layer_decay"]].astype(object).replace(-1.0, "None")
    )
    given = {one["name"]: one for one in described["hyperparameters"] if one["name"] in frame}
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
    """Read MedQuickTune: 6 oncology sets, a ResNet or a DenseNet; a failed run has score 0."""
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
    active = {name: one for name, one in space.items() if is_active(name, row, conditions)}
    return create_trial(
        state=TrialState.FAIL if value is None else TrialState.COMPLETE,
        params={name: _value(one, row[name]) for name, one in active.items()},
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
    if all(float(one).is_integer() for one in values):
        return IntDistribution(int(low), int(high))
    return FloatDistribution(low, high, log=log)

"""Make the first suggestion for a held-out set from the recorded runs of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial

from benchmarks.paths import data_folder
from benchmarks.tasks.replay import Replay
from benchmarks.tasks.space import is_active
from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record


def recorded_runs(name: str) -> Any:
    path = data_folder() / name
    if not path.is_file():
        pytest.skip(f"no recorded runs at {path}: set METALLMIX_DATA")
    return path.parent


@dataclass(frozen=True)
class Suggested:
    replay: Replay
    trial: FrozenTrial
    record: dict[str, Any]


def suggest_for(
    held_out: Replay, replays: Sequence[Replay], storage: InMemoryStorage, **options: Any
) -> Suggested:
    others = [replay.name for replay in replays if replay is not held_out]
    sampler = MetaLLMiXSampler(
        source_storage=storage,
        source_study_names=others,
        meta_features=held_out.attributes,
        seed=0,
        **options,
    )
    study = optuna.create_study(direction="maximize", sampler=sampler, study_name=held_out.name)
    study.optimize(lambda trial: float(len(held_out.ask(trial))), n_trials=1)
    record = read_record(study.trials[0])
    assert record is not None
    assert list(record["past_studies"]) == others
    return Suggested(held_out, study.trials[0], record)


def check_served(suggested: Suggested) -> None:
    """Check that exactly the active parameters were served, with the suggested values."""
    replay, params = suggested.replay, suggested.trial.params
    assert params == suggested.record["params"]
    assert "metallmix:projected" not in suggested.trial.user_attrs
    assert list(params) == [
        name for name in replay.space if is_active(name, params, replay.conditions)
    ]
    assert suggested.record["quality"] is not None

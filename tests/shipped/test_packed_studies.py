"""A packed study is the study that was packed."""

from __future__ import annotations

import gzip
from datetime import timedelta
from pathlib import Path

import optuna
import pytest
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix.optuna_access import trial_id_of
from optuna_metallmix.shipped import pack_study
from optuna_metallmix.shipped import read_studies


SPACE: dict[str, BaseDistribution] = {
    "weight": CategoricalDistribution([None, "balanced"]),
    "is_fast": CategoricalDistribution([True, False]),
    "n": IntDistribution(1, 100, log=True),
    "x": FloatDistribution(1e-8, 1.0, log=True),
}
TRIALS = (
    create_trial(
        params={"weight": None, "is_fast": True, "n": 3, "x": 0.25},
        distributions=SPACE,
        value=0.75,
        user_attrs={"seconds": 1.5, "sampler": "random"},
    ),
    create_trial(
        params={"weight": "balanced", "is_fast": False},
        distributions={name: SPACE[name] for name in ("weight", "is_fast")},
        state=TrialState.FAIL,
        user_attrs={"reason": "Too slow."},
    ),
)


@pytest.fixture
def study() -> optuna.Study:
    study = optuna.create_study(study_name="svm/a", direction="maximize")
    study.set_user_attr("recorded", "2026-11-27")
    study.set_user_attr("n_instances", 150)
    study.add_trials(TRIALS)
    return study


def write(studies: list[optuna.Study], path: Path) -> Path:
    path.write_bytes(gzip.compress("".join(pack_study(s) + "\n" for s in studies).encode()))
    return path


def content(trial: FrozenTrial) -> tuple[object, ...]:
    return trial.state, trial.value, trial.params, trial.distributions, trial.user_attrs


def test_what_is_packed_is_read(study: optuna.Study, tmp_path: Path) -> None:
    (read,) = read_studies(write([study], tmp_path / "packed.jsonl.gz"))
    assert read.name == "svm/a"
    assert read.attributes == study.user_attrs
    assert [content(trial) for trial in read.trials] == [content(t) for t in study.trials]


def test_a_trial_took_its_seconds(study: optuna.Study, tmp_path: Path) -> None:
    (read,) = read_studies(write([study], tmp_path / "packed.jsonl.gz"))
    assert [trial.duration for trial in read.trials] == [timedelta(seconds=1.5), timedelta()]


def test_numbers_have_six_digits(study: optuna.Study, tmp_path: Path) -> None:
    params = {"x": 1 / 3}
    study.add_trial(create_trial(params=params, distributions={"x": SPACE["x"]}, value=2 / 3))
    (read,) = read_studies(write([study], tmp_path / "packed.jsonl.gz"))
    assert read.trials[-1].params == {"x": 0.333333}
    assert read.trials[-1].value == 0.666667


def test_ids_are_unique_in_a_file(study: optuna.Study, tmp_path: Path) -> None:
    studies = list(read_studies(write([study, study], tmp_path / "packed.jsonl.gz")))
    assert [trial.number for study in studies for trial in study.trials] == [0, 1, 0, 1]
    ids = {trial_id_of(trial) for study in studies for trial in study.trials}
    assert len(ids) == 4

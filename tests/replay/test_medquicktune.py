"""Test suggestions on MedQuickTune's six oncology sets: small, noisy, a third of runs failed."""

from __future__ import annotations

from collections import Counter

import pytest
from held_out import check_served
from held_out import recorded_runs
from held_out import suggest_for
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from benchmarks.tasks.replay import MEDQUICKTUNE
from benchmarks.tasks.replay import Replay
from benchmarks.tasks.replay import medquicktune
from optuna_metallmix.llm import is_embedded_installed


pytestmark = pytest.mark.shared
N_SETS = 6


@pytest.fixture(scope="module")
def replays() -> list[Replay]:
    return medquicktune(recorded_runs(MEDQUICKTUNE))


@pytest.fixture(scope="module")
def storage(replays: list[Replay]) -> InMemoryStorage:
    storage = InMemoryStorage()
    for replay in replays:
        replay.add_to(storage)
    return storage


def test_replayed_studies_match_the_records(replays):
    states = Counter(trial.state for replay in replays for trial in replay.trials)
    assert [replay.name for replay in replays] == [
        "bflair",
        "crlm",
        "desmoid",
        "gist",
        "hcc",
        "liver",
    ]
    assert sum(states.values()) == 505
    assert states[TrialState.FAIL] == 168
    for trial in replays[0].trials:
        is_resnet = trial.params["model"] == "resnet"
        assert ("resnet_type" in trial.params) is is_resnet
        assert ("densenet_type" in trial.params) is not is_resnet


@pytest.mark.parametrize("index", range(N_SETS))
def test_first_suggestion(replays, storage, index):
    suggested = suggest_for(replays[index], replays, storage, llm=False)
    check_served(suggested)
    assert suggested.trial.user_attrs["metallmix:source"] == "meta-learner"


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize("index", range(0, N_SETS, 3))
def test_first_suggestion_of_the_embedded_model(replays, storage, index):
    if not is_embedded_installed():
        pytest.skip("the embedded model is not installed")
    suggested = suggest_for(
        replays[index], replays, storage, llm="embedded", judge=False, llm_timeout=None
    )
    check_served(suggested)
    attrs = suggested.trial.user_attrs
    assert attrs["metallmix:model"]
    assert suggested.record["attempts"]
    assert attrs["metallmix:source"] == "llm" or attrs["metallmix:reason"]

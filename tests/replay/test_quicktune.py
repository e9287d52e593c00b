"""Test suggestions on Quick-Tune's 13 image sets: a conditional space with string choices."""

from __future__ import annotations

from collections import Counter

import pytest
from held_out import check_served
from held_out import recorded_runs
from held_out import suggest_for
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from benchmarks.tasks.replay import QUICKTUNE
from benchmarks.tasks.replay import Replay
from benchmarks.tasks.replay import quicktune
from optuna_metallmix.llm import is_embedded_installed


pytestmark = pytest.mark.shared
N_SETS = 13


@pytest.fixture(scope="module")
def replays() -> list[Replay]:
    return quicktune(recorded_runs(QUICKTUNE), max_trials=40)


@pytest.fixture(scope="module")
def storage(replays: list[Replay]) -> InMemoryStorage:
    storage = InMemoryStorage()
    for replay in replays:
        replay.add_to(storage)
    return storage


def test_replayed_studies_match_the_records():
    replays = quicktune(recorded_runs(QUICKTUNE))
    states = Counter(trial.state for replay in replays for trial in replay.trials)
    assert len(replays) == N_SETS
    assert states == {TrialState.COMPLETE: 1543, TrialState.FAIL: 824}
    assert all(t.value is None for t in replays[0].trials if t.state is TrialState.FAIL)
    assert replays[0].attributes["n_classes"] == 40
    for trial in replays[0].trials:
        assert ("momentum" in trial.params) is (trial.params["opt"] == "momentum")
        assert ("opt_betas" in trial.params) is trial.params["opt"].startswith("adam")
    assert {trial.params["clip_grad"] for trial in replays[0].trials} == {"None", 1, 10}


@pytest.mark.parametrize("index", range(N_SETS))
def test_first_suggestion(replays, storage, index):
    suggested = suggest_for(replays[index], replays, storage, llm=False)
    check_served(suggested)
    assert suggested.trial.user_attrs["metallmix:source"] == "meta-learner"
    assert suggested.record["predicted"] > 0.6
    assert suggested.record["quality"] > 0.5


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize("index", range(0, N_SETS, 3))  # each takes five seconds
def test_first_suggestion_of_the_embedded_model(replays, storage, index, record_property):
    if not is_embedded_installed():
        pytest.skip("the embedded model is not installed")
    suggested = suggest_for(
        replays[index], replays, storage, llm="embedded", judge=False, llm_timeout=None
    )
    check_served(suggested)
    attrs = suggested.trial.user_attrs
    record_property("source", attrs["metallmix:source"])
    assert attrs["metallmix:model"]
    assert suggested.record["attempts"]
    assert attrs["metallmix:source"] == "llm" or attrs["metallmix:reason"]

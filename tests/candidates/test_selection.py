from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.trial import TrialState
from optuna.trial import create_trial

from optuna_metallmix.candidates.pool import best_choices
from optuna_metallmix.candidates.selection import CAUTION
from optuna_metallmix.candidates.selection import MIN_DISTANCE
from optuna_metallmix.candidates.selection import Candidate
from optuna_metallmix.candidates.selection import _distance
from optuna_metallmix.candidates.selection import propose_candidates
from optuna_metallmix.candidates.selection import spread_candidates
from optuna_metallmix.history.history import History
from optuna_metallmix.history.history import PastStudy
from optuna_metallmix.history.history import PastTrial
from optuna_metallmix.metalearner.dataset import build_meta_dataset
from optuna_metallmix.metalearner.ensemble import Trees
from optuna_metallmix.metalearner.meta_learner import MetaLearner
from optuna_metallmix.space.search_space import config_key
from optuna_metallmix.space.search_space import contains


if TYPE_CHECKING:
    from conftest import Learned

Space = Mapping[str, BaseDistribution]


def _fit(history: History, space: Space) -> MetaLearner:
    return MetaLearner(trees=Trees(4, 30, 0.08)).fit(build_meta_dataset(history, space))


def _propose(
    learner: MetaLearner, history: History, n: int = 6, seed: int = 0
) -> tuple[Candidate, ...]:
    return propose_candidates(learner, history, np.random.default_rng(seed), n)


def _active_sets(history: History, space: Space) -> set[frozenset[str]]:
    trials = [trial for study in history.studies for trial in study.trials]
    return {frozenset(set(trial.params) & set(space)) for trial in trials}


@pytest.mark.parametrize("seed", range(5))
def test_candidates_are_valid_ranked_and_different(learned: Learned, seed: int) -> None:
    found = _propose(learned.learner, learned.history, seed=seed)
    assert [one.number for one in found] == [1, 2, 3, 4, 5, 6]
    for one in found:
        assert all(contains(learned.space[name], v) for name, v in one.params.items())
        assert frozenset(one.params) in _active_sets(learned.history, learned.space)
        assert ("momentum" in one.params) == (one.params["optimizer"] == "sgd")
    surest = [_surely(one, learned.learner.trust) for one in found]
    assert surest == sorted(surest, reverse=True)
    predicted = [one.predicted for one in found]
    np.testing.assert_allclose(
        predicted, learned.learner.predict([one.params for one in found]).mean, atol=1e-12
    )
    assert len({config_key(one.params) for one in found}) == 6


def test_candidates_are_not_six_times_the_same_thing(learned: Learned) -> None:
    for one, other in itertools.combinations(learned.candidates, 2):
        assert _distance(one.params, other.params, learned.space) >= MIN_DISTANCE


def test_distance_is_the_mean_difference_of_parameters() -> None:
    space = {
        "lr": FloatDistribution(1e-4, 1, log=True),
        "n": CategoricalDistribution([1, 3, 5]),
        "k": CategoricalDistribution(["a", None]),
    }
    start = {"lr": 1e-4, "n": 1, "k": "a"}
    assert _distance(start, start, space) == 0.0
    assert _distance(start, {**start, "lr": 1e-2}, space) == pytest.approx(0.5 / 3)
    assert _distance(start, {**start, "n": 5}, space) == pytest.approx(1 / 3)
    assert _distance(start, {**start, "k": None}, space) == pytest.approx(1 / 3)
    assert _distance(start, {"lr": 1e-4, "n": 1}, space) == pytest.approx(1 / 3)


def test_best_candidate_is_near_the_true_optimum(learned: Learned) -> None:
    best = learned.candidates[0].params
    assert best["optimizer"] == "adam"
    assert 1e-4 < best["lr"] < 1e-2


def _surely(one: Candidate, trust: float) -> float:
    """What is expected of a candidate, less what is doubtful of one that nobody has tried."""
    assert one.predicted is not None
    assert one.spread is not None
    doubt = 0.0 if one.origin.startswith("one of the best") else CAUTION * (1 - trust)
    return one.predicted - doubt * one.spread


def test_a_past_that_tells_all_is_followed(
    learned: Learned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learned.learner, "quality", 1.0)
    predicted = [one.predicted for one in _propose(learned.learner, learned.history)]
    assert predicted == sorted(predicted, reverse=True)


@pytest.mark.parametrize("quality", [-0.5, 0.0, 0.05])
def test_a_past_that_tells_nothing_is_not_departed_from(
    learned: Learned, monkeypatch: pytest.MonkeyPatch, quality: float
) -> None:
    monkeypatch.setattr(learned.learner, "quality", quality)
    found = _propose(learned.learner, learned.history)
    assert all(one.origin.startswith("one of the best of") for one in found)


def test_same_seed_same_candidates(learned: Learned) -> None:
    again = _propose(learned.learner, learned.history)
    assert again == learned.candidates
    assert _propose(learned.learner, learned.history, seed=9) != again


def test_own_configurations_are_not_offered_again(learned: Learned) -> None:
    own = [one.params for one in learned.candidates]
    target = PastStudy(
        "me", learned.space, tuple(PastTrial(p, 0.9, 1.0, None) for p in own), {}, is_target=True
    )
    history = replace(learned.history, studies=(*learned.history.studies, target))
    tried = {config_key(params) for params in own}
    offered = _propose(learned.learner, history, 30)
    assert not {config_key(one.params) for one in offered} & tried


def test_own_configuration_is_not_offered_again_where_it_cannot_be_ranked(
    learned: Learned,
) -> None:
    best = learned.candidates[0].params
    trial = create_trial(
        state=TrialState.COMPLETE,
        params=dict(best),
        distributions={name: learned.space[name] for name in best},
        value=0.1,
    )
    history = learned.history.with_target(None, [trial])
    assert best not in [one.params for one in _propose(learned.learner, history, 30)]


def test_own_configuration_is_not_offered_again_in_a_part_of_its_space() -> None:
    space: dict[str, BaseDistribution] = {"k": CategoricalDistribution(["a", "b", "c"])}
    rows = [({"k": "abc"[i % 3], "x": i}, 1 - i / 12) for i in range(12)]
    trials = tuple(PastTrial(params, score, None, None) for params, score in rows)
    history = History(
        (PastStudy("past", {**space, "x": IntDistribution(0, 20)}, trials, {}),),
        tried=(({"k": "a", "x": 19}, 1.0),),
    )
    found = _propose(_fit(history, space), history)
    assert [one.params["k"] for one in found] == ["b", "c"]


def test_narrower_space_than_the_past(learned: Learned) -> None:
    space = {
        "lr": FloatDistribution(1e-2, 1.0, log=True),
        "batch_size": CategoricalDistribution([8, 24]),
        "optimizer": CategoricalDistribution(["lion", "sgd"]),
        "momentum": FloatDistribution(0.2, 0.4, step=0.1),
    }
    for one in _propose(_fit(learned.history, space), learned.history):
        assert set(one.params) <= set(space)
        assert all(contains(space[name], value) for name, value in one.params.items())


def test_absent_choice_gives_way_to_the_best_present_one(learned: Learned) -> None:
    space = {
        "optimizer": CategoricalDistribution(["sgd", "lamb", None]),
        "frozen": CategoricalDistribution([False, True]),
    }
    learner = _fit(learned.history, {**learned.space, **space})
    best = best_choices(learner, learner.space)
    assert set(best) == {"optimizer", "frozen"}
    assert best["frozen"] is True
    found = _propose(learner, learned.history)
    assert found[0].params["optimizer"] in ("sgd", "lamb", None)
    adams = best_choices(learned.learner, {"optimizer": learned.space["optimizer"]})
    assert adams == {"optimizer": "adam"}


def test_parameter_unknown_to_the_past_is_in_every_candidate(learned: Learned) -> None:
    space = {
        **learned.space,
        "dropout": FloatDistribution(0, 0.5),
        "augment": CategoricalDistribution(["none", "flip"]),
    }
    for one in _propose(_fit(learned.history, space), learned.history):
        assert contains(space["dropout"], one.params["dropout"])
        assert one.params["augment"] in ("none", "flip")


def test_past_trial_without_any_parameter_of_the_space_makes_no_empty_candidate() -> None:
    space = {"k": FloatDistribution(0, 1)}
    with_k = tuple(PastTrial({"k": i / 20}, i / 40, None, None) for i in range(20))
    without = tuple(PastTrial({"x": i}, 1.0, None, None) for i in range(20))
    both = {**space, "x": IntDistribution(0, 20)}
    history = History((PastStudy("past", both, without + with_k, {}),))
    found = _propose(_fit(history, space), history, 20)
    assert all(set(one.params) == {"k"} for one in found)


def test_number_that_makes_others_active_stays_with_them() -> None:
    space = {
        "n_layers": IntDistribution(1, 3),
        **{f"units_{i}": IntDistribution(8, 64) for i in range(3)},
    }
    rng = np.random.default_rng(0)
    trials = []
    for i in range(40):
        n = int(rng.integers(1, 4))
        units = {f"units_{j}": int(rng.integers(8, 65)) for j in range(n)}
        trials.append(PastTrial({"n_layers": n, **units}, 1 - i / 40, None, None))
    history = History((PastStudy("past", space, tuple(trials), {}),))
    for one in _propose(_fit(history, space), history, 40):
        assert len(one.params) == 1 + one.params["n_layers"]


def test_fewer_candidates_where_the_space_has_fewer() -> None:
    space = {"k": CategoricalDistribution(["a", "b"])}
    trials = tuple(PastTrial({"k": "ab"[i % 2]}, 1 - i / 10, None, None) for i in range(10))
    history = History((PastStudy("past", space, trials, {}),))
    assert len(_propose(_fit(history, space), history)) == 2


@given(
    st.integers(1, 8),
    st.integers(0, 1000),
    st.dictionaries(
        st.sampled_from("abcd"),
        st.sampled_from(
            [
                FloatDistribution(0, 1),
                FloatDistribution(1e-9, 1, log=True),
                IntDistribution(0, 1),
                CategoricalDistribution(["x", None, 1]),
                CategoricalDistribution([1]),
            ]
        ),
        min_size=1,
    ),
)
@settings(max_examples=30)
def test_candidates_without_a_past_start_in_the_middle(
    n: int, seed: int, space: dict[str, Any]
) -> None:
    found = spread_candidates(space, np.random.default_rng(seed), n)
    assert 1 <= len(found) <= n
    assert found[0].origin == "middle of the space"
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    assert all(one.predicted is None for one in found)
    for one in found:
        assert set(one.params) == set(space)
        assert all(contains(space[name], value) for name, value in one.params.items())
    assert len({config_key(one.params) for one in found}) == len(found)

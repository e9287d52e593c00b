"""Distances of past studies: by meta-features, else by results, and the same for every use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from optuna_metallmix.history import similarity
from optuna_metallmix.history.history import History
from optuna_metallmix.history.history import PastStudy
from optuna_metallmix.history.meta_features import distances
from optuna_metallmix.history.scores import PastTrial
from optuna_metallmix.history.similarity import BY_FEATURES
from optuna_metallmix.history.similarity import BY_RESULTS
from optuna_metallmix.history.similarity import MIN_TRIALS
from optuna_metallmix.history.similarity import study_distances


SPACE: dict[str, BaseDistribution] = {
    "x": FloatDistribution(0, 1),
    "k": CategoricalDistribution(["a", "b"]),
    "y": FloatDistribution(1e-4, 1, log=True),
}


def _study(
    name: str,
    value: Callable[[dict[str, Any]], float],
    n: int = 20,
    *,
    features: dict[str, Any] | None = None,
    is_target: bool = False,
    seed: int = 0,
) -> PastStudy:
    rng = np.random.default_rng(seed)
    configs = []
    for _ in range(n):
        params: dict[str, Any] = {"x": rng.random(), "k": str(rng.choice(["a", "b"]))}
        if params["k"] == "b":
            params["y"] = float(10 ** rng.uniform(-4, 0))
        configs.append(params)
    configs.sort(key=value, reverse=True)
    ranks = np.linspace(1, 0, n)
    trials = tuple(PastTrial(c, float(r), None, None) for c, r in zip(configs, ranks, strict=True))
    return PastStudy(name, SPACE, trials, features or {}, is_target)


def _rising(params: dict[str, Any]) -> float:
    return float(params["x"]) + (params["k"] == "a")


def _falling(params: dict[str, Any]) -> float:
    return -_rising(params)


def test_meta_features_come_first_and_the_nearest_is_first() -> None:
    past = [_study(f"p{i}", _rising, features={"n": 10**i}) for i in range(4)]
    own = _study("me", _falling, is_target=True)
    found = study_distances(History((*past, own)), {"n": 100})
    assert found.basis == BY_FEATURES
    assert [found.studies[i].name for i in found.order] == ["p2", "p1", "p3", "p0"]
    assert list(found.to_target) == distances({"n": 100}, [study.meta_features for study in past])


def test_distances_to_the_target_and_between_studies_are_the_same() -> None:
    features = [{"n": 5}, {"n": 70, "other": 3}, {"n": 900, "modality": "CT"}]
    past = [_study(f"p{i}", _rising, features=f, seed=i) for i, f in enumerate(features)]
    for meta_features in ({"n": 10, "modality": "CT"}, {}):
        own = _study("me", _rising, is_target=True, seed=7)
        found = study_distances(History((*past, own)), meta_features)
        pairwise = found.between([3, 0, 1, 2])
        assert pairwise[0, 1:] == pytest.approx(found.to_target)
        assert pairwise == pytest.approx(pairwise.T)
        assert not pairwise.diagonal().any()


def test_without_meta_features_the_studys_own_trials_decide() -> None:
    past = (
        _study("opposite", _falling, seed=1),
        _study("alike", _rising, seed=2),
        _study("large", lambda params: float(np.sin(40 * params["x"])), 40, seed=3),
    )
    own = _study("me", _rising, 8, is_target=True, seed=4)
    found = study_distances(History((*past, own)), {})
    assert found.basis == BY_RESULTS
    assert [found.studies[i].name for i in found.order] == ["alike", "large", "opposite"]
    opposite, alike, other = found.to_target
    assert alike is not None
    assert opposite is not None
    assert other is not None
    assert 0.0 <= alike < 0.25 < other < 0.75 < opposite <= 1.0


def test_a_copy_of_the_own_trials_has_distance_zero() -> None:
    own = _study("me", _rising, 12, is_target=True)
    copy = PastStudy("copy", SPACE, own.trials, {})
    (distance,) = study_distances(History((copy, own)), {}).to_target
    assert distance == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("n_own", [0, 1, MIN_TRIALS - 1])
def test_with_few_own_trials_distances_are_unknown_and_large_studies_come_first(
    n_own: int,
) -> None:
    past = (_study("small", _rising, 9), _study("large", _falling, 30))
    own = (_study("me", _rising, n_own, is_target=True),) if n_own else ()
    found = study_distances(History((*past, *own)), {"unknown elsewhere": 3})
    assert found.to_target == (None, None)
    assert [found.studies[i].name for i in found.order] == ["large", "small"]
    assert 0.5 < found.between([0, 1])[0, 1] <= 1.0


def test_studies_without_a_common_feature_come_last() -> None:
    past = (
        _study("unknown, large", _rising, 30),
        _study("far", _rising, features={"n": 10_000}),
        _study("unknown", _rising),
        _study("near", _rising, features={"n": 101}),
    )
    found = study_distances(History(past), {"n": 100})
    names = [found.studies[i].name for i in found.order]
    assert names == ["near", "far", "unknown, large", "unknown"]
    assert np.isnan(found.between([0, 1])[0, 1])


def test_studies_without_a_common_parameter_have_no_distance() -> None:
    elsewhere = PastStudy(
        "elsewhere",
        {"z": FloatDistribution(0, 1)},
        tuple(PastTrial({"z": i / 9}, i / 9, None, None) for i in range(10)),
        {},
    )
    own = _study("me", _rising, is_target=True)
    assert study_distances(History((elsewhere, own)), {}).to_target == (None,)
    assert study_distances(History(), {}).order == []


@pytest.mark.parametrize("n_params", [60, 61, 150])
def test_some_of_many_parameters_are_enough_to_compare_results(n_params: int) -> None:
    space: dict[str, BaseDistribution] = {f"p{i}": SPACE["x"] for i in range(n_params)}

    def study(name: str, sign: int, seed: int) -> PastStudy:
        positions = np.random.default_rng(seed).random(20)
        ordered = positions[np.argsort(-sign * positions)].tolist()
        trials = tuple(
            PastTrial(dict.fromkeys(space, x), 1 - i / 19, None, None)
            for i, x in enumerate(ordered)
        )
        return PastStudy(name, space, trials, {}, is_target=name == "own")

    studies = (study("like", 1, 0), study("opposite", -1, 1), study("own", 1, 2))
    like, opposite = study_distances(History(studies), {}).to_target
    assert like is not None
    assert opposite is not None
    assert like < 0.05
    assert opposite > 0.95
    compared = similarity._Results.of(studies[0], similarity._compared(space))
    assert len(compared.columns) == 60

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.metalearner import meta_learner
from optuna_metallmix.metalearner.dataset import MetaDataset
from optuna_metallmix.metalearner.ensemble import Trees
from optuna_metallmix.metalearner.meta_learner import MetaLearner


if TYPE_CHECKING:
    from conftest import Learned

SPACE = {"x": FloatDistribution(0, 1), "kind": CategoricalDistribution(["a", "b"])}


def _dataset(rows: list[tuple[dict[str, Any], float, int]]) -> MetaDataset:
    configs, scores, groups = zip(*rows, strict=True)
    names = tuple(f"study {i}" for i in range(max(groups) + 1))
    unknown = np.full(len(scores), np.nan)
    return MetaDataset(SPACE, configs, np.array(scores, float), np.array(groups), names, unknown)


def _rising(n: int, group: int = 0) -> list[tuple[dict[str, Any], float, int]]:
    return [({"x": i / n, "kind": "ab"[i % 2]}, i / (n - 1), group) for i in range(n)]


def test_good_configurations_are_predicted_better_than_bad_ones(learned: Learned) -> None:
    good = {"lr": 1e-3, "optimizer": "adam", "batch_size": 32, "depth": 3, "frozen": True}
    bad = {"lr": 0.09, "optimizer": "sgd", "momentum": 0.5, "batch_size": 32, "depth": 3}
    mean = learned.learner.predict([good, bad]).mean
    assert mean[0] > mean[1] + 0.3
    assert learned.learner.quality is not None
    assert learned.learner.quality > 0.5


def test_prediction_is_the_mean_and_spread_of_the_members(learned: Learned) -> None:
    configs = learned.learner.dataset.configs[:7]
    prediction = learned.learner.predict(configs)
    assert prediction.mean.shape == prediction.spread.shape == (7,)
    assert (prediction.spread >= 0).all()
    assert prediction.spread.max() > 0


def test_shap_values_and_base_add_up_to_the_prediction(learned: Learned) -> None:
    configs = [*learned.learner.dataset.configs, {"lr": 0.5, "optimizer": "never seen"}, {}]
    values, base = learned.learner.shap_values(configs)
    assert values.shape == (len(configs), len(learned.space))
    expected = learned.learner.predict(configs).mean
    np.testing.assert_allclose(values.sum(axis=1) + base, expected, atol=1e-9, rtol=0)


def test_same_seed_same_model() -> None:
    dataset = _dataset(_rising(12) + _rising(12, 1) + _rising(12, 2))
    probe = [{"x": 0.3, "kind": "a"}, {"x": 0.9}]
    first, again, other = (
        MetaLearner(seed=seed, trees=Trees(4, 10, 0.08)).fit(dataset).predict(probe).mean.tolist()
        for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("seed", [2**31, 2**32 - 1])
def test_large_seeds_fit(seed: int) -> None:
    learner = MetaLearner(seed=seed, trees=Trees(4, 2, 0.08)).fit(_dataset(_rising(9)))
    assert learner.predict([{"x": 1.0}]).mean.shape == (1,)


def test_quality_is_unknown_with_one_study() -> None:
    learner = MetaLearner(trees=Trees(4, 5, 0.08)).fit(_dataset(_rising(20)))
    assert learner.quality is None
    assert learner.predict([{"x": 0.9, "kind": "a"}]).spread[0] > 0


def test_quality_of_an_inverted_past_is_negative() -> None:
    rows = _rising(20) + [({**c}, 1 - s, 1) for c, s, _ in _rising(20)]
    learner = MetaLearner(trees=Trees(4, 20, 0.08)).fit(_dataset(rows))
    assert learner.quality is not None
    assert learner.quality < -0.5


def test_studies_have_equal_weights() -> None:
    crowd = [({"x": i / 300, "kind": "a"}, i / 299, 0) for i in range(300)]
    few = [({"x": i / 40, "kind": "a"}, 1 - i / 39, 1 + i % 4) for i in range(40)]
    learner = MetaLearner(trees=Trees(4, 40, 0.08)).fit(_dataset(crowd + few))
    high, low = learner.predict([{"x": 0.95, "kind": "a"}, {"x": 0.05, "kind": "a"}]).mean
    assert low > high


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (_rising(7), "only 7 past trials"),
        ([({"x": 0.5, "kind": "a"}, i / 9, 0) for i in range(10)], "the same parameter values"),
        ([({"x": i / 9, "kind": "a"}, 0.5, 0) for i in range(10)], "the same score"),
    ],
)
def test_too_little_to_learn_from_is_a_history_error(
    rows: list[tuple[dict[str, Any], float, int]], reason: str
) -> None:
    with pytest.raises(HistoryError, match=reason):
        MetaLearner().fit(_dataset(rows))


def test_study_that_never_varied_a_parameter_does_not_stop_the_fit() -> None:
    constant = [({"kind": "a"}, i / 9, 0) for i in range(10)]
    varied = [({"kind": "ab"[i % 2]}, i / 9, 1) for i in range(10)]
    for seed in range(4):
        learner = MetaLearner(seed=seed, trees=Trees(4, 5, 0.08)).fit(_dataset(constant + varied))
        assert np.isfinite(learner.predict([{"kind": "b"}]).mean).all()


def test_whether_a_parameter_is_active_can_be_learned() -> None:
    rows = [({"kind": "a"} | ({"x": 0.5} if i % 2 else {}), i % 2, 0) for i in range(12)]
    learner = MetaLearner(trees=Trees(4, 20, 0.08)).fit(_dataset(rows))
    with_x, without = learner.predict([{"kind": "a", "x": 0.5}, {"kind": "a"}]).mean
    assert with_x > without


def test_study_whose_rows_score_alike_does_not_stop_the_fit() -> None:
    flat = [({"x": i / 9, "kind": "a"}, 0.5, 0) for i in range(10)]
    learner = MetaLearner(trees=Trees(4, 5, 0.08)).fit(_dataset(flat + _rising(10, 1)))
    assert all(math.isfinite(m) for m in learner.predict([{"x": 0.1}]).mean)


def test_study_without_rows_is_ignored() -> None:
    rows = _rising(20, 1)
    learner = MetaLearner(trees=Trees(4, 5, 0.08)).fit(_dataset(rows))
    assert learner.predict([{"x": 0.9, "kind": "a"}]).spread[0] > 0


def test_a_second_fit_forgets_the_first(learned: Learned) -> None:
    learner = MetaLearner(trees=Trees(4, 5, 0.08)).fit(learned.learner.dataset)
    assert len(learner.past_shap_values[0]) == len(learned.learner.dataset.configs)
    learner.fit(_dataset(_rising(12) + _rising(12, 1)))
    values, base = learner.past_shap_values
    assert values.shape == (24, 2)
    expected = learner.predict(learner.dataset.configs).mean
    np.testing.assert_allclose(values.sum(axis=1) + base, expected, atol=1e-9, rtol=0)


def test_explained_rows_are_evenly_spaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meta_learner, "MAX_EXPLAINED", 5)
    learner = MetaLearner(trees=Trees(4, 5, 0.08)).fit(_dataset(_rising(12) + _rising(13, 1)))
    assert list(learner.explained_rows) == [0, 6, 12, 18, 24]
    assert len(learner.past_shap_values[0]) == 5

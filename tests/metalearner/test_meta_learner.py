from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from optuna_metallmix import suggest
from optuna_metallmix.candidates.selection import propose_candidates
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history.history import History
from optuna_metallmix.history.history import PastStudy
from optuna_metallmix.history.scores import PastTrial
from optuna_metallmix.metalearner import ensemble
from optuna_metallmix.metalearner import meta_learner
from optuna_metallmix.metalearner.dataset import MAX_STUDIES
from optuna_metallmix.metalearner.dataset import MAX_VALUES
from optuna_metallmix.metalearner.dataset import MetaDataset
from optuna_metallmix.metalearner.dataset import limit_studies
from optuna_metallmix.metalearner.ensemble import Trees
from optuna_metallmix.metalearner.meta_learner import MAX_COLUMNS
from optuna_metallmix.metalearner.meta_learner import N_RELEVANT
from optuna_metallmix.metalearner.meta_learner import MetaLearner
from optuna_metallmix.metalearner.meta_learner import fit_meta_learner
from optuna_metallmix.space.search_space import SearchSpace
from optuna_metallmix.space.search_space import sample


if TYPE_CHECKING:
    from conftest import Learned

SPACE = {"x": FloatDistribution(0, 1), "kind": CategoricalDistribution(["a", "b"])}
FEW = Trees(3, 15, 0.2)


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


def test_prediction_is_the_mean_of_the_studies_with_its_standard_error(learned: Learned) -> None:
    learner, configs = learned.learner, learned.learner.dataset.configs[:7]
    rows, prediction = learner.predict_by_study(configs), learner.predict(configs)
    assert len(learner.study_models_) == len(rows) == 3
    np.testing.assert_allclose(prediction.mean, rows.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(prediction.spread, rows.std(axis=0) / np.sqrt(3), atol=1e-9)
    np.testing.assert_allclose(learner.predict_mean(configs), prediction.mean, atol=1e-9)


def test_standard_error_counts_studies_by_their_weight() -> None:
    rows = _rising(20) + _rising(6, 1) + _rising(20, 2)
    learner = MetaLearner(trees=FEW).fit(_dataset(rows))
    weights = np.array([1, 0.36, 1]) / 2.36
    np.testing.assert_allclose(learner.study_weights_, weights)
    configs = learner.dataset.configs[:5]
    by_study = learner.predict_by_study(configs)
    mean = weights @ by_study
    variance = weights @ (by_study - mean) ** 2
    spread = np.sqrt(variance * (weights**2).sum())
    prediction = learner.predict(configs)
    np.testing.assert_allclose(prediction.mean, mean)
    np.testing.assert_allclose(prediction.spread, spread)


def test_spread_of_a_single_study_is_that_of_the_members() -> None:
    learner = MetaLearner(trees=FEW).fit(_dataset(_rising(20)))
    configs = learner.dataset.configs[:5]
    rows = learner.predict_by_study(configs)
    assert len(rows) == len(learner.members_)
    np.testing.assert_allclose(learner.predict(configs).spread, rows.std(axis=0))


def test_shap_values_and_base_add_up_to_the_prediction(learned: Learned) -> None:
    configs = [*learned.learner.dataset.configs, {"lr": 0.5, "optimizer": "never seen"}, {}]
    assert learned.learner.study_models_
    values, base = learned.learner.shap_values(configs)
    assert values.shape == (len(configs), len(learned.space))
    expected = learned.learner.predict(configs).mean
    np.testing.assert_allclose(values.sum(axis=1) + base, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_copies_predict_and_explain_alike(
    learned: Learned, copied: Callable[[MetaLearner], MetaLearner]
) -> None:
    learner, configs = learned.learner, learned.learner.dataset.configs[:5]
    other = copied(learner)
    assert other.predict(configs).mean.tolist() == learner.predict(configs).mean.tolist()
    assert other.shap_values(configs)[0].tolist() == learner.shap_values(configs)[0].tolist()
    assert (other.quality, other.error) == (learner.quality, learner.error)


def test_threads_fit_the_same_model() -> None:
    dataset = _dataset(_rising(12) + _rising(13, 1) + _rising(14, 2))
    ensemble._fit_study.cache.clear()

    def fit(_: int) -> list[float]:
        learner = MetaLearner(trees=FEW).fit(dataset)
        mean: list[float] = learner.predict([{"x": 0.3, "kind": "a"}, {"x": 0.9}]).mean.tolist()
        return mean

    with ThreadPoolExecutor(4) as threads:
        first, *others = threads.map(fit, range(8))
    assert others == [first] * 7


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


def test_quality_is_unknown_beside_studies_of_a_few_trials() -> None:
    small = [row for group in range(1, 5) for row in _rising(3, group)]
    learner = MetaLearner(trees=FEW).fit(_dataset(_rising(20) + small))
    assert learner.quality is None
    assert learner.trust == meta_learner.UNKNOWN_TRUST
    assert learner.error == meta_learner.UNKNOWN_ERROR
    assert learner.predict([{"x": 0.9, "kind": "a"}]).spread[0] > 0


def test_small_studies_alone_are_learned_from() -> None:
    rows = [row for group, n in enumerate([4, 6, 3, 9, 5]) for row in _rising(n, group)]
    learner = MetaLearner(trees=Trees(4, 40, 0.08)).fit(_dataset(rows))
    assert learner.quality is not None
    assert learner.quality > 0.5
    low, high = learner.predict([{"x": 0.05, "kind": "a"}, {"x": 0.95, "kind": "a"}]).mean
    assert low < high


def _debugging(n_trials: int, group: int) -> list[tuple[dict[str, Any], float, int]]:
    """Return a study that says the opposite of the others, with other values."""
    xs = np.linspace(0.02, 0.6, n_trials)
    return [
        ({"x": float(x), "kind": "b"}, 1 - i / (n_trials - 1), group) for i, x in enumerate(xs)
    ]


@pytest.mark.parametrize("n_past", [2, 3, 10])
@pytest.mark.parametrize("n_trials", [2, 3, 4])
def test_debugging_runs_do_no_harm(n_past: int, n_trials: int) -> None:
    rng = np.random.default_rng(0)
    past = []
    for group in range(n_past):
        xs = rng.random(20)
        noisy = xs + 0.5 * rng.random(20)
        ranks = noisy.argsort().argsort() / 19
        past += [({"x": float(x), "kind": "ab"[i % 2]}, ranks[i], group) for i, x in enumerate(xs)]
    debugging = [r for i in range(3) for r in _debugging(n_trials, n_past + i)]
    alone = MetaLearner().fit(_dataset(past))
    beside = MetaLearner().fit(_dataset(past + debugging))
    assert beside.trust > alone.trust - 0.1
    probe = [{"x": i / 20, "kind": kind} for i in range(21) for kind in "ab"]
    means = alone.predict(probe).mean
    assert means[beside.predict(probe).mean.argmax()] > means.max() - 0.05
    assert np.abs(beside.predict(probe).mean - means).mean() < 0.06


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


def _history(space: SearchSpace, seed: int = 0) -> History:
    """Return four studies of ``space`` in which low numbers and early choices are good."""
    rng = np.random.default_rng(seed)
    studies = []
    for name in "abcd":
        configs = [{n: sample(dist, rng) for n, dist in space.items()} for _ in range(20)]
        trials = tuple(
            PastTrial(config, 1 - i / 19, None, None) for i, config in enumerate(configs)
        )
        studies.append(PastStudy(name, space, trials, {}))
    return History(tuple(studies))


def test_changed_range_is_not_a_reason_to_fit_again(fits: list[None]) -> None:
    space = {**SPACE, "n": CategoricalDistribution([8, 16])}
    history = _history(space)
    learner = fit_meta_learner(history, space, 0)
    assert fit_meta_learner(history, dict(space), 0) is learner
    moved = {**space, "x": FloatDistribution(0.2, 0.4), "n": CategoricalDistribution([8, 16, 32])}
    other = fit_meta_learner(history, moved, 0)
    assert len(fits) == 1
    assert (learner.space, other.space) == (space, moved)
    assert other.past_shap_values is learner.past_shap_values
    candidates = propose_candidates(other, history, np.random.default_rng(0))
    assert all(0.2 <= candidate.params["x"] <= 0.4 for candidate in candidates)


def test_other_names_choices_seeds_and_trials_are(fits: list[None]) -> None:
    history = _history(SPACE)
    fit_meta_learner(history, SPACE, 0)
    fit_meta_learner(history, {"x": SPACE["x"]}, 0)
    fit_meta_learner(history, {**SPACE, "kind": CategoricalDistribution(["a", "b", "c"])}, 0)
    fit_meta_learner(history, SPACE, 1)
    fit_meta_learner(_history(SPACE), SPACE, 0)
    assert len(fits) == 5


def test_studies_that_are_not_learned_from_are_no_reason_to_fit_again(fits: list[None]) -> None:
    past = _history(SPACE).studies * (MAX_STUDIES // 4 + 1)
    history = History(tuple(replace(study, name=f"s{i}") for i, study in enumerate(past)))
    learner = fit_meta_learner(history, SPACE, 0)
    assert len(learner.studies) == len(set(learner.dataset.groups)) == MAX_STUDIES
    assert fit_meta_learner(limit_studies(history, SPACE), SPACE, 0) is learner
    assert len(fits) == 1


@pytest.mark.parametrize(
    ("n_rows", "n_kept"), [(20, 4), (MAX_VALUES // 4, 4), (MAX_VALUES // 2, 2), (MAX_VALUES, 1)]
)
def test_the_larger_the_learners_the_fewer_are_kept(n_rows: int, n_kept: int) -> None:
    learner = MetaLearner(trees=FEW).fit(_dataset(_rising(20)))
    large = replace(learner.dataset, configs=learner.dataset.configs[:1] * n_rows)
    learner.dataset = large
    cache = meta_learner._fit.cache
    cache.clear()
    for key in range(5):
        cache[key] = learner
    assert len(cache) == n_kept
    cache.clear()


def _many_params(n_params: int) -> dict[str, FloatDistribution | CategoricalDistribution]:
    kind = CategoricalDistribution(["a", "b"])
    return {f"p{i}": kind if i % 5 == 0 else SPACE["x"] for i in range(n_params)}


def _past_of(space: SearchSpace, important: str, n_studies: int = 3) -> MetaDataset:
    rng = np.random.default_rng(0)
    rows = []
    for group in range(n_studies):
        configs = [{name: sample(dist, rng) for name, dist in space.items()} for _ in range(40)]
        configs.sort(key=lambda config: float(config[important]))
        rows += [(config, i / 39, group) for i, config in enumerate(configs)]
    return replace(_dataset(rows), space=space)


def test_of_many_parameters_the_relevant_ones_are_learned_from() -> None:
    space = _many_params(MAX_COLUMNS + 40)
    important = f"p{MAX_COLUMNS + 38}"
    learner = MetaLearner(trees=FEW).fit(_past_of(space, important))
    assert len(learner.columns) == N_RELEVANT
    assert list(learner.columns) == [name for name in space if name in learner.columns]
    assert learner.quality is not None
    assert learner.quality > 0.8
    configs = [*learner.dataset.configs[:9], {}, {"p1": 0.5, "p0": "never seen"}]
    values, base = learner.shap_values(configs)
    assert values.shape == (11, len(space))
    importance = dict(zip(space, np.abs(values).mean(axis=0), strict=True))
    assert max(importance, key=importance.__getitem__) == important
    assert {name for name in space if importance[name]} <= set(learner.columns)
    expected = learner.predict(configs).mean
    np.testing.assert_allclose(values.sum(axis=1) + base, expected, atol=1e-6)
    np.testing.assert_allclose(learner.predict_mean(configs), expected, atol=1e-9)


def test_up_to_the_limit_all_parameters_are_learned_from() -> None:
    space = _many_params(MAX_COLUMNS)
    learner = MetaLearner(trees=FEW).fit(_past_of(space, "p1", n_studies=1))
    assert learner.columns == tuple(space)


def test_candidates_and_effects_have_all_of_many_parameters() -> None:
    space = _many_params(MAX_COLUMNS + 40)
    history = _history(space)
    suggestion = suggest(history, space, {}, None)
    assert all(candidate.params.keys() == space.keys() for candidate in suggestion.candidates)
    assert suggestion.params.keys() == suggestion.effects.keys() == space.keys()
    assert suggestion.source == "meta-learner"


class _Named:
    """A choice whose text does not tell it from others."""

    def __repr__(self) -> str:
        return "the same"


def test_choices_are_told_apart_by_value_not_by_text(fits: list[None]) -> None:
    first, second = _Named(), _Named()
    with pytest.warns(UserWarning, match="persistent storage"):
        kinds = [CategoricalDistribution(pair) for pair in ([first, second], [second, first])]
    spaces = [{**SPACE, "kind": kind} for kind in kinds]
    history = _history(spaces[0])
    learners = [fit_meta_learner(history, space, 0) for space in spaces]
    assert len(fits) == 2
    configs = [{"x": 0.5, "kind": first}, {"x": 0.5, "kind": second}]
    means = [learner.predict(configs).mean for learner in learners]
    assert means[0][0] != means[0][1]
    np.testing.assert_allclose(means[0], means[1], atol=0.2)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """An item for each fit of a meta-learner."""
    done: list[None] = []
    fit = MetaLearner.fit

    def counting_fit(self: MetaLearner, dataset: MetaDataset) -> MetaLearner:
        done.append(None)
        return fit(self, dataset)

    monkeypatch.setattr(MetaLearner, "fit", counting_fit)
    return done


@pytest.mark.parametrize("sizes", [[20], [20, 20, 20], [3, 4, 5], [20, 3, 3]])
def test_no_floating_point_error_is_raised(sizes: list[int]) -> None:
    rows = [row for group, n in enumerate(sizes) for row in _rising(n, group)]
    with np.errstate(all="raise"):
        learner = MetaLearner().fit(_dataset(rows))
        learner.predict([{"x": 0.5, "kind": "a"}, {}])
        learner.predict_mean([{"x": 1e300}])

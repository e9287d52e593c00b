from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from optuna.distributions import FloatDistribution

from optuna_metallmix.history.history import History
from optuna_metallmix.history.history import PastStudy
from optuna_metallmix.history.scores import PastTrial
from optuna_metallmix.metalearner.dataset import MAX_STUDIES
from optuna_metallmix.metalearner.dataset import build_meta_dataset
from optuna_metallmix.metalearner.ensemble import Trees
from optuna_metallmix.metalearner.meta_learner import MAX_COLUMNS
from optuna_metallmix.metalearner.meta_learner import MetaLearner
from optuna_metallmix.transfer import next_config
from optuna_metallmix.transfer.gaussian_process import Encoding
from optuna_metallmix.transfer.gaussian_process import fit_gps
from optuna_metallmix.transfer.next_config import TransferModel
from optuna_metallmix.transfer.prior_mean import MAX_POINTS
from optuna_metallmix.transfer.prior_mean import MIN_POINTS
from optuna_metallmix.transfer.prior_mean import MIN_STUDY_POINTS
from optuna_metallmix.transfer.prior_mean import PriorMean


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.argsort().argsort(), second.argsort().argsort())[0, 1])


@pytest.fixture(scope="module")
def past(learned) -> tuple[MetaLearner, list[dict]]:
    learner = learned.learner
    return learner, [dict(config) for config in learner.dataset.configs]


def test_prior_mean_ranks_past_trials(past) -> None:
    learner, configs = past
    expected = PriorMean(learner, Encoding(learner.space), configs).predict(configs)
    assert rank_correlation(expected, learner.dataset.scores) > 0.7


def test_gaussian_processes_are_the_average_over_studies(past) -> None:
    learner, configs = past
    dataset, encoding = learner.dataset, Encoding(learner.space)
    prior_mean = PriorMean(learner, encoding, configs)
    predicted = prior_mean._predict_gps(encoding.encode(configs[:7]))
    sums = np.zeros(7)
    for study in range(len(dataset.studies)):
        rows = np.flatnonzero(dataset.groups == study)
        scores = dataset.scores[rows]
        points = encoding.encode([configs[i] for i in rows])
        values = (scores - scores.mean()) / scores.std()
        (gp,) = fit_gps([(points, values)], prior_mean.relevance)
        sums += gp.predict(encoding.encode(configs[:7]))[0]
    assert rank_correlation(predicted, sums) > 0.9  # with different length scales


def test_gaussian_processes_of_small_studies_count_less(learned) -> None:
    *full, last = learned.history.studies
    history = History((*full, replace(last, trials=last.trials[::5])))
    learner = MetaLearner(seed=0).fit(build_meta_dataset(history, learned.learner.space))
    configs, encoding = learner.dataset.configs, Encoding(learner.space)
    weighted = PriorMean(learner, encoding, configs)._gps
    learner.dataset.__dict__["weights"] = np.ones(3)  # a cached property
    equal = PriorMean(learner, encoding, configs)._gps
    assert weighted is not None
    assert equal is not None
    shares = np.repeat([1.0, 0.36], [60, 6])
    np.testing.assert_array_equal(weighted[2], shares * equal[2])


def test_gaussian_processes_get_the_scale_of_the_trees(past) -> None:
    learner, configs = past
    prior_mean = PriorMean(learner, Encoding(learner.space), configs)
    trees = learner.predict(configs).mean
    processes = 2 * prior_mean.predict(configs) - trees
    assert processes.mean() == pytest.approx(trees.mean())
    assert processes.std() == pytest.approx(trees.std())
    assert prior_mean.spread == pytest.approx(trees.std())


def test_known_points_give_the_same_means(past) -> None:
    learner, configs = past
    encoding = Encoding(learner.space)
    prior_mean = PriorMean(learner, encoding, configs)
    expected = prior_mean.predict(configs[:5])
    np.testing.assert_array_equal(
        prior_mean.predict(configs[:5], encoding.encode(configs[:5])), expected
    )


def test_small_studies_have_no_gaussian_process(learned) -> None:
    studies = tuple(
        replace(study, trials=study.trials[: MIN_POINTS - 1]) for study in learned.history.studies
    )
    history = History(studies=studies)
    dataset = build_meta_dataset(history, learned.learner.space)
    learner = MetaLearner(seed=0).fit(dataset)
    prior_mean = PriorMean(learner, Encoding(learner.space), dataset.configs)
    assert prior_mean._gps is None
    mean = learner.predict(dataset.configs).mean
    np.testing.assert_allclose(prior_mean.predict(dataset.configs), mean)


def test_relevance_follows_the_shap_values(past) -> None:
    learner, configs = past
    prior_mean = PriorMean(learner, Encoding(learner.space), configs)
    importance = np.abs(learner.past_shap_values[0]).mean(axis=0)
    spread = prior_mean._encoding.repeat(importance)
    assert prior_mean.relevance.max() == 1.0
    assert prior_mean.relevance.min() > 0.2
    assert prior_mean.relevance[spread.argmax()] == 1.0


def _random_past(n_studies: int, n_trials: int, n_params: int) -> History:
    rng = np.random.default_rng(0)
    space = {f"p{i}": FloatDistribution(0, 1) for i in range(n_params)}
    studies = []
    for i in range(n_studies):
        values = rng.random((n_trials, n_params))
        values = values[np.abs(values[:, 0] - 0.3).argsort()].tolist()
        trials = tuple(
            PastTrial(dict(zip(space, row, strict=True)), 1 - j / (n_trials - 1), None, None)
            for j, row in enumerate(values)
        )
        studies.append(PastStudy(f"s{i}", space, trials, {}))
    return History(tuple(studies))


@pytest.mark.parametrize("n_studies", [1, 60, 400])
@pytest.mark.parametrize("n_params", [2, 2 * MAX_COLUMNS])
def test_number_of_past_points_is_bounded(n_studies: int, n_params: int) -> None:
    history = _random_past(n_studies, MIN_STUDY_POINTS + 9, n_params)
    space = history.studies[0].space
    learner = MetaLearner(trees=Trees(2, 2, 0.1)).fit(build_meta_dataset(history, space))
    prior_mean = PriorMean(learner, Encoding(space), learner.dataset.configs[:9])
    assert prior_mean._gps is not None
    points, _, weights = prior_mean._gps
    assert len(points) == len(weights) <= MAX_POINTS
    if n_params > MAX_COLUMNS:
        assert len(points) <= max(MAX_POINTS / 2, MIN_STUDY_POINTS * min(n_studies, MAX_STUDIES))
    elif n_studies <= 60:
        assert len(points) == len(learner.dataset.configs)


@pytest.mark.slow
@pytest.mark.parametrize("n_studies", [MAX_STUDIES, 1_000])
def test_memory_does_not_grow_with_the_number_of_studies(n_studies: int) -> None:
    history = _random_past(n_studies, 20, 4)
    tracemalloc.start()
    try:
        model = TransferModel(history, history.studies[0].space, seed=0)
        model.propose([{f"p{i}": 0.5 for i in range(4)}], np.zeros(1), np.random.default_rng(0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(model._pool) <= next_config.MAX_POOL
    assert peak < 250e6

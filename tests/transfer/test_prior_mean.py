from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from optuna_metallmix.history.history import History
from optuna_metallmix.metalearner.dataset import build_meta_dataset
from optuna_metallmix.metalearner.meta_learner import MetaLearner
from optuna_metallmix.transfer.gaussian_process import fit_process
from optuna_metallmix.transfer.prior_mean import MIN_POINTS
from optuna_metallmix.transfer.prior_mean import PriorMean


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.argsort().argsort(), second.argsort().argsort())[0, 1])


@pytest.fixture(scope="module")
def past(learned) -> tuple[MetaLearner, list[dict]]:
    learner = learned.learner
    return learner, [dict(one) for one in learner.dataset.configs]


def test_it_orders_trials_of_the_past(past) -> None:
    learner, configs = past
    expected = PriorMean(learner, configs).of(configs)
    assert rank_correlation(expected, learner.dataset.scores) > 0.7


def test_the_processes_are_each_study_s_own_on_average(past) -> None:
    learner, configs = past
    expectation = PriorMean(learner, configs)
    _, found = expectation._views(configs[:7])
    assert expectation._processes is not None
    dataset, encoding = learner.dataset, expectation._encoding
    sums = np.zeros(7)
    for study in range(len(dataset.studies)):
        rows = np.flatnonzero(dataset.groups == study)
        scores = dataset.scores[rows]
        process = fit_process(
            encoding.points([configs[i] for i in rows]),
            (scores - scores.mean()) / scores.std(),
            expectation.relevance,
        )
        sums += process.predict(encoding.points(configs[:7]))[0]
    assert rank_correlation(found, sums) > 0.9  # each with a length scale of its own


def test_its_unit_is_the_pool_s_deviation(past) -> None:
    learner, configs = past
    expectation = PriorMean(learner, configs)
    views = expectation._views(configs)
    for view, unit in zip(views, expectation._units, strict=True):
        assert view.std() == pytest.approx(unit)


def test_what_is_remembered_is_what_is_computed(past, monkeypatch) -> None:
    learner, configs = past
    expectation = PriorMean(learner, configs)
    first = expectation.of(configs[:5])
    monkeypatch.setattr(expectation, "_views", None)
    np.testing.assert_array_equal(expectation.of(configs[4::-1]), first[::-1])
    monkeypatch.undo()
    np.testing.assert_allclose(PriorMean(learner, configs).of(configs[:5]), first)


def test_not_everything_is_remembered(past, monkeypatch) -> None:
    monkeypatch.setattr("optuna_metallmix.transfer.prior_mean.MAX_KNOWN", 3)
    learner, configs = past
    expectation = PriorMean(learner, configs)
    for start in range(0, 20, 5):
        expectation.of(configs[start : start + 5])
    assert len(expectation._known) <= 8


def test_studies_of_few_trials_are_left_to_the_trees(learned) -> None:
    studies = tuple(
        replace(one, trials=one.trials[: MIN_POINTS - 1]) for one in learned.history.studies
    )
    history = History(studies=studies)
    dataset = build_meta_dataset(history, learned.learner.space)
    learner = MetaLearner(seed=0).fit(dataset)
    expectation = PriorMean(learner, dataset.configs)
    assert expectation._processes is None
    mean = learner.predict(dataset.configs).mean
    np.testing.assert_allclose(expectation.of(dataset.configs), mean / mean.std())


def test_relevances_follow_what_the_past_shows(past) -> None:
    learner, configs = past
    expectation = PriorMean(learner, configs)
    importance = np.abs(learner.past_shap_values[0]).mean(axis=0)
    spread = expectation._encoding.spread(importance)
    assert expectation.relevance.max() == 1.0
    assert expectation.relevance.min() > 0.2
    assert expectation.relevance[spread.argmax()] == 1.0

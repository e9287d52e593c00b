"""The pooled ensemble, whose members leave out a fold of the studies, and a model per study."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from catboost import Pool
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from optuna_metallmix.metalearner import ensemble
from optuna_metallmix.metalearner.dataset import MetaDataset
from optuna_metallmix.metalearner.dataset import categorical_columns
from optuna_metallmix.metalearner.dataset import to_frame
from optuna_metallmix.metalearner.ensemble import DEEP
from optuna_metallmix.metalearner.ensemble import MIN_STUDY_ROWS
from optuna_metallmix.metalearner.ensemble import N_FOLDS
from optuna_metallmix.metalearner.ensemble import N_FOLDS_SINGLE_STUDY
from optuna_metallmix.metalearner.ensemble import SHALLOW
from optuna_metallmix.metalearner.ensemble import SMALL
from optuna_metallmix.metalearner.ensemble import Quality
from optuna_metallmix.metalearner.ensemble import Trees
from optuna_metallmix.metalearner.ensemble import can_fit
from optuna_metallmix.metalearner.ensemble import fit_pooled
from optuna_metallmix.metalearner.ensemble import fit_regressor
from optuna_metallmix.metalearner.ensemble import fit_studies
from optuna_metallmix.metalearner.ensemble import measure
from optuna_metallmix.metalearner.ensemble import predict_held_out
from optuna_metallmix.metalearner.ensemble import shap_values_of
from optuna_metallmix.metalearner.ensemble import sum_of
from optuna_metallmix.metalearner.meta_learner import MetaLearner
from optuna_metallmix.space.search_space import Config
from optuna_metallmix.space.search_space import SearchSpace


FEW = Trees(3, 15, 0.2)
TESTS = str(Path(__file__).parents[1])
X = {"x": FloatDistribution(0, 1)}


def past(n_studies: int, n_rows: int = 12) -> MetaDataset:
    """Return studies that agree: the score is ``x``."""
    return past_of([n_rows] * n_studies)


def past_of(sizes: Sequence[int], seed: int = 0) -> MetaDataset:
    """Return studies of these sizes that agree: the score is ``x``."""
    xs = np.random.default_rng(seed).random(sum(sizes))
    return _dataset(X, [{"x": float(x)} for x in xs], xs, sizes)


def parity_past(n_studies: int, n_rows: int, n_choices: int) -> MetaDataset:
    """Return studies with a parity score: good if an even number of choices is ``b``."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(2, size=(n_studies * n_rows, n_choices))
    names = [f"c{i}" for i in range(n_choices)]
    configs = [dict(zip(names, ["ab"[k] for k in row], strict=True)) for row in drawn]
    space = {name: CategoricalDistribution(["a", "b"]) for name in names}
    scores = (1 - drawn.sum(axis=1) % 2) * 0.9 + 0.1 * rng.random(len(drawn))
    return _dataset(space, configs, scores, [n_rows] * n_studies)


def many_choices(n_studies: int, n_choices: int) -> MetaDataset:
    """Return studies of a parameter with many choices: a large number and an even one are good."""
    rng = np.random.default_rng(0)
    choices = [f"v{i}" for i in range(n_choices)]
    drawn = rng.permutation(np.arange(n_studies * 100) % n_choices)
    xs = rng.random(len(drawn))
    scores = 0.7 * xs + 0.3 * (1 - drawn % 2)
    space = {"c": CategoricalDistribution(choices), **X}
    configs = [{"c": choices[i], "x": float(x)} for i, x in zip(drawn, xs, strict=True)]
    return _dataset(space, configs, scores, [100] * n_studies)


def _dataset(
    space: SearchSpace, configs: list[Config], scores: np.ndarray, sizes: Sequence[int]
) -> MetaDataset:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    studies = tuple(f"study {i}" for i in range(len(sizes)))
    unknown = np.full(len(configs), np.nan)
    return MetaDataset(space, tuple(configs), scores, groups, studies, unknown)


def quality_of(dataset: MetaDataset) -> Quality:
    return measure(fit_pooled(dataset, FEW, seed=0).held_out, dataset)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each fit of a study's own model, with an empty cache."""
    ensemble._fit_study.cache.clear()
    rows: list[int] = []
    fit = ensemble.fit_regressor

    def counting_fit(
        space: SearchSpace, frame: Any, targets: Any, trees: Trees, *args: Any, **options: Any
    ) -> Any:
        rows.extend([len(frame)] * (trees == SMALL))
        return fit(space, frame, targets, trees, *args, **options)

    monkeypatch.setattr(ensemble, "fit_regressor", counting_fit)
    return rows


@pytest.mark.parametrize(
    ("n_studies", "n_members"), [(1, N_FOLDS_SINGLE_STUDY), (2, 2), (7, 7), (23, N_FOLDS)]
)
def test_each_fold_has_a_member(n_studies: int, n_members: int) -> None:
    dataset = past(n_studies)
    pooled = fit_pooled(dataset, FEW, seed=0)
    assert len(pooled.members) == n_members
    quality = measure(pooled.held_out, dataset)
    assert quality.rank_correlations.shape == quality.top_scores.shape == (n_studies,)


def test_each_study_is_predicted_by_a_member_that_did_not_see_it() -> None:
    """A study that contradicts all others is mispredicted by them."""
    dataset = past(5, 20)
    odd = dataset.groups == 3
    dataset.scores[odd] = 1 - dataset.scores[odd]
    quality = quality_of(dataset)
    assert quality.rank_correlations[3] < -0.9
    assert np.delete(quality.rank_correlations, 3).min() > 0.3
    assert quality.top_scores[3] < 0.2 < 0.8 < np.delete(quality.top_scores, 3).min()


def test_quality_is_unknown_with_a_single_study() -> None:
    quality = quality_of(past(1, 30))
    assert np.isnan(quality.rank_correlations).all()
    assert np.isnan(quality.top_scores).all()


@pytest.mark.parametrize(
    ("sizes", "n_members", "checked"),
    [
        (
            [30, 30, 3, 3],
            2,
            [0, 1],
        ),  # small studies are learned from, but nothing is checked on them
        ([30, 3, 9, 4], N_FOLDS_SINGLE_STUDY, []),  # nor is a large study predicted from them
        ([3, 9, 4, 6], 4, [0, 1, 2, 3]),  # unless there are only small ones
        ([1, 9, 2], 3, [1]),  # two trials have no order
    ],
)
def test_studies_of_few_trials_are_not_held_out(
    sizes: list[int], n_members: int, checked: list[int]
) -> None:
    dataset = past_of(sizes)
    pooled = fit_pooled(dataset, FEW, seed=0)
    assert len(pooled.members) == n_members
    quality = measure(pooled.held_out, dataset)
    assert np.flatnonzero(~np.isnan(quality.rank_correlations)).tolist() == checked


def test_trees_are_deep_if_that_is_clearly_better() -> None:
    learner = MetaLearner(seed=0).fit(parity_past(6, 120, 6))
    assert learner.members_[0].get_param("depth") == DEEP.depth


def test_trees_are_shallow_if_deep_ones_are_not_better() -> None:
    learner = MetaLearner(seed=0).fit(past(6, 20))
    assert learner.members_[0].get_param("depth") == SHALLOW.depth


@pytest.mark.parametrize(
    ("gains", "clearly"),
    [
        ([0.1, 0.1, 0.1], True),
        ([0.3, -0.3, 0.1], False),
        ([0.1, 0.1, np.nan], False),
        ([0.1, 0.2, 0.1, np.nan], True),
        ([-0.1, -0.1, -0.1], False),
    ],
)
def test_better_means_by_more_than_the_standard_error(gains: list[float], clearly: bool) -> None:
    none = np.zeros(len(gains))
    assert Quality(none, np.array(gains)).is_clearly_better(Quality(none, none)) is clearly


def test_each_large_study_that_varies_has_a_model_of_its_own() -> None:
    dataset = past_of([20, MIN_STUDY_ROWS, MIN_STUDY_ROWS - 1, 0, 12, 12])
    dataset.scores[dataset.groups == 4] = 0.5
    same = dataset.groups == 5
    configs = [{"x": 0.5} if same[i] else config for i, config in enumerate(dataset.configs)]
    dataset = _dataset(X, configs, dataset.scores, [20, 5, 4, 0, 12, 12])
    models = fit_studies(dataset)
    assert list(models) == [0, 1]
    low, high = models[0].predict(to_frame(X, [{"x": 0.1}, {"x": 0.9}]))
    assert low < high


@pytest.mark.parametrize("n_rows", range(MIN_STUDY_ROWS, 25))
def test_models_of_small_studies_can_be_fitted(n_rows: int) -> None:
    """CatBoost raises if a tree is fitted on none of the rows."""
    for seed in range(8):
        assert list(fit_studies(past_of([n_rows], seed))) == [0]


def test_models_of_studies_are_kept_until_their_study_changes(fits: list[int]) -> None:
    sizes = [20 + i for i in range(7)]
    fit_studies(past_of(sizes))
    assert fits == sizes
    fit_studies(past_of(sizes))  # equal, but other objects
    assert len(fits) == 7
    fit_studies(past_of([*sizes, 40]))  # draws the same trials for the studies before it
    assert fits[7:] == [40]
    changed = past_of(sizes)
    changed.scores[25] += 0.25
    fit_studies(changed)
    assert fits[8:] == [21]


def test_a_new_study_is_the_only_one_that_gets_a_new_model(fits: list[int]) -> None:
    MetaLearner(trees=FEW).fit(past_of([15] * 12))
    assert len(fits) == 12
    learner = MetaLearner(trees=FEW).fit(past_of([15] * 12 + [16]))
    assert fits[12:] == [16]
    assert len(learner.study_models_) == 13


def _kind_past(choices: list[Any], drawn: list[Any], name: str = "kind") -> MetaDataset:
    space = {name: CategoricalDistribution(choices)}
    scores = np.arange(len(drawn)) / len(drawn)
    return _dataset(space, [{name: value} for value in drawn], scores, [len(drawn)])


def test_a_kept_model_is_of_the_same_columns_and_labels(fits: list[int]) -> None:
    fit_studies(_kind_past(["a", "b"], ["a", "b"] * 5))
    fit_studies(_kind_past(["a", "b", "c"], ["a", "b"] * 5))
    assert len(fits) == 1
    fit_studies(_kind_past(["a", "b"], ["b", "a"] * 5))
    fit_studies(_kind_past(["a", "b"], ["a", "b"] * 5, name="sort"))
    fit_studies(_kind_past(["1", "2", "b"], ["1", "2"] * 5))
    fit_studies(_kind_past([1, 2], [1, 2] * 5))  # a column of numbers
    assert len(fits) == 5


def test_trials_without_a_parameter_are_found_again(fits: list[int]) -> None:
    """NaN, which stands for an inactive number, differs from itself."""
    configs = [{"x": i / 10} if i % 2 else {} for i in range(10)]
    for _ in range(2):
        fit_studies(_dataset(X, [dict(c) for c in configs], np.arange(10.0), [10]))
    assert len(fits) == 1


def test_studies_are_predicted_by_the_models_of_the_others() -> None:
    dataset = past_of([20, 20, 5])
    models = fit_studies(dataset)
    held_out = predict_held_out(dataset, models)
    pool = Pool(dataset.frame)
    first, second, third = (models[i].predict(pool) for i in range(3))
    expected = np.where(
        dataset.groups == 0,
        (second + 0.25 * third) / 1.25,
        np.where(dataset.groups == 1, (first + 0.25 * third) / 1.25, (first + second) / 2),
    )
    np.testing.assert_allclose(held_out, expected, atol=1e-12)


@pytest.mark.parametrize("n_choices", [200, 320])
def test_models_and_their_sum_predict_and_explain_alike(n_choices: int) -> None:
    """CatBoost merges models of parameters with more than 255 choices wrongly."""
    dataset = many_choices(8, n_choices)
    models = fit_pooled(dataset, FEW, 0).members
    weights = np.linspace(0.1, 0.3, len(models))
    pool = Pool(dataset.frame, cat_features=categorical_columns(dataset.space))
    parts = sum_of(models, weights)
    assert len(parts) == (1 if n_choices <= 255 else len(models))
    expected = weights @ [model.predict(pool) for model in models]
    np.testing.assert_allclose(
        sum(w * model.predict(pool) for w, model in parts), expected, atol=1e-9
    )
    shap_values = sum(w * shap_values_of(model, pool) for w, model in parts)
    np.testing.assert_allclose(shap_values.sum(axis=1), expected, atol=1e-9)


def test_meta_learner_of_many_choices_predicts_and_explains() -> None:
    dataset = many_choices(4, 320)
    learner = MetaLearner(trees=FEW).fit(dataset)
    assert learner.study_models_
    configs = [*dataset.configs[:20], {"c": "never seen", "x": 0.5}, {}]
    mean = learner.predict(configs).mean
    np.testing.assert_allclose(learner.predict_mean(configs), mean, atol=1e-9)
    values, base = learner.shap_values(configs)
    np.testing.assert_allclose(values.sum(axis=1) + base, mean, atol=1e-6)


@pytest.mark.parametrize(
    ("xs", "targets"),
    [
        (1 + 1e-12 * np.arange(9), np.arange(9.0)),
        (2.0**60 + np.arange(9), np.arange(9.0)),
        (1e300 * np.arange(1, 9), np.arange(8.0)),
        (np.arange(9.0), -0.5 + 1e-12 * np.arange(9)),
    ],
)
def test_what_is_constant_in_single_precision_cannot_be_fitted(
    xs: np.ndarray, targets: np.ndarray
) -> None:
    from catboost import CatBoostError

    frame = to_frame(X, [{"x": float(x)} for x in xs])
    assert not can_fit(frame, targets)
    with pytest.raises(CatBoostError):
        fit_regressor(X, frame, targets, FEW, 0)
    assert can_fit(to_frame(X, [{"x": i} for i in range(9)]), np.arange(9.0))


def test_models_of_studies_are_used_unless_the_pooled_ensemble_is_clearly_better() -> None:
    assert len(MetaLearner(trees=FEW).fit(past(6, 20)).study_models_) == 6
    # What is good depends on the kind, of which each study knows only its own.
    xs, kinds = np.random.default_rng(0).random(320), np.repeat([*"aaaaaaaaaabbbbbb"], 20)
    configs = [{"x": float(x), "kind": str(kind)} for x, kind in zip(xs, kinds, strict=True)]
    space = {**X, "kind": CategoricalDistribution(["a", "b"])}
    scores = np.where(kinds == "a", xs, 1 - xs)
    dataset = _dataset(space, configs, scores, [20] * 16)
    learner = MetaLearner(trees=Trees(2, 5, 0.1)).fit(dataset)
    assert learner.study_models_ == []
    assert len(learner.study_weights_) == len(learner.members_) == N_FOLDS
    assert learner.quality is not None
    assert learner.quality > 0.5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts the threads of a process")
def test_no_thread_is_left_whose_locks_a_fork_would_inherit() -> None:
    """CatBoost's own threads have locks even while they wait for work."""
    script = """
        import os

        def n_threads():
            tasks = sorted(os.listdir("/proc/self/task"), key=int)
            names = [open(f"/proc/self/task/{task}/comm").read() for task in tasks]
            return names.count(names[0])

        import optuna
        from end_to_end import memory_past, objective
        from optuna_metallmix import MetaLLMiXSampler

        past, before = memory_past(), n_threads()
        sampler = MetaLLMiXSampler(source_storage=past, llm=False, seed=0, cost_aware=True)
        optuna.create_study(sampler=sampler).optimize(objective, n_trials=4)
        print(n_threads() - before)
    """
    run = subprocess.run(
        [sys.executable, "-c", dedent(script)],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": TESTS,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.strip() == "0", run.stderr

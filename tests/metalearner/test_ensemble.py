"""Ensemble members that each leave out a fold of the past studies."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from optuna_metallmix.metalearner import meta_learner
from optuna_metallmix.metalearner.dataset import MetaDataset
from optuna_metallmix.metalearner.ensemble import DEEP
from optuna_metallmix.metalearner.ensemble import N_FOLDS
from optuna_metallmix.metalearner.ensemble import N_FOLDS_SINGLE_STUDY
from optuna_metallmix.metalearner.ensemble import SHALLOW
from optuna_metallmix.metalearner.ensemble import Ensemble
from optuna_metallmix.metalearner.ensemble import Trees
from optuna_metallmix.metalearner.ensemble import fit_ensemble
from optuna_metallmix.metalearner.ensemble import is_clearly_better
from optuna_metallmix.metalearner.meta_learner import MetaLearner
from optuna_metallmix.space.search_space import Config
from optuna_metallmix.space.search_space import SearchSpace


FEW = Trees(3, 15, 0.2)


def past(n_studies: int, n_rows: int = 12) -> MetaDataset:
    """Return studies that agree: the score is ``x``."""
    rng = np.random.default_rng(0)
    xs = rng.random(n_studies * n_rows)
    return _dataset({"x": FloatDistribution(0, 1)}, [{"x": float(x)} for x in xs], xs, n_studies)


def parity_past(n_studies: int, n_rows: int, n_choices: int) -> MetaDataset:
    """Return studies with a parity score: good if an even number of choices is ``b``."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(2, size=(n_studies * n_rows, n_choices))
    names = [f"c{i}" for i in range(n_choices)]
    configs = [dict(zip(names, ["ab"[k] for k in row], strict=True)) for row in drawn]
    space = {name: CategoricalDistribution(["a", "b"]) for name in names}
    scores = (1 - drawn.sum(axis=1) % 2) * 0.9 + 0.1 * rng.random(len(drawn))
    return _dataset(space, configs, scores, n_studies)


def _dataset(
    space: SearchSpace, configs: list[Config], scores: np.ndarray, n_studies: int
) -> MetaDataset:
    groups = np.repeat(np.arange(n_studies), len(configs) // n_studies)
    studies = tuple(f"study {i}" for i in range(n_studies))
    unknown = np.full(len(configs), np.nan)
    return MetaDataset(space, tuple(configs), scores, groups, studies, unknown)


@pytest.mark.parametrize(
    ("n_studies", "n_members"), [(1, N_FOLDS_SINGLE_STUDY), (2, 2), (7, 7), (23, N_FOLDS)]
)
def test_each_fold_has_a_member(n_studies: int, n_members: int) -> None:
    ensemble = fit_ensemble(past(n_studies), FEW, seed=0)
    assert len(ensemble.members) == n_members
    assert ensemble.rank_correlations.shape == ensemble.top_scores.shape == (n_studies,)


def test_each_study_is_predicted_by_a_member_that_did_not_see_it() -> None:
    """A study that contradicts all others is mispredicted by them."""
    dataset = past(5, 20)
    odd = dataset.groups == 3
    dataset.scores[odd] = 1 - dataset.scores[odd]
    ensemble = fit_ensemble(dataset, FEW, seed=0)
    assert ensemble.rank_correlations[3] < -0.9
    assert np.delete(ensemble.rank_correlations, 3).min() > 0.3
    assert ensemble.top_scores[3] < 0.2 < 0.8 < np.delete(ensemble.top_scores, 3).min()


def test_quality_is_unknown_with_a_single_study() -> None:
    ensemble = fit_ensemble(past(1, 30), FEW, seed=0)
    assert np.isnan(ensemble.rank_correlations).all()
    assert np.isnan(ensemble.top_scores).all()


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
def test_better_means_by_more_than_the_standard_error(gains, clearly) -> None:
    none = np.zeros(len(gains))
    second = Ensemble([], none, none)
    assert is_clearly_better(Ensemble([], none, np.array(gains)), second) is clearly


def test_trust_is_the_quality_if_known() -> None:
    known = MetaLearner(trees=FEW).fit(past(4))
    assert known.quality is not None
    assert known.trust == known.quality > 0.9
    assert MetaLearner(trees=FEW).fit(past(1)).trust == meta_learner.UNKNOWN_TRUST
    known.quality = -0.4
    assert known.trust == 0.0

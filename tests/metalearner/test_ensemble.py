"""Members that each leave a part of the past studies out."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from optuna_metallmix.metalearner import meta_learner
from optuna_metallmix.metalearner.dataset import MetaDataset
from optuna_metallmix.metalearner.ensemble import DEEP
from optuna_metallmix.metalearner.ensemble import N_PARTS
from optuna_metallmix.metalearner.ensemble import N_PARTS_OF_ONE
from optuna_metallmix.metalearner.ensemble import SHALLOW
from optuna_metallmix.metalearner.ensemble import Ensemble
from optuna_metallmix.metalearner.ensemble import Trees
from optuna_metallmix.metalearner.ensemble import finds_more
from optuna_metallmix.metalearner.ensemble import fit_ensemble
from optuna_metallmix.metalearner.meta_learner import MetaLearner
from optuna_metallmix.space.search_space import Config
from optuna_metallmix.space.search_space import SearchSpace


FEW = Trees(3, 15, 0.2)


def past(n_studies: int, n_rows: int = 12) -> MetaDataset:
    """Studies that agree: the score is ``x``."""
    rng = np.random.default_rng(0)
    xs = rng.random(n_studies * n_rows)
    return _dataset({"x": FloatDistribution(0, 1)}, [{"x": float(x)} for x in xs], xs, n_studies)


def parity_past(n_studies: int, n_rows: int, n_choices: int) -> MetaDataset:
    """Studies where all choices act together: good is where an even number of them is ``b``."""
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
    ("n_studies", "n_members"), [(1, N_PARTS_OF_ONE), (2, 2), (7, 7), (23, N_PARTS)]
)
def test_there_is_a_member_for_each_part(n_studies: int, n_members: int) -> None:
    found = fit_ensemble(past(n_studies), FEW, seed=0)
    assert len(found.members) == n_members
    assert found.agreements.shape == found.finds.shape == (n_studies,)


def test_each_study_is_predicted_by_a_member_that_did_not_see_it() -> None:
    """A study that contradicts all others agrees with none of what they say of it."""
    dataset = past(5, 20)
    odd = dataset.groups == 3
    dataset.scores[odd] = 1 - dataset.scores[odd]
    found = fit_ensemble(dataset, FEW, seed=0)
    assert found.agreements[3] < -0.9
    assert np.delete(found.agreements, 3).min() > 0.3
    assert found.finds[3] < 0.2 < 0.8 < np.delete(found.finds, 3).min()


def test_one_study_tells_nothing_of_others() -> None:
    found = fit_ensemble(past(1, 30), FEW, seed=0)
    assert np.isnan(found.agreements).all()
    assert np.isnan(found.finds).all()


def test_trees_are_deep_where_that_finds_more() -> None:
    learner = MetaLearner(seed=0).fit(parity_past(6, 120, 6))
    assert learner.members_[0].get_param("depth") == DEEP.depth


def test_trees_are_shallow_where_deep_ones_find_no_more() -> None:
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
def test_finding_more_means_by_more_than_the_standard_error(gains, clearly) -> None:
    none = np.zeros(len(gains))
    second = Ensemble([], none, none)
    assert finds_more(Ensemble([], none, np.array(gains)), second) is clearly


def test_trust_is_the_quality_where_there_is_one() -> None:
    known = MetaLearner(trees=FEW).fit(past(4))
    assert known.quality is not None
    assert known.trust == known.quality > 0.9
    assert MetaLearner(trees=FEW).fit(past(1)).trust == meta_learner.UNKNOWN_TRUST
    known.quality = -0.4
    assert known.trust == 0.0

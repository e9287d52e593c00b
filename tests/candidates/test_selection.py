from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.trial import create_trial

from optuna_metallmix.candidates.pool import PAST_BEST
from optuna_metallmix.candidates.pool import _with_lost_choices
from optuna_metallmix.candidates.pool import best_choices
from optuna_metallmix.candidates.pool import build_pool
from optuna_metallmix.candidates.selection import MIN_DISTANCE
from optuna_metallmix.candidates.selection import Candidate
from optuna_metallmix.candidates.selection import _distance
from optuna_metallmix.candidates.selection import candidates_without_history
from optuna_metallmix.candidates.selection import propose_candidates
from optuna_metallmix.candidates.selection import select_portfolio
from optuna_metallmix.history.history import History
from optuna_metallmix.history.history import PastStudy
from optuna_metallmix.history.history import read_history
from optuna_metallmix.history.history import with_own_trials
from optuna_metallmix.history.scores import PastTrial
from optuna_metallmix.metalearner.dataset import MAX_STUDIES
from optuna_metallmix.metalearner.dataset import build_meta_dataset
from optuna_metallmix.metalearner.ensemble import Trees
from optuna_metallmix.metalearner.meta_learner import MetaLearner
from optuna_metallmix.space.search_space import config_key
from optuna_metallmix.space.search_space import contains
from optuna_metallmix.space.search_space import sample


if TYPE_CHECKING:
    from conftest import AddStudy
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
def test_candidates_are_valid_and_distinct(learned: Learned, seed: int) -> None:
    candidates = _propose(learned.learner, learned.history, seed=seed)
    assert [candidate.number for candidate in candidates] == [1, 2, 3, 4, 5, 6]
    for candidate in candidates:
        assert all(contains(learned.space[name], v) for name, v in candidate.params.items())
        assert frozenset(candidate.params) in _active_sets(learned.history, learned.space)
        assert ("momentum" in candidate.params) == (candidate.params["optimizer"] == "sgd")
    prediction = learned.learner.predict([candidate.params for candidate in candidates])
    predicted = [candidate.predicted for candidate in candidates]
    np.testing.assert_allclose(predicted, prediction.mean, atol=1e-12)
    np.testing.assert_allclose([c.spread for c in candidates], prediction.spread, atol=1e-12)
    assert max(predicted) == predicted[0]
    assert len({config_key(candidate.params) for candidate in candidates}) == 6


def test_candidates_are_diverse(learned: Learned) -> None:
    for first, second in itertools.combinations(learned.candidates, 2):
        assert _distance(first.params, second.params, learned.space) >= MIN_DISTANCE


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


LINE = {"x": FloatDistribution(0, 1)}
POINTS = [{"x": i / 10} for i in range(11)]


def _peaks(*peaks: float) -> np.ndarray:
    """Return the scores of the points in studies with these optima."""
    return np.array([[1 - 2 * abs(point["x"] - peak) for point in POINTS] for peak in peaks])


def test_portfolio_covers_the_studies() -> None:
    """The mean's best first, then what is best for the studies that have nothing good yet."""
    scores = _peaks(0.0, 0.1, 0.6, 1.0)
    chosen = select_portfolio(scores, np.full(4, 0.25), POINTS, LINE, 4)
    assert chosen[0] == int(scores.mean(axis=0).argmax())
    best = scores[:, chosen].max(axis=1)
    assert best.min() >= 0.8
    by_mean = np.argsort(-scores.mean(axis=0), kind="stable")[:4]
    assert best.mean() > scores[:, by_mean].max(axis=1).mean() + 0.1


def test_portfolio_minds_the_weights() -> None:
    scores = _peaks(0.0, 1.0)
    assert select_portfolio(scores, np.array([0.9, 0.1]), POINTS, LINE, 2) == [0, 10]
    assert select_portfolio(scores, np.array([0.1, 0.9]), POINTS, LINE, 2) == [10, 0]


def test_portfolio_goes_on_by_the_mean_if_all_studies_are_covered() -> None:
    scores = _peaks(0.5)
    assert select_portfolio(scores, np.ones(1), POINTS, LINE, 4) == [5, 4, 6, 3]


def test_portfolio_is_distinct_as_long_as_possible() -> None:
    points = [{"x": x} for x in (0.5, 0.51, 0.52, 0.9)]
    scores = np.array([[1.0, 0.99, 0.98, 0.1]])
    assert select_portfolio(scores, np.ones(1), points, LINE, 9) == [0, 3, 1, 2]


def test_candidates_are_good_for_different_studies() -> None:
    """Half of the past studies want the contrary of the others."""
    rng = np.random.default_rng(0)
    studies = []
    for i in range(6):
        xs = sorted(rng.random(20).tolist(), reverse=i % 2 == 0)
        trials = (PastTrial({"x": x}, 1 - j / 19, None, None) for j, x in enumerate(xs))
        studies.append(PastStudy(f"past {i}", LINE, tuple(trials), {}))
    history = History(tuple(studies))
    xs = [candidate.params["x"] for candidate in _propose(_fit(history, LINE), history, 3)]
    assert max(xs) > 0.8
    assert min(xs) < 0.2


@pytest.mark.parametrize("n_trials", [2, 3, 4])
def test_debugging_runs_hardly_change_the_first_candidate(
    add_study: AddStudy, n_trials: int
) -> None:
    storage = optuna.storages.InMemoryStorage()
    for i in range(3):
        add_study(storage, f"past {i}", seed=i)
    alone = read_history(storage)
    for i in range(3):
        add_study(storage, f"debugging {i}", seed=10 + i, n_trials=n_trials)
    beside = read_history(storage)
    assert len(beside.studies) == 6
    space = alone.studies[0].space
    before, after = (MetaLearner().fit(build_meta_dataset(h, space)) for h in (alone, beside))
    assert after.trust > before.trust - 0.1
    firsts = [_propose(before, alone, 1)[0], _propose(after, beside, 1)[0]]
    expected, predicted = before.predict([first.params for first in firsts]).mean
    assert predicted > expected - 0.1


@pytest.mark.parametrize("quality", [-0.5, 0.0, 0.05])
def test_without_trust_only_past_bests_are_offered(
    learned: Learned, monkeypatch: pytest.MonkeyPatch, quality: float
) -> None:
    monkeypatch.setattr(learned.learner, "quality", quality)
    candidates = _propose(learned.learner, learned.history)
    assert all(candidate.origin.startswith("one of the best of") for candidate in candidates)


def test_same_seed_same_candidates(learned: Learned) -> None:
    again = _propose(learned.learner, learned.history)
    assert again == learned.candidates
    assert _propose(learned.learner, learned.history, seed=9) != again


def test_own_configurations_are_not_repeated(learned: Learned) -> None:
    own = [candidate.params for candidate in learned.candidates]
    target = PastStudy(
        "me", learned.space, tuple(PastTrial(p, 0.9, 1.0, None) for p in own), {}, is_target=True
    )
    history = replace(learned.history, studies=(*learned.history.studies, target))
    tried = {config_key(params) for params in own}
    offered = _propose(learned.learner, history, 30)
    assert not {config_key(candidate.params) for candidate in offered} & tried


def test_own_unranked_configuration_is_not_repeated(
    learned: Learned,
) -> None:
    best = learned.candidates[0].params
    space = {name: learned.space[name] for name in best}
    study = optuna.create_study()
    study.add_trial(create_trial(params=dict(best), distributions=space, value=0.1))
    history = with_own_trials(learned.history, study)
    assert best not in [candidate.params for candidate in _propose(learned.learner, history, 30)]


def test_own_configuration_is_not_repeated_in_a_subspace() -> None:
    space: dict[str, BaseDistribution] = {"k": CategoricalDistribution(["a", "b", "c"])}
    rows = [({"k": "abc"[i % 3], "x": i}, 1 - i / 12) for i in range(12)]
    trials = tuple(PastTrial(params, score, None, None) for params, score in rows)
    history = History(
        (PastStudy("past", {**space, "x": IntDistribution(0, 20)}, trials, {}),),
        tried=(({"k": "a", "x": 19}, 1.0),),
    )
    candidates = _propose(_fit(history, space), history)
    assert [candidate.params["k"] for candidate in candidates] == ["b", "c"]


def test_narrower_space_than_the_past(learned: Learned) -> None:
    space = {
        "lr": FloatDistribution(1e-2, 1.0, log=True),
        "batch_size": CategoricalDistribution([8, 24]),
        "optimizer": CategoricalDistribution(["lion", "sgd"]),
        "momentum": FloatDistribution(0.2, 0.4, step=0.1),
    }
    for candidate in _propose(_fit(learned.history, space), learned.history):
        assert set(candidate.params) <= set(space)
        assert all(contains(space[name], value) for name, value in candidate.params.items())


def test_absent_choice_is_replaced_by_the_best_present_one(learned: Learned) -> None:
    space = {
        "optimizer": CategoricalDistribution(["sgd", "lamb", None]),
        "frozen": CategoricalDistribution([False, True]),
    }
    learner = _fit(learned.history, {**learned.space, **space})
    best = best_choices(learner, space)
    assert set(best) == {"optimizer", "frozen"}
    assert best["frozen"] is True
    candidates = _propose(learner, learned.history)
    assert candidates[0].params["optimizer"] in ("sgd", "lamb", None)
    assert best_choices(learned.learner, ["optimizer"])["optimizer"] == "adam"
    choices = CategoricalDistribution(["lamb", "sgd", "lion", "adam", "adafactor"])
    learner = _fit(learned.history, {**learned.space, "optimizer": choices})
    assert best_choices(learner, ["optimizer"])["optimizer"] == "adam"


def test_parameter_unknown_to_the_past_is_in_every_candidate(learned: Learned) -> None:
    space = {
        **learned.space,
        "dropout": FloatDistribution(0, 0.5),
        "augment": CategoricalDistribution(["none", "flip"]),
    }
    for candidate in _propose(_fit(learned.history, space), learned.history):
        assert contains(space["dropout"], candidate.params["dropout"])
        assert candidate.params["augment"] in ("none", "flip")


def test_past_trial_without_any_parameter_of_the_space_makes_no_empty_candidate() -> None:
    space = {"k": FloatDistribution(0, 1)}
    with_k = tuple(PastTrial({"k": i / 20}, i / 40, None, None) for i in range(20))
    without = tuple(PastTrial({"x": i}, 1.0, None, None) for i in range(20))
    both = {**space, "x": IntDistribution(0, 20)}
    history = History((PastStudy("past", both, without + with_k, {}),))
    candidates = _propose(_fit(history, space), history, 20)
    assert all(set(candidate.params) == {"k"} for candidate in candidates)


def test_number_that_activates_others_stays_consistent_with_them() -> None:
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
    for candidate in _propose(_fit(history, space), history, 40):
        assert len(candidate.params) == 1 + candidate.params["n_layers"]


def test_small_space_has_fewer_candidates() -> None:
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
def test_candidates_without_history_start_in_the_middle(
    n: int, seed: int, space: dict[str, Any]
) -> None:
    candidates = candidates_without_history(space, np.random.default_rng(seed), n)
    assert 1 <= len(candidates) <= n
    assert candidates[0].origin == "middle of the space"
    assert [candidate.number for candidate in candidates] == list(range(1, len(candidates) + 1))
    assert all(candidate.predicted is None for candidate in candidates)
    for candidate in candidates:
        assert set(candidate.params) == set(space)
        assert all(contains(space[name], value) for name, value in candidate.params.items())
    assert len({config_key(candidate.params) for candidate in candidates}) == len(candidates)


def _past_of(n_studies: int, space: Space) -> History:
    rng = np.random.default_rng(0)
    studies = []
    for i in range(n_studies):
        configs = [{name: sample(dist, rng) for name, dist in space.items()} for _ in range(12)]
        trials = tuple(PastTrial(c, 1 - j / 11, None, None) for j, c in enumerate(configs))
        studies.append(PastStudy(f"s{i}", space, trials, {}))
    return History(tuple(studies))


@pytest.mark.parametrize(
    ("n_studies", "n_params", "n_max"),
    [(60, 5, 2_120), (70, 5, 1_760), (MAX_STUDIES, 5, 1_850), (400, 5, 1_850), (3, 240, 152)],
)
def test_size_of_the_pool_is_bounded(n_studies: int, n_params: int, n_max: int) -> None:
    space = {f"p{i}": FloatDistribution(0, 1) for i in range(n_params)}
    history = _past_of(n_studies, space)
    dataset = build_meta_dataset(history, space)
    learner = MetaLearner(trees=Trees(2, 2, 0.1)).fit(dataset)
    pool = build_pool(learner, history, np.random.default_rng(0))
    assert 0.9 * n_max < len(pool) <= n_max
    assert all(member.params.keys() == space.keys() for member in pool)
    learned_from = {f"{PAST_BEST}{name!r}" for name in dataset.studies}
    assert {member.origin for member in pool if member.is_past_best} == learned_from


@pytest.mark.parametrize(
    ("past", "present", "is_lost"),
    [
        (CategoricalDistribution(["a", "b"]), CategoricalDistribution(["b", "a", "c"]), False),
        (CategoricalDistribution(["a", "b"]), CategoricalDistribution(["a", "c"]), True),
        (CategoricalDistribution([False, 2]), CategoricalDistribution([0, 2, "x"]), True),
        (CategoricalDistribution([None, "a"]), CategoricalDistribution(["a", None]), False),
        (IntDistribution(1, 3), CategoricalDistribution([1, 2, 3, "x"]), True),
        (FloatDistribution(0, 1), CategoricalDistribution(["a", None]), True),
        (CategoricalDistribution(["a", "b"]), FloatDistribution(0, 1), False),
    ],
)
def test_choices_that_are_no_longer_there_are_found(
    past: BaseDistribution, present: BaseDistribution, is_lost: bool
) -> None:
    studies = [PastStudy("s", {"p": past}, (), {}), PastStudy("t", {"q": past}, (), {})]
    assert _with_lost_choices(studies, {"p": present, "r": present}) == ["p"] * is_lost

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from optuna_metallmix.candidates import propose_candidates
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history.history import History
from optuna_metallmix.space.search_space import contains
from optuna_metallmix.space.search_space import is_ordered
from optuna_metallmix.space.search_space import merge_spaces
from optuna_metallmix.transfer import next_config
from optuna_metallmix.transfer.next_config import N_RANDOM_TRIALS
from optuna_metallmix.transfer.next_config import PROBE
from optuna_metallmix.transfer.next_config import TransferModel
from optuna_metallmix.transfer.next_config import _best_and_latest


@pytest.fixture(scope="module")
def model(learned) -> TransferModel:
    history = learned.history
    return TransferModel(history, merge_spaces(study.space for study in history.studies), seed=0)


@pytest.fixture(scope="module")
def numbers(learned) -> TransferModel:
    """A model of the parameters that are numbers."""
    space = merge_spaces(study.space for study in learned.history.studies)
    space = {name: dist for name, dist in space.items() if is_ordered(dist)}
    return TransferModel(learned.history, space, seed=0)


def own_trials(model: TransferModel, n: int) -> list[dict]:
    rng = np.random.default_rng(1)
    return [dict(model._pool[int(i)]) for i in rng.choice(len(model._pool), n, replace=False)]


def expected(model: TransferModel, own: list[dict]) -> np.ndarray:
    return model.learner.predict(own).mean


def test_it_starts_with_the_portfolio_of_the_suggestion(model, learned) -> None:
    candidates = propose_candidates(model.learner, learned.history, np.random.default_rng(0))
    first = model.propose([], np.zeros(0), np.random.default_rng(1))
    assert first.params == candidates[0].params
    second = model.propose([first.params], np.zeros(1), np.random.default_rng(2))
    assert second.params == candidates[1].params


def test_workers_get_the_next_of_the_portfolio(model) -> None:
    own = [dict(model._portfolio[0])]
    first, second = (
        model.propose(own, np.zeros(1), np.random.default_rng(0), n_pending=n).params
        for n in (0, 1)
    )
    assert first == model._portfolio[1]
    assert second not in (model._portfolio[0], first)


@pytest.mark.parametrize("n", [1, PROBE, PROBE + 1, 4, 12, 250])
def test_proposals_are_untried_and_in_the_space(model, n: int) -> None:
    own = own_trials(model, n)
    proposal = model.propose(own, expected(model, own), np.random.default_rng(0))
    assert proposal.params not in own
    assert all(contains(model.space[name], value) for name, value in proposal.params.items())
    assert ("momentum" in proposal.params) is (proposal.params["optimizer"] == "sgd")


def test_past_that_ranks_own_trials_is_similar(model) -> None:
    own = own_trials(model, 8)
    assert model.propose(own, expected(model, own), np.random.default_rng(0)).similarity > 0.99


def test_past_that_inverts_own_trials_is_not_similar(model) -> None:
    own = own_trials(model, 8)
    assert model.propose(own, -expected(model, own), np.random.default_rng(0)).similarity < 0.01


def test_past_without_trust_is_not_used(model, monkeypatch) -> None:
    monkeypatch.setattr(model.learner, "quality", 0.02)
    own = own_trials(model, 8)
    assert model.propose(own, expected(model, own), np.random.default_rng(0)).similarity == 0.0


def test_a_past_that_disagrees_leaves_choices_to_the_base_sampler(model) -> None:
    own = own_trials(model, 8)
    assert model.propose(own, -expected(model, own), np.random.default_rng(0)).params is None


def test_early_numbers_without_the_past_are_random(numbers, monkeypatch) -> None:
    monkeypatch.setattr(numbers.learner, "quality", 0.0)
    own = own_trials(numbers, N_RANDOM_TRIALS - 1)
    rngs = [np.random.default_rng(i) for i in range(9)]
    drawn = [numbers.propose(own, expected(numbers, own), rng).params for rng in rngs]
    assert all(params in numbers._random for params in drawn)
    assert len(set(map(str, drawn))) > 1
    more = own_trials(numbers, N_RANDOM_TRIALS)
    later = [numbers.propose(more, expected(numbers, more), rng).params for rng in rngs]
    assert any(params not in numbers._random for params in later)


def test_probe_has_a_middling_prediction(numbers) -> None:
    own = [dict(config) for config in numbers._portfolio[:PROBE]]
    probe = numbers.propose(own, expected(numbers, own), np.random.default_rng(0)).params
    middle = np.median(expected(numbers, numbers._random))
    assert abs(expected(numbers, [probe])[0] - middle) < abs(expected(numbers, own)[0] - middle)


def test_many_own_trials_overrule_the_past(numbers) -> None:
    """The search moves to where the own trials are good, against the past."""
    own, rng = own_trials(numbers, 6), np.random.default_rng(0)
    for _ in range(14):
        scores = np.array([-config["depth"] for config in own], float)
        own.append(dict(numbers.propose(own, scores, rng).params))
    assert min(config["depth"] for config in own[6:]) == 1


def test_equal_own_scores_are_accepted(model) -> None:
    own = own_trials(model, 5)
    assert model.propose(own, np.zeros(5), np.random.default_rng(0)).params not in own


def test_same_seed_same_proposal(model) -> None:
    own = own_trials(model, 5)
    first, second = (
        model.propose(own, expected(model, own), np.random.default_rng(7)).params for _ in range(2)
    )
    assert first == second


def test_many_own_trials_are_reduced_to_the_best_and_the_latest() -> None:
    own = [{"x": i} for i in range(500)]
    kept, scores = _best_and_latest(own, np.array([-float(i) for i in range(500)]))
    assert len(kept) <= 200
    assert {"x": 0} in kept
    assert {"x": 499} in kept
    assert scores[0] == 0.0


def test_similarity_compares_a_bounded_number_of_trials(model, monkeypatch) -> None:
    sizes = []
    similarity = next_config.task_similarity
    monkeypatch.setattr(
        next_config,
        "task_similarity",
        lambda means, *rest: sizes.append(len(means)) or similarity(means, *rest),
    )
    own = own_trials(model, 40) * 10
    model.propose(own, expected(model, own), np.random.default_rng(0))
    assert 1 < sizes[0] <= next_config.MAX_OBSERVED


def test_empty_past_is_a_history_error(learned) -> None:
    space = learned.learner.space
    with pytest.raises(HistoryError, match="no past studies"):
        TransferModel(replace(learned.history, studies=()), space, seed=0)
    with pytest.raises(HistoryError):
        TransferModel(History(), space, seed=0)

"""Task similarity on orders small enough to verify by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from optuna_metallmix.transfer.prior_mean import MAX_TRUST
from optuna_metallmix.transfer.prior_mean import PAIR_WEIGHT
from optuna_metallmix.transfer.prior_mean import PRIOR_SIMILARITY
from optuna_metallmix.transfer.prior_mean import task_similarity


RISING = np.array([-1.0, -0.2, 0.4, 1.5])


def test_single_trial_leaves_the_prior() -> None:
    assert task_similarity(np.array([0.3]), np.array([1.0]), 0.7) == pytest.approx(
        PRIOR_SIMILARITY
    )


def test_equal_scores_leave_the_prior() -> None:
    assert task_similarity(RISING, np.zeros(4), 0.7) == pytest.approx(PRIOR_SIMILARITY)


def test_correct_order_raises_and_wrong_order_lowers_it() -> None:
    assert (
        task_similarity(RISING, RISING, 0.7)
        > PRIOR_SIMILARITY
        > task_similarity(RISING, -RISING, 0.7)
    )


@pytest.mark.parametrize("scores", [RISING, -RISING, RISING[[1, 0, 3, 2]]])
def test_only_the_order_of_scores_counts(scores) -> None:
    assert task_similarity(RISING, scores, 0.7) == task_similarity(RISING, np.exp(3 * scores), 0.7)


def test_single_pair_by_hand() -> None:
    """With r = .6 a gap of 2 is in order with probability Phi(2 r / sqrt(2 (1 - r^2)))."""
    right = norm.cdf(2 * 0.6 / np.sqrt(2 * (1 - 0.36)))
    odds = PRIOR_SIMILARITY / (1 - PRIOR_SIMILARITY) * (right / 0.5) ** (PAIR_WEIGHT / 2)
    similarity = task_similarity(np.array([0.0, 2.0]), np.array([5.0, 6.0]), 0.6)
    assert similarity == pytest.approx(odds / (1 + odds))


def test_higher_trust_is_refuted_sooner() -> None:
    similarities = [task_similarity(RISING, -RISING, trust) for trust in (0.2, 0.5, 0.8)]
    assert similarities == sorted(similarities, reverse=True)


def test_zero_trust_leaves_the_prior() -> None:
    assert task_similarity(RISING, -RISING, 0.0) == pytest.approx(PRIOR_SIMILARITY)


def test_perfect_trust_and_many_trials_stay_finite() -> None:
    many = np.linspace(-2, 2, 200)
    assert task_similarity(many, many, 1.0) == pytest.approx(1.0)
    assert task_similarity(many, -many, 1.0) == pytest.approx(0.0, abs=1e-9)
    assert task_similarity(RISING, -RISING, 1.0) == task_similarity(RISING, -RISING, MAX_TRUST)

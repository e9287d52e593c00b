"""How likely it is that a past is about the same task, on orders small enough to follow."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from optuna_metallmix.transfer.prior_mean import MOST_TRUST
from optuna_metallmix.transfer.prior_mean import PAIR_WEIGHT
from optuna_metallmix.transfer.prior_mean import PRIOR
from optuna_metallmix.transfer.prior_mean import belief


RISING = np.array([-1.0, -0.2, 0.4, 1.5])


def test_nothing_seen_leaves_the_prior() -> None:
    assert belief(np.array([0.3]), np.array([1.0]), 0.7) == pytest.approx(PRIOR)


def test_equal_outcomes_tell_nothing() -> None:
    assert belief(RISING, np.zeros(4), 0.7) == pytest.approx(PRIOR)


def test_a_right_order_speaks_for_the_past_and_a_wrong_one_against_it() -> None:
    assert belief(RISING, RISING, 0.7) > PRIOR > belief(RISING, -RISING, 0.7)


@pytest.mark.parametrize("found", [RISING, -RISING, RISING[[1, 0, 3, 2]]])
def test_only_the_order_of_what_was_found_counts(found) -> None:
    assert belief(RISING, found, 0.7) == belief(RISING, np.exp(3 * found), 0.7)


def test_one_pair_by_hand() -> None:
    """With r = .6 a gap of 2 is in order with probability Phi(2 r / sqrt(2 (1 - r^2)))."""
    right = norm.cdf(2 * 0.6 / np.sqrt(2 * (1 - 0.36)))
    odds = PRIOR / (1 - PRIOR) * (right / 0.5) ** (PAIR_WEIGHT / 2)
    found = belief(np.array([0.0, 2.0]), np.array([5.0, 6.0]), 0.6)
    assert found == pytest.approx(odds / (1 + odds))


def test_a_past_that_was_surer_is_refuted_sooner() -> None:
    beliefs = [belief(RISING, -RISING, trust) for trust in (0.2, 0.5, 0.8)]
    assert beliefs == sorted(beliefs, reverse=True)


def test_no_trust_means_that_nothing_is_told() -> None:
    assert belief(RISING, -RISING, 0.0) == pytest.approx(PRIOR)


def test_perfect_trust_and_many_trials_stay_finite() -> None:
    many = np.linspace(-2, 2, 200)
    assert belief(many, many, 1.0) == pytest.approx(1.0)
    assert belief(many, -many, 1.0) == pytest.approx(0.0, abs=1e-9)
    assert belief(RISING, -RISING, 1.0) == belief(RISING, -RISING, MOST_TRUST)

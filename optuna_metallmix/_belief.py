"""own trials + what the past expected of them -> how likely the past is about the same task.

Two hypotheses are held against the pairs of own trials: that the past orders them as well as it
orders the trials of past studies left out, or that it knows nothing of this task.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


Floats = NDArray[np.float64]

PRIOR = 0.8
"""How likely it is before the first trial; that most pasts people name are related is a guess."""
PAIR_WEIGHT = 3.0
"""``n`` trials make n (n - 1) / 2 pairs, but no more independent comparisons than trials: each
pair counts for this, divided by ``n``. (An inverted past at trial 10 on LCBench: mean regret .55
with 2 and a prior of .9, .40 with 3 and .8; TPE .45. 12 searches, 2026-11.)"""
MOST_TRUST = 0.95
"""A rank correlation above this is not believed: one pair in wrong order would refute it."""


def belief(expected: Floats, found: Floats, trust: float) -> float:
    """Return how likely it is that the past is about this task, in [0, 1].

    Args:
        expected: What the past expects of own trials, in standard deviations, shape (n,).
        found: What they were worth, more is better, shape (n,).
        trust: The rank correlation that the past achieves on studies left out, in [0, 1].
    """
    from scipy.stats import norm

    first, second = np.triu_indices(len(found), 1)
    order = np.sign(found[first] - found[second])
    told = order != 0
    gaps = (order * (expected[first] - expected[second]))[told]
    ratios = norm.logcdf(_certainty(trust) * gaps) - math.log(0.5)
    weight = PAIR_WEIGHT / max(len(found), 1)
    odds = math.log(PRIOR / (1 - PRIOR)) + weight * float(ratios.sum())
    return 1.0 / (1.0 + math.exp(-min(max(odds, -500.0), 500.0)))


def _certainty(trust: float) -> float:
    """Return by how much a gap in what is expected tells the order of what is found.

    Where both are standard normal with correlation ``r``, the difference found is normal with mean
    ``r`` times the gap and variance 2 (1 - r^2).
    """
    r = min(max(trust, 0.0), MOST_TRUST)
    return r / math.sqrt(2.0 * (1.0 - r * r))

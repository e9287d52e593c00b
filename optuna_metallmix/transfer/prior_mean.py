"""past studies + configurations -> what the past expects of them, as smooth as it is sharp.

The mean of two views of the past, each in standard deviations: the meta-learner's trees, which
find what acts together, and a Gaussian process on each past study, averaged, which has no steps
for an optimiser to stop at. (Mean regret at trials 5, 10 and 25 with the trees alone and with
both: LCBench .09, .01, -.11 and .08, -.03, -.16; HPOBench .110, .086, .051 and .098, .080, .057.
The processes alone on LCBench: .14, .06, -.09; 34 and 16 searches, 2026-11.) The suggestion, which
has to be explained, is the trees' alone: there the processes brought nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.space import Config
from optuna_metallmix.space import config_key
from optuna_metallmix.transfer.gaussian_process import Encoding
from optuna_metallmix.transfer.gaussian_process import Floats
from optuna_metallmix.transfer.gaussian_process import fit_alike
from optuna_metallmix.transfer.gaussian_process import matern


MAX_POINTS = 100
"""Most trials of a study in its process, evenly from its best to its worst."""
MIN_POINTS = 5
MAX_KNOWN = 20_000
"""Most configurations that are remembered."""


class PriorMean:
    """What the past expects, of any configuration.

    Args:
        learner: The fitted meta-learner.
        pool: Configurations over which the unit of what is expected is one standard deviation.
    """

    def __init__(self, learner: MetaLearner, pool: Sequence[Config]) -> None:
        self._learner = learner
        self._encoding = Encoding(learner.space)
        self.relevance = self._encoding.spread(_relevances(learner))
        """By coordinate of an encoded configuration, how much it matters, relative, in (0, 1]."""
        self._processes = self._fit_processes()
        self._units = [max(float(view.std()), 1e-3) for view in self._views(pool)]
        self._known: dict[str, float] = {}

    def of(self, configs: Sequence[Config]) -> Floats:
        """Return what is expected of ``configs``, in standard deviations, shape (n,)."""
        if len(self._known) > MAX_KNOWN:
            self._known.clear()
        keys = [config_key(one) for one in configs]
        new = {key: one for key, one in zip(keys, configs, strict=True) if key not in self._known}
        if new:
            views = self._views(list(new.values()))
            expected = np.mean([v / unit for v, unit in zip(views, self._units, strict=True)], 0)
            self._known.update(zip(new, expected.tolist(), strict=True))
        return np.array([self._known[key] for key in keys])

    def _views(self, configs: Sequence[Config]) -> list[Floats]:
        """Return what the trees and the processes expect, each in a unit of its own."""
        views = [self._learner.predict(configs).mean]
        if self._processes:
            points, scales, weights = self._processes
            views.append(matern(self._encoding.points(configs), points, scales) @ weights)
        return views

    def _fit_processes(self) -> tuple[Floats, Floats, Floats] | None:
        """Fit a process to each study, all alike, so that their sum is one of kernels: their
        points, length scales and weights."""
        dataset = self._learner.dataset
        points = self._encoding.points(dataset.configs)
        known = []
        for study in range(len(dataset.studies)):
            rows = np.flatnonzero(dataset.groups == study)
            if len(rows) > MAX_POINTS:  # they stand from best to worst
                rows = rows[np.linspace(0, len(rows) - 1, MAX_POINTS).round().astype(int)]
            scores = dataset.scores[rows]
            if len(rows) >= MIN_POINTS and np.ptp(scores) > 0:
                known.append((points[rows], (scores - scores.mean()) / scores.std()))
        if not known:
            return None
        fitted = fit_alike(known, self.relevance)
        weights = np.concatenate([one.weights for one in fitted])
        return np.concatenate([one.points for one in fitted]), fitted[0].scales, weights


def _relevances(learner: MetaLearner) -> Floats:
    """Return each parameter's mean absolute SHAP value over the past, as a relative relevance."""
    importance = np.abs(learner.past_shap_values[0]).mean(axis=0)
    relevances: Floats = np.sqrt(np.clip(importance / max(importance.max(), 1e-12), 0.05, 1.0))
    return relevances


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

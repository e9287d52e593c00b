"""Predict scores from past studies, and estimate whether they are relevant to the current task.

The prior mean averages the meta-learner, whose trees model interactions, and a Gaussian process
per past study, which is smooth and so has no plateaus on which an optimizer gets stuck. (Regret at
trials 5, 10 and 25 with the trees alone and with both: LCBench .09, .01, -.11 and .08, -.03, -.16;
HPOBench .110, .086, .051 and .098, .080, .057; measured 2026-11.) The first trial, which has
to be explained, uses the meta-learner alone: the Gaussian processes did not improve it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from optuna_metallmix.metalearner import MAX_COLUMNS
from optuna_metallmix.metalearner import Floats
from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.metalearner import evenly_spaced
from optuna_metallmix.space import Config
from optuna_metallmix.transfer.gaussian_process import Encoding
from optuna_metallmix.transfer.gaussian_process import correlate
from optuna_metallmix.transfer.gaussian_process import fit_gps


MAX_STUDY_POINTS = 100
"""Maximum number of trials of a past study in its Gaussian process."""
MAX_POINTS = 3_000
"""Maximum number of trials in the Gaussian processes of all past studies, unless they get fewer
than 20 each. It is lower in proportion if there are more parameters than :data:`MAX_COLUMNS`."""
MIN_STUDY_POINTS = 20
MIN_POINTS = 5
PRIOR_SIMILARITY = 0.8
"""Prior probability that past studies are about the same task: a guess, since most users pass
related studies."""
PAIR_WEIGHT = 3.0
"""Each of the n (n - 1) / 2 pairs of trials counts ``PAIR_WEIGHT / n``, since there are only about
n independent comparisons. (Regret at trial 10 on LCBench with inverted past studies: .40 with 3
and a prior of .8, .55 with 2 and .9, TPE .45; measured 2026-11.)"""
MAX_TRUST = 0.95
"""Higher rank correlations are clipped: a single pair in the wrong order would refute them."""


class PriorMean:
    """Predicts scores from past studies, in score units.

    Args:
        learner: Fitted meta-learner.
        encoding: Encodes configurations of the meta-learner's space.
        pool: Configurations over which the predictions of the Gaussian processes get the mean and
            the standard deviation of the meta-learner's.
    """

    def __init__(self, learner: MetaLearner, encoding: Encoding, pool: Sequence[Config]) -> None:
        self._learner = learner
        self._encoding = encoding
        self.relevance = self._encoding.repeat(_relevance(learner))
        """Relative relevance of each coordinate of an encoded configuration, in (0, 1]."""
        self._gps = self._fit_gps()
        trees = self._predict_trees(pool)
        processes = self._predict_gps(encoding.encode(pool))
        self.spread = max(float(trees.std()), 1e-3)
        """Standard deviation of the prior mean over the pool, in score units."""
        self._scale = self.spread / max(float(processes.std()), 1e-9)
        self._offset = float(trees.mean() - self._scale * processes.mean())

    def predict(self, configs: Sequence[Config], points: Floats | None = None) -> Floats:
        """Return the prior means of ``configs``, shape (len(configs),).

        ``points`` are the encoded configurations, if they are known already.
        """
        means = self._predict_trees(configs)
        if not self._gps:
            return means
        points = self._encoding.encode(configs) if points is None else points
        processes: Floats = self._offset + self._scale * self._predict_gps(points)
        return (means + processes) / 2

    def _predict_trees(self, configs: Sequence[Config]) -> Floats:
        return self._learner.predict_mean(configs)

    def _predict_gps(self, encoded: Floats) -> Floats:
        """Return the predictions of the Gaussian processes up to a linear map, 0 without any."""
        if not self._gps:
            return np.zeros(len(encoded))
        points, length_scales, weights = self._gps
        predictions: Floats = correlate(encoded, points, length_scales) @ weights
        return predictions

    def _fit_gps(self) -> tuple[Floats, Floats, Floats] | None:
        """Return the points, length scales and weights of the weighted sum of all processes.

        The sum is a single kernel expansion, since the processes share their hyperparameters.
        """
        dataset = self._learner.dataset
        share = min(1.0, MAX_COLUMNS / max(len(dataset.space), 1))
        n_max = int(share * MAX_POINTS) // len(dataset.studies)
        n_max = min(MAX_STUDY_POINTS, max(MIN_STUDY_POINTS, n_max))
        observations, study_weights = [], []
        for study in range(len(dataset.studies)):
            rows = np.flatnonzero(dataset.groups == study)
            rows = rows[evenly_spaced(len(rows), n_max)]  # from the best to the worst trial
            scores = dataset.scores[rows]
            if len(rows) >= MIN_POINTS and np.ptp(scores) > 0:
                points = self._encoding.encode([dataset.configs[i] for i in rows])
                observations.append((points, (scores - scores.mean()) / scores.std()))
                study_weights.append(dataset.weights[study])
        if not observations:
            return None
        gps = fit_gps(observations, self.relevance)
        weighted = zip(study_weights, gps, strict=True)
        weights = np.concatenate([weight * gp.weights for weight, gp in weighted])
        return np.concatenate([gp.points for gp in gps]), gps[0].length_scales, weights


def _relevance(learner: MetaLearner) -> Floats:
    """Return the relative relevance of each parameter, from its mean absolute SHAP value."""
    importance = np.abs(learner.past_shap_values[0]).mean(axis=0)
    relevance: Floats = np.sqrt(np.clip(importance / max(importance.max(), 1e-12), 0.05, 1.0))
    return relevance


def task_similarity(prior_means: Floats, scores: Floats, trust: float) -> float:
    """Return the probability, in [0, 1], that past studies are about the same task.

    It guards against negative transfer: it falls if observed trials are predicted in wrong order.
    If prior means and scores are standard normal with correlation r, the difference of two scores
    is normal with mean r times the difference of their prior means and variance 2 (1 - r^2).

    Args:
        prior_means: Prior means of observed trials, shape (n,).
        scores: Scores of observed trials, larger is better, shape (n,).
        trust: Rank correlation of predictions on held-out studies, in [0, 1].
    """
    from scipy.special import log_ndtr

    first, second = np.triu_indices(len(scores), 1)
    order = np.sign(scores[first] - scores[second])
    gaps = (order * (prior_means[first] - prior_means[second]))[order != 0]
    r = min(max(trust, 0.0), MAX_TRUST)
    log_ratios = log_ndtr(r / math.sqrt(2.0 * (1.0 - r * r)) * gaps) - math.log(0.5)
    weight = PAIR_WEIGHT / max(len(scores), 1)
    prior = math.log(PRIOR_SIMILARITY / (1 - PRIOR_SIMILARITY))
    log_odds = prior + weight * float(log_ratios.sum())
    return 1.0 / (1.0 + math.exp(-min(max(log_odds, -500.0), 500.0)))

"""configurations -> points in the unit cube, for a process that measures distances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import is_number
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import label_of
from optuna_metallmix.space import labels_of
from optuna_metallmix.space import to_unit


Floats = NDArray[np.float64]


class Encoding:
    """A number is one coordinate, a choice one for each of its values.

    Two different choices are as far apart as numbers at 0 and 0.7; a number that is not active is
    in the middle.

    Args:
        space: The parameters.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._widths = [self._coordinates([{}], name).shape[1] for name in space]

    def points(self, configs: Sequence[Config]) -> Floats:
        """Return points, shape (n, d)."""
        return np.concatenate([self._coordinates(configs, name) for name in self.space], axis=1)

    def spread(self, by_parameter: Sequence[float] | Floats) -> Floats:
        """Return by coordinate what is given by parameter, in the order of the space."""
        return np.repeat(np.asarray(by_parameter, dtype=np.float64), self._widths)

    def _coordinates(self, configs: Sequence[Config], name: str) -> Floats:
        distribution = self.space[name]
        if is_ordered(distribution):
            units = [
                to_unit(distribution, one[name]) if is_number(one.get(name)) else 0.5
                for one in configs
            ]
            column: Floats = np.clip(np.array(units, float), 0.0, 1.0)[:, None]
            return column
        labels = [label_of(distribution, choice) for choice in choices_of(distribution)]
        known = labels_of(distribution, (one[name] for one in configs if name in one))
        by_config = iter(known)
        given = [next(by_config) if name in one else None for one in configs]
        points: Floats = np.array([[0.5 * (one == label) for label in labels] for one in given])
        return points.reshape(len(configs), len(labels))


LENGTH_SCALES = (0.15, 0.3, 0.6, 1.2)
NOISES = (1e-3, 1e-2, 1e-1)
"""Variance of the noise, in units of the signal's."""
PRIOR_WEIGHT = 4.0
PRIOR_VARIANCE = 0.5
"""The signal's variance before anything is seen, and how many trials that counts for."""


@dataclass(frozen=True)
class Process:
    """A fitted process.

    Attributes:
        points: Shape (n, d).
        scales: Length scale of each coordinate, shape (d,).
        factor: Lower Cholesky factor of the correlation matrix, shape (n, n).
        weights: The inverse of that matrix times the values, shape (n,).
        variance: Of the signal.
        evidence: Log posterior of length scale and noise.
    """

    points: Floats
    scales: Floats
    factor: Floats
    weights: Floats
    variance: float
    evidence: float

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of the signal, shapes (m,) and (m,)."""
        from scipy.linalg import solve_triangular

        shared = matern(points, self.points, self.scales)
        reduced = solve_triangular(self.factor, shared.T, lower=True)
        left = np.maximum(1.0 - (reduced**2).sum(axis=0), 1e-9)
        return shared @ self.weights, np.sqrt(left * self.variance)


def fit_process(points: Floats, values: Floats, relevance: Floats) -> Process:
    """Fit a process of mean zero.

    Args:
        points: Shape (n, d), n from 1.
        values: About standardised, shape (n,).
        relevance: By coordinate, how much shorter than the others its length scale is, shape (d,).
    """
    return fit_alike([(points, values)], relevance)[0]


def fit_alike(known: Sequence[tuple[Floats, Floats]], relevance: Floats) -> list[Process]:
    """Fit a process to each of several functions, with one length scale and noise for all.

    Args:
        known: Of each function, points and values as :func:`fit_process` takes them.
        relevance: Likewise.
    """
    fits = [
        [_fit(points, values, scale / relevance, scale, noise) for points, values in known]
        for scale in LENGTH_SCALES
        for noise in NOISES
    ]
    return max(fits, key=lambda alike: sum(one.evidence for one in alike))


def _fit(points: Floats, values: Floats, scales: Floats, scale: float, noise: float) -> Process:
    from scipy.linalg import cho_solve

    n = len(values)
    correlations = matern(points, points, scales) + noise * np.eye(n)
    factor: Floats = np.linalg.cholesky(correlations).astype(np.float64)
    weights: Floats = cho_solve((factor, True), values)
    prior = PRIOR_WEIGHT * PRIOR_VARIANCE
    variance = (float(values @ weights) + prior) / (n + PRIOR_WEIGHT)
    likelihood = -0.5 * (n + PRIOR_WEIGHT) * math.log(variance) - np.log(np.diag(factor)).sum()
    prior_scale = -0.5 * math.log(scale / 0.4) ** 2
    prior_noise = -0.25 * (math.log(noise / 1e-2) / math.log(10)) ** 2
    evidence = float(likelihood) + prior_scale + prior_noise
    return Process(points, scales, factor, weights, variance, evidence)


def matern(first: Floats, second: Floats, scales: Floats) -> Floats:
    """Return Matern 5/2 correlations, shape (len(first), len(second))."""
    from scipy.spatial.distance import cdist

    away = math.sqrt(5) * cdist(first / scales, second / scales)
    correlations: Floats = (1 + away + away**2 / 3) * np.exp(-away)
    return correlations


def log_expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """Return the logarithm of the expected improvement over ``best``, shape (m,).

    The logarithm still tells points apart where the improvement itself is all zeros
    (Ament et al. 2023, arXiv 2310.20708).
    """
    from scipy.stats import norm

    z = (mean - best) / deviation
    near = np.log(np.maximum(norm.pdf(z) + z * norm.cdf(z), 1e-300))
    far = norm.logpdf(z) - 2 * np.log(np.maximum(np.abs(z), 1.0))
    logs: Floats = np.log(deviation) + np.where(z > -30, near, far)
    return logs

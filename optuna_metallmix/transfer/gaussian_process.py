"""Encode configurations as points, and fit Gaussian processes to their scores.

Notations in this module:
    n: Number of observed points.
    m: Number of points to predict.
    d: Number of coordinates of a point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optuna_metallmix.metalearner import Floats
from optuna_metallmix.space import ABSENT
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import labels_of
from optuna_metallmix.space import to_units


LENGTH_SCALES = (0.15, 0.3, 0.6, 1.2)
NOISES = (1e-3, 1e-2, 1e-1)
"""Noise variances relative to the variance of the signal."""
MAX_POINTS = 60
"""Maximum number of points, the last ones, that hyperparameters are chosen by. Their choice takes
twelve Cholesky factors, whose cost is cubic in it."""
MAX_COORDINATES = 600
"""Maximum number of coordinates of a point, unless each choice has two."""
BLOCK_SIZE = 2**16
"""Number of correlations that are computed at once; several arrays of that size are needed."""
PRIOR_WEIGHT = 4.0
"""Weight of the signal-variance prior, in pseudo-observations."""
PRIOR_VARIANCE = 0.5


class Encoding:
    """Encodes configurations as points in the unit cube.

    A number is a single coordinate, 0.5 if inactive. A choice has a coordinate for each of its
    values, scaled such that two different choices have a distance of 0.7. If these were more than
    :data:`MAX_COORDINATES`, several choices of a parameter share one.

    Args:
        space: Parameters to encode.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        unordered = [d for d in space.values() if not is_ordered(d)]
        n_choices = [len(choices_of(distribution)) for distribution in unordered]
        n_numbers = len(space) - len(unordered)
        self._max_width = max(n_choices, default=0)
        if n_numbers + sum(n_choices) > MAX_COORDINATES and unordered:
            self._max_width = max(2, (MAX_COORDINATES - n_numbers) // len(unordered))
        self._widths = [self._coordinates([{}], name).shape[1] for name in space]

    def encode(self, configs: Sequence[Config]) -> Floats:
        """Return the points of ``configs``, shape (len(configs), d)."""
        return np.concatenate([self._coordinates(configs, name) for name in self.space], axis=1)

    def repeat(self, by_parameter: Sequence[float] | Floats) -> Floats:
        """Repeat a value per parameter for each of its coordinates, shape (d,)."""
        return np.repeat(np.asarray(by_parameter, dtype=np.float64), self._widths)

    def _coordinates(self, configs: Sequence[Config], name: str) -> Floats:
        distribution = self.space[name]
        if is_ordered(distribution):
            values = np.array([config.get(name, np.nan) for config in configs], np.float64)
            units = np.clip(to_units(distribution, values), 0.0, 1.0)
            column: Floats = np.nan_to_num(units, nan=0.5)[:, None]
            return column
        choices = labels_of(distribution, choices_of(distribution))
        width = min(len(choices), self._max_width)
        places = {choice: i % width for i, choice in enumerate(choices)}
        labels = labels_of(distribution, [config.get(name, ABSENT) for config in configs])
        codes = np.array([places.get(label, -1) for label in labels])
        one_hot: Floats = 0.5 * (codes[:, None] == np.arange(width))
        return one_hot


@dataclass(frozen=True)
class GaussianProcess:
    """A Gaussian process with mean zero, fitted to observations.

    Attributes:
        points: Observed points, shape (n, d).
        length_scales: Length scale of each coordinate, shape (d,).
        cholesky: Lower Cholesky factor of the correlation matrix, shape (n, n).
        weights: Inverse of the correlation matrix times the observed values, shape (n,).
        variance: Variance of the signal.
        log_likelihood: Log marginal likelihood of the hyperparameters, with the prior of the
            variance, up to a constant.
    """

    points: Floats
    length_scales: Floats
    cholesky: Floats
    weights: Floats
    variance: float
    log_likelihood: float

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """Return the mean and standard deviation of the signal, shapes (m,) and (m,)."""
        from scipy.linalg.lapack import dtrtri

        correlations = correlate(points, self.points, self.length_scales)
        # For m >> n, a product with the inverse is faster than solving.
        inverse, _ = dtrtri(self.cholesky, lower=1)
        explained = ((correlations @ inverse.T) ** 2).sum(axis=1)
        remaining = np.maximum(1.0 - explained, 1e-9)
        return correlations @ self.weights, np.sqrt(remaining * self.variance)


def fit_gps(
    observations: Sequence[tuple[Floats, Floats]], relevance: Floats
) -> list[GaussianProcess]:
    """Fit a Gaussian process to each function, with the best hyperparameters for all of them.

    Args:
        observations: Points of each function, shape (n, d), n >= 1, and their roughly standardized
            values, shape (n,).
        relevance: Divisor of the length scale of each coordinate, shape (d,).
    """
    few = [(points[-MAX_POINTS:], values[-MAX_POINTS:]) for points, values in observations]
    distances = [_distances(points, points, 1.0 / relevance) for points, _ in few]
    fits = {
        (scale, noise): [
            _fit(points, values, matern52(apart / scale), scale / relevance, noise)
            for (points, values), apart in zip(few, distances, strict=True)
        ]
        for scale in LENGTH_SCALES
        for noise in NOISES
    }

    def log_posterior(key: tuple[float, float]) -> float:
        scale, noise = key
        scale_prior = -0.5 * math.log(scale / 0.4) ** 2
        noise_prior = -0.25 * (math.log(noise / 1e-2) / math.log(10)) ** 2
        return sum(gp.log_likelihood + scale_prior + noise_prior for gp in fits[key])

    scale, noise = best = max(fits, key=log_posterior)
    if all(len(points) <= MAX_POINTS for points, _ in observations):
        return fits[best]
    length_scales = scale / relevance
    return [
        _fit(points, values, correlate(points, points, length_scales), length_scales, noise)
        for points, values in observations
    ]


def _fit(
    points: Floats, values: Floats, correlations: Floats, length_scales: Floats, noise: float
) -> GaussianProcess:
    from scipy.linalg.lapack import dposv

    n = len(values)
    noisy = correlations + noise * np.eye(n)
    factor, weights, info = dposv(noisy, values, lower=1)
    if info:
        raise np.linalg.LinAlgError("The correlation matrix is not positive definite.")
    cholesky = np.tril(factor)  # LAPACK leaves the upper triangle as it was
    prior = PRIOR_WEIGHT * PRIOR_VARIANCE
    variance = (float(values @ weights) + prior) / (n + PRIOR_WEIGHT)
    likelihood = -0.5 * (n + PRIOR_WEIGHT) * math.log(variance) - np.log(np.diag(cholesky)).sum()
    return GaussianProcess(points, length_scales, cholesky, weights, variance, float(likelihood))


def correlate(first: Floats, second: Floats, length_scales: Floats) -> Floats:
    """Return the Matern 5/2 correlations of points, shape (len(first), len(second))."""
    correlations = np.empty((len(first), len(second)))
    n_rows = max(1, BLOCK_SIZE // max(len(second), 1))
    for i in range(0, len(first), n_rows):
        rows = slice(i, i + n_rows)
        correlations[rows] = matern52(_distances(first[rows], second, length_scales))
    return correlations


def matern52(distances: Floats) -> Floats:
    """Return the Matern 5/2 correlations at distances in length scales."""
    distances = math.sqrt(5) * distances
    correlations: Floats = (1 + distances + distances**2 / 3) * np.exp(-distances)
    return correlations


def _distances(first: Floats, second: Floats, length_scales: Floats) -> Floats:
    from scipy.spatial.distance import cdist

    distances: Floats = cdist(first / length_scales, second / length_scales)
    return distances


def log_expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """Return the logarithm of the expected improvement over ``best``, shape (m,).

    Unlike the expected improvement, it does not underflow to zero (Ament et al. 2023, arXiv
    2310.20708).
    """
    from scipy.special import ndtr

    z = (mean - best) / deviation
    log_density = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    near = np.log(np.maximum(np.exp(log_density) + z * ndtr(z), 1e-300))
    far = log_density - 2 * np.log(np.maximum(np.abs(z), 1.0))
    logs: Floats = np.log(deviation) + np.where(z > -30, near, far)
    return logs

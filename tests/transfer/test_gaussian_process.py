from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from optuna_metallmix.transfer import gaussian_process
from optuna_metallmix.transfer.gaussian_process import GaussianProcess
from optuna_metallmix.transfer.gaussian_process import correlate
from optuna_metallmix.transfer.gaussian_process import fit_gps
from optuna_metallmix.transfer.gaussian_process import log_expected_improvement


@pytest.fixture
def fitted() -> tuple[np.ndarray, np.ndarray, GaussianProcess]:
    points = np.random.default_rng(0).random((25, 2))
    values = np.sin(5 * points[:, 0])
    (gp,) = fit_gps([(points, values - values.mean())], np.array([1.0, 0.3]))
    return points, values, gp


def test_mean_interpolates_the_observations(fitted) -> None:
    points, values, gp = fitted
    mean, deviation = gp.predict(points)
    np.testing.assert_allclose(mean, values - values.mean(), atol=0.05)
    assert deviation.max() < 0.15


def test_functions_share_only_their_hyperparameters(fitted) -> None:
    points, values, alone = fitted
    values = values - values.mean()
    rough = np.random.default_rng(3).standard_normal(25)
    smooth, other = fit_gps([(points, values), (points, rough)], np.array([1.0, 0.3]))
    np.testing.assert_array_equal(smooth.length_scales, other.length_scales)
    assert np.corrcoef(smooth.predict(points)[0], values)[0, 1] > 0.9
    again = fit_gps([(points, values)] * 2, np.array([1.0, 0.3]))
    np.testing.assert_array_equal(again[1].weights, alone.weights)


def test_deviation_is_larger_far_from_the_observations(fitted) -> None:
    points, _, gp = fitted
    _, near = gp.predict(points[:1] + 0.01)
    _, far = gp.predict(np.array([[3.0, 3.0]]))
    assert far[0] > 5 * near[0]


def test_mean_and_deviation_are_those_of_the_textbook() -> None:
    rng = np.random.default_rng(0)
    points, values, others = rng.random((20, 3)), rng.standard_normal(20), rng.random((50, 3))
    (gp,) = fit_gps([(points, values)], np.ones(3))
    inverse = np.linalg.inv(gp.cholesky @ gp.cholesky.T)  # of the noisy correlation matrix
    correlations = correlate(others, points, gp.length_scales)
    mean, deviation = gp.predict(others)
    explained = np.einsum("ij,jk,ik->i", correlations, inverse, correlations)
    assert mean == pytest.approx(correlations @ inverse @ values)
    assert deviation == pytest.approx(np.sqrt(gp.variance * (1 - explained)))
    noise = (gp.cholesky[0, 0] ** 2 - 1) * np.eye(20)
    expected = correlate(points, points, gp.length_scales) + noise
    assert gp.cholesky @ gp.cholesky.T == pytest.approx(expected)


def test_mean_is_accurate_between_the_observations(fitted) -> None:
    _, values, gp = fitted
    asked = np.random.default_rng(1).random((50, 2)) * 0.8 + 0.1
    mean, _ = gp.predict(asked)
    assert np.abs(mean + values.mean() - np.sin(5 * asked[:, 0])).mean() < 0.1


def test_repeated_points_and_equal_values_can_be_fitted() -> None:
    (gp,) = fit_gps([(np.full((6, 3), 0.5), np.zeros(6))], np.ones(3))
    mean, deviation = gp.predict(np.array([[0.5, 0.5, 0.5], [0.0, 1.0, 0.0]]))
    assert mean.tolist() == [0.0, 0.0]
    assert 0 < deviation[0] < deviation[1]


def test_correlations_are_positive_definite() -> None:
    points = np.random.default_rng(2).random((10, 4))
    correlations = correlate(points, points, np.full(4, 0.5))
    np.testing.assert_allclose(np.diag(correlations), 1.0)
    np.testing.assert_allclose(correlations, correlations.T)
    assert np.linalg.eigvalsh(correlations).min() > 0


@pytest.mark.parametrize(("mean", "best"), [(0.3, 0.0), (0.0, 0.5), (-1.0, 1.0)])
def test_expected_improvement_is_the_integral(mean: float, best: float) -> None:
    expected, _ = quad(lambda y: max(y - best, 0.0) * norm.pdf(y, mean, 0.4), best, best + 10)
    log_ei = log_expected_improvement(np.array([mean]), np.array([0.4]), best)
    assert np.exp(log_ei[0]) == pytest.approx(expected, rel=1e-6)


def test_log_expected_improvement_does_not_underflow() -> None:
    means = np.array([-40.0, -30.0, -20.0, -6.0, -5.0, -4.0])
    log_ei = log_expected_improvement(means, np.ones(6), 0.0)
    assert np.isfinite(log_ei).all()
    assert (np.diff(log_ei) > 0).all()


@pytest.mark.parametrize("shape", [(1, 1), (7, 40), (41, 40), (3, 0), (0, 3), (200, 400)])
def test_blocks_are_the_same_as_all_correlations_at_once(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    first, second, scales = rng.random((shape[0], 3)), rng.random((shape[1], 3)), np.ones(3)
    monkeypatch.setattr(gaussian_process, "BLOCK_SIZE", 10**9)
    expected = correlate(first, second, scales)
    assert expected.shape == shape
    for size in (1, 100, 2**12):
        monkeypatch.setattr(gaussian_process, "BLOCK_SIZE", size)
        np.testing.assert_array_equal(correlate(first, second, scales), expected)


def test_correlations_need_little_more_memory_than_their_own() -> None:
    points = np.random.default_rng(0).random((2_000, 3))
    tracemalloc.start()
    try:
        correlations = correlate(points, points, np.ones(3))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.2 * correlations.nbytes

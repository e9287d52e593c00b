from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

from optuna_metallmix.transfer.gaussian_process import MAX_COORDINATES
from optuna_metallmix.transfer.gaussian_process import Encoding


SPACE = {
    "lr": FloatDistribution(1e-4, 1.0, log=True),
    "kind": CategoricalDistribution(["a", "b", "c"]),
    "size": CategoricalDistribution([16, 64]),
}


def test_numbers_have_a_coordinate_and_choices_are_one_hot() -> None:
    points = Encoding(SPACE).encode([{"lr": 1e-2, "kind": "b", "size": 64}, {"lr": 1.0}])
    np.testing.assert_allclose(points, [[0.5, 0, 0.5, 0, 1.0], [1.0, 0, 0, 0, 0.5]])


def test_choices_are_closer_than_the_ends_of_a_number() -> None:
    a, b, far = Encoding(SPACE).encode(
        [{"lr": 1e-4, "kind": "a"}, {"lr": 1e-4, "kind": "b"}, {"lr": 1.0, "kind": "a"}]
    )
    assert 0 < np.linalg.norm(a - b) < np.linalg.norm(a - far)


def test_values_are_repeated_for_each_coordinate() -> None:
    np.testing.assert_array_equal(Encoding(SPACE).repeat([0.1, 0.2, 0.3]), [0.1, *[0.2] * 3, 0.3])


def test_values_outside_the_range_are_clipped() -> None:
    assert Encoding(SPACE).encode([{"lr": 50.0}])[0, 0] == 1.0


@pytest.mark.parametrize(
    ("n_numbers", "n_choices", "width"),
    [
        (0, [600], 600),
        (0, [601], 600),
        (300, [400, 3], 150),
        (599, [5, 2], 2),
        (9, [200, 391], 391),
    ],
)
def test_number_of_coordinates_is_bounded(
    n_numbers: int, n_choices: list[int], width: int
) -> None:
    space = {f"x{i}": FloatDistribution(0, 1) for i in range(n_numbers)}
    space |= {
        f"k{i}": CategoricalDistribution([f"v{j}" for j in range(n)])
        for i, n in enumerate(n_choices)
    }
    configs = [{f"k{i}": f"v{j}" for i in range(len(n_choices))} for j in (0, 1)]
    points = Encoding(space).encode([*configs, {}])
    assert points.shape[1] <= max(MAX_COORDINATES, n_numbers + 2 * len(n_choices))
    assert points.shape[1] == n_numbers + sum(min(n, width) for n in n_choices)
    assert len(Encoding(space).repeat(np.ones(len(space)))) == points.shape[1]
    assert points[2, n_numbers:].max() == 0
    assert (points[:2, n_numbers:] == 0.5).sum(axis=1).tolist() == [len(n_choices)] * 2
    gap = np.linalg.norm(points[0] - points[1])
    assert gap == pytest.approx(np.sqrt(0.5 * len(n_choices)))

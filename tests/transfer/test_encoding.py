from __future__ import annotations

import numpy as np
from optuna.distributions import CategoricalDistribution
from optuna.distributions import FloatDistribution

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

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


def test_numbers_are_one_coordinate_and_choices_one_each() -> None:
    points = Encoding(SPACE).points([{"lr": 1e-2, "kind": "b", "size": 64}, {"lr": 1.0}])
    np.testing.assert_allclose(points, [[0.5, 0, 0.5, 0, 1.0], [1.0, 0, 0, 0, 0.5]])


def test_other_choices_are_nearer_than_the_ends_of_a_number() -> None:
    a, b, far = Encoding(SPACE).points(
        [{"lr": 1e-4, "kind": "a"}, {"lr": 1e-4, "kind": "b"}, {"lr": 1.0, "kind": "a"}]
    )
    assert 0 < np.linalg.norm(a - b) < np.linalg.norm(a - far)


def test_what_is_given_by_parameter_is_spread_over_its_coordinates() -> None:
    np.testing.assert_array_equal(Encoding(SPACE).spread([0.1, 0.2, 0.3]), [0.1, *[0.2] * 3, 0.3])


def test_values_outside_are_at_the_ends() -> None:
    assert Encoding(SPACE).points([{"lr": 50.0}])[0, 0] == 1.0


def test_a_choice_can_stand_for_another() -> None:
    known = {"c": "a"}
    encoding = Encoding(SPACE, lambda name, label: known.get(label, label))
    points = encoding.points([{"kind": "c"}, {"kind": "a"}, {"kind": "b"}, {}])
    np.testing.assert_array_equal(points[0], points[1])
    assert points[2, 2] == 0.5
    assert not points[3, 1:4].any()

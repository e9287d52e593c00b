from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optuna_metallmix.history.meta_features import distances
from optuna_metallmix.history.meta_features import image_meta_features
from optuna_metallmix.history.meta_features import scalar_features


def test_the_seven_groups_of_a_small_set() -> None:
    features = image_meta_features(["a"] * 6 + ["b"] * 2, (28, 56, 3), "CT")
    assert features == {
        "n_instances": 8,
        "n_classes": 2,
        "imbalance_ratio": 3.0,
        "class_entropy": pytest.approx(0.8112781),
        "image_height": 28,
        "image_width": 56,
        "n_channels": 3,
        "class_size_mean": 4.0,
        "class_size_std": 2.0,
        "class_size_min": 2,
        "class_size_max": 6,
        "modality": "CT",
    }


class _Tensor:
    """Is hashed by identity and returns its number from ``item``, like a torch tensor."""

    def __init__(self, number: int) -> None:
        self._number = number

    def item(self) -> int:
        return self._number


@pytest.mark.parametrize(
    "labels",
    [[0, 1, 1], np.array([0, 1, 1]), (n for n in (0, 1, 1)), [_Tensor(0), _Tensor(1), _Tensor(1)]],
)
def test_labels_may_be_a_list_an_array_or_tensors(labels: Any) -> None:
    features = image_meta_features(labels, 28)
    assert (features["n_instances"], features["n_classes"]) == (3, 2)
    assert (features["image_height"], features["image_width"]) == (28, 28)
    assert "modality" not in features
    assert "n_channels" not in features


def test_sizes_of_numpy_are_fit_for_user_attributes() -> None:
    images = np.zeros((2, 28, 28))
    features = image_meta_features(np.array([0, 1]), tuple(np.array(images.shape[1:])))
    assert json.loads(json.dumps(features)) == features
    assert image_meta_features([0], np.int64(9))["image_width"] == 9  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, (28,), (1, 2, 3, 4), (28, -1), "28", (28, None), 2.5])
def test_a_wrong_image_size_is_an_error(size: Any) -> None:
    with pytest.raises(ValueError, match=r"image_size=.* must be a positive number of pixels"):
        image_meta_features([0, 1], size)


@pytest.mark.parametrize("size", [(3, 224, 224), (1, 28, 28), (13, 64, 64)])
def test_channels_first_are_an_error(size: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="more channels than pixels in a row"):
        image_meta_features([0, 1], size)


@pytest.mark.parametrize("modality", [3, "", ["CT"], "x" * 65])
def test_a_modality_that_is_not_a_short_text_is_an_error(modality: Any) -> None:
    with pytest.raises(ValueError, match="must be a short text"):
        image_meta_features([0, 1], 28, modality)


def test_no_labels_is_an_error() -> None:
    with pytest.raises(ValueError, match="There are no labels"):
        image_meta_features([], 28)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60))
def test_features_keep_their_ranges(labels: list[int]) -> None:
    features = image_meta_features(labels, 28)
    n_classes = features["n_classes"]
    assert isinstance(n_classes, int)
    assert float(features["imbalance_ratio"]) >= 1.0
    assert -1e-9 <= float(features["class_entropy"]) <= math.log2(n_classes) + 1e-9
    assert features["class_size_min"] <= features["class_size_mean"] <= features["class_size_max"]  # type: ignore[operator]
    assert scalar_features(features) == features


def test_scalar_features_keeps_numbers_and_short_texts() -> None:
    attributes = {
        "n": 3,
        "ratio": 0.5,
        "flag": True,
        "modality": "CT",
        "essay": "x" * 65,
        "list": [1],
        "none": None,
        "nan": math.nan,
        "inf": math.inf,
        "huge": 10**400,
    }
    assert scalar_features(attributes) == {"n": 3, "ratio": 0.5, "flag": "True", "modality": "CT"}


def test_the_most_alike_study_is_nearest() -> None:
    target = {"n_instances": 1000, "modality": "CT"}
    same, near, far = distances(
        target,
        [
            {"n_instances": 1000, "modality": "ct"},
            {"n_instances": 1500, "modality": "CT"},
            {"n_instances": 10**6, "modality": "X-ray"},
        ],
    )
    assert same == 0.0
    assert near is not None
    assert far is not None
    assert 0.0 < near < far


def test_features_count_alike_whatever_their_scale() -> None:
    narrow, wide = distances({"a": 10, "b": 10}, [{"a": 10, "b": 12}, {"a": 10**6, "b": 10}])
    assert narrow == pytest.approx(wide)


def test_distance_is_unknown_without_a_common_feature() -> None:
    assert distances({"n": 1}, [{}, {"m": 1}, {"n": "many"}]) == [None, None, None]
    assert distances({}, [{"n": 1}]) == [None]
    assert distances({"n": 1}, []) == []


FEATURES = st.dictionaries(
    st.sampled_from("abc"), st.one_of(st.integers(), st.floats(-1e300, 1e300), st.text(max_size=3))
)


@given(FEATURES, st.lists(FEATURES, max_size=4))
def test_distances_are_bounded_and_zero_to_itself(
    target: dict[str, Any], others: list[dict[str, Any]]
) -> None:
    *_, to_itself = away = distances(target, [*others, target])
    assert all(distance is None or 0.0 <= distance <= 3.0 for distance in away)
    assert to_itself == (0.0 if target else None)

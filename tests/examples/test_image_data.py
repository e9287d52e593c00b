import numpy as np
import pytest


pytest.importorskip("sklearn", reason="the loaders split with scikit-learn (extra `torch`)")
Image = pytest.importorskip("PIL.Image", reason="the loaders read with Pillow (extra `torch`)")

from pictures import parts  # noqa: E402
from pictures import pictures  # noqa: E402
from pictures import write_folder  # noqa: E402
from pictures import write_parquet  # noqa: E402
from pictures import write_parts  # noqa: E402

from image_data import load_images  # noqa: E402
from image_data import meta_features  # noqa: E402


def test_every_image_is_in_exactly_one_part(digits):
    together = np.concatenate(list(parts(digits).values()))
    assert sorted(together.tolist()) == list(range(len(digits.labels)))
    assert [len(part) for part in parts(digits).values()] == [72, 24, 24]


def test_every_class_is_in_every_part(digits):
    for part in parts(digits).values():
        assert set(digits.labels[part]) == set(range(10))


def test_the_seed_decides_the_split():
    first, same, other = (load_images("digits", seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.train, same.train)
    assert not np.array_equal(first.train, other.train)


def test_copies_never_straddle_the_split(tmp_path):
    images = pictures(12)
    path = write_folder(tmp_path / "set", {"a": [*images, *images], "b": pictures(12, seed=1)})
    data = load_images(path)
    seen = [{data.images[i].tobytes() for i in part} for part in parts(data).values()]
    assert len(data.labels) == 24
    assert sum(len(part) for part in seen) == len(set.union(*seen)) == 24


def test_copies_that_a_table_marks_are_dropped_though_their_pixels_differ(tmp_path):
    keys = [f"key {i // 2}" for i in range(40)]
    labels = ["a"] * 20 + ["b"] * 20
    path = write_parquet(tmp_path / "set.parquet", pictures(40), labels, md5_64=keys)
    assert len(load_images(path).labels) == 20


def test_an_image_under_two_labels_has_no_truth(tmp_path):
    both = np.zeros((1, 16, 16), dtype=np.uint8)
    classes = {"a": [*pictures(6), *both], "b": [*pictures(6, seed=1), *both]}
    data = load_images(write_folder(tmp_path / "set", classes))
    assert len(data.labels) == 12
    assert all(image.any() for image in data.images)


def test_a_limit_keeps_the_classes_in_proportion():
    data = load_images("digits", limit=500)
    assert len(data.labels) == 500
    assert set(np.bincount(data.labels)) <= {48, 49, 50, 51}  # as even as the digits themselves


def test_the_digest_tells_sets_apart(digits):
    assert digits.digest == load_images("digits", limit=120).digest
    assert digits.digest != load_images("digits", limit=121).digest


def test_meta_features_by_hand(tmp_path):
    classes = {"a": pictures(30), "b": pictures(10, seed=1)}
    data = load_images(write_folder(tmp_path / "set", classes))
    assert meta_features(data, "CT") == {
        "n_instances": 24,
        "n_classes": 2,
        "imbalance_ratio": 3.0,
        "class_entropy": pytest.approx(0.811278, abs=1e-6),
        "image_height": 16.0,
        "image_width": 16.0,
        "n_channels": 1,
        "class_size_mean": 12.0,
        "class_size_std": 6.0,
        "class_size_min": 6,
        "class_size_max": 18,
        "modality": "CT",
    }
    assert "modality" not in meta_features(data)


def test_too_few_images_to_split_are_told_so(tmp_path):
    path = write_folder(tmp_path / "set", {"a": pictures(9), "rare": pictures(4, seed=1)})
    with pytest.raises(ValueError, match=r"'rare' .* has 4 distinct images"):
        load_images(path)


def test_one_class_is_nothing_to_tell_apart(tmp_path):
    with pytest.raises(ValueError, match="single class"):
        load_images(write_folder(tmp_path / "set", {"a": pictures(9)}))


def test_a_folder_that_is_split_already_stays_so(tmp_path):
    path = write_parts(
        tmp_path / "set",
        train={"a": pictures(8), "b": pictures(6, seed=1)},
        val={"a": pictures(3, seed=2), "b": pictures(2, seed=3)},
        test={"a": pictures(2, seed=4), "b": pictures(4, seed=5)},
    )
    data = load_images(path)
    assert data.class_names == ("a", "b")
    assert [len(part) for part in parts(data).values()] == [14, 5, 6]
    assert np.bincount(data.labels[data.test]).tolist() == [2, 4]


def test_a_part_that_is_not_there_is_taken_from_training(tmp_path):
    path = write_parts(
        tmp_path / "set",
        Train={"a": pictures(20), "b": pictures(20, seed=1)},
        Test={"a": pictures(5, seed=2), "b": pictures(5, seed=3)},
    )
    data = load_images(path)
    assert [len(part) for part in parts(data).values()] == [32, 8, 10]
    assert len(set.union(*(set(part.tolist()) for part in parts(data).values()))) == 50


def test_a_class_that_is_never_trained_on_is_told_of(tmp_path):
    path = write_parts(
        tmp_path / "set",
        train={"a": pictures(10), "b": pictures(10, seed=1)},
        val={"a": pictures(5, seed=2), "rare": pictures(6, seed=3)},
        test={"a": pictures(5, seed=4), "b": pictures(5, seed=5)},
    )
    with pytest.raises(ValueError, match="no image of class 'rare'"):
        load_images(path)


def test_the_same_images_can_be_split_anew(digits):
    anew = digits.split_anew(5)
    assert anew.digest == digits.digest
    assert not np.array_equal(anew.train, digits.train)
    assert [len(part) for part in parts(anew).values()] == [72, 24, 24]
    assert np.array_equal(digits.split_anew(0).test, digits.test)


def test_limits_near_the_ends_are_told_or_kept(tmp_path):
    assert len(load_images("digits", limit=1790).labels) == 1797  # one of each could not go
    with pytest.raises(ValueError, match="too low for 10 classes"):
        load_images("digits", limit=5)
    classes = {"a": pictures(100), "rare": pictures(5, seed=1)}
    with pytest.raises(ValueError, match=r"within the limit.* Raise it"):
        load_images(write_folder(tmp_path / "set", classes), limit=50)

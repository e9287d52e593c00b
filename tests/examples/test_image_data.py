import io

import numpy as np
import pandas as pd
import pytest


pytest.importorskip("sklearn", reason="the loaders split with scikit-learn (extra `torch`)")
Image = pytest.importorskip("PIL.Image", reason="the loaders read with Pillow (extra `torch`)")

from image_data import load_images  # noqa: E402
from image_data import meta_features  # noqa: E402


def pictures(n, *, seed=0, side=16, colour=False):
    shape = (n, side, side, 3) if colour else (n, side, side)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_folder(path, classes):
    for name, images in classes.items():
        (path / name).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(path / name / f"{number}.png")
    return path


def write_parquet(path, images, class_names, **columns):
    encoded = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    pd.DataFrame({"jpeg128": encoded, "class_name": class_names, **columns}).to_parquet(path)
    return path


def parts(data):
    return {"train": data.train, "validation": data.validation, "test": data.test}


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


def test_a_folder_is_read(tmp_path):
    classes = {"cat": pictures(10, side=20, colour=True), "ant": pictures(10, seed=1)}
    data = load_images(write_folder(tmp_path / "animals", classes))
    assert (data.name, data.class_names, data.n_channels) == ("animals", ("ant", "cat"), 3)
    assert data.images.shape == (20, 128, 128, 3)
    assert {tuple(size) for size in data.sizes[data.labels == 1].tolist()} == {(20, 20)}


def test_a_table_is_read_with_the_sizes_that_the_images_once_had(tmp_path):
    sizes = {"orig_h": [300] * 20, "orig_w": [400] * 20}
    path = write_parquet(tmp_path / "t.parquet", pictures(20), ["a"] * 8 + ["b"] * 12, **sizes)
    data = load_images(path)
    assert data.n_channels == 1
    assert np.bincount(data.labels).tolist() == [8, 12]
    assert set(map(tuple, data.sizes.tolist())) == {(300, 400)}


@pytest.mark.parametrize("prefixes", [("",), ("train_", "val_", "test_")])
def test_an_array_file_is_read_whole(tmp_path, prefixes):
    arrays = {}
    for seed, prefix in enumerate(prefixes):
        arrays[f"{prefix}images"] = pictures(10, seed=seed)
        arrays[f"{prefix}labels"] = np.arange(10)[:, np.newaxis] % 2
    np.savez(tmp_path / "set.npz", **arrays)
    data = load_images(tmp_path / "set.npz")
    assert len(data.labels) == 10 * len(prefixes)
    assert data.images.shape[1:] == (16, 16, 3)
    assert (data.images[..., 0] == data.images[..., 2]).all()


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


def test_a_wrong_source_is_told_what_would_be_right(tmp_path):
    with pytest.raises(ValueError, match="Name a folder"):
        load_images(tmp_path / "absent")
    with pytest.raises(ValueError, match="in a sub-folder of its own"):
        load_images(tmp_path)


def test_too_few_images_to_split_are_told_so(tmp_path):
    path = write_folder(tmp_path / "set", {"a": pictures(9), "rare": pictures(4, seed=1)})
    with pytest.raises(ValueError, match=r"'rare' .* has 4 distinct images"):
        load_images(path)


def test_one_class_is_nothing_to_tell_apart(tmp_path):
    with pytest.raises(ValueError, match="single class"):
        load_images(write_folder(tmp_path / "set", {"a": pictures(9)}))


def write_parts(path, **parts):
    for part, classes in parts.items():
        write_folder(path / part, classes)
    return path


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


def test_sub_folders_of_a_class_belong_to_it(tmp_path):
    path = write_folder(tmp_path / "set", {"a": pictures(6), "b": pictures(6, seed=1)})
    write_folder(path / "a", {"patient 7": pictures(4, seed=2)})
    data = load_images(path)
    assert data.class_names == ("a", "b")
    assert np.bincount(data.labels).tolist() == [10, 6]


def test_broken_pictures_are_named(tmp_path):
    path = write_folder(tmp_path / "set", {"a": pictures(6), "b": pictures(6, seed=1)})
    (path / "a" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(ValueError, match=r"1 of 13 pictures cannot be read: .*broken\.png"):
        load_images(path)


def test_pictures_of_16_bits_are_spread_over_8(tmp_path):
    deep = pictures(12).astype(np.uint16) * 16  # as a scanner of 12 bits has it
    path = write_folder(tmp_path / "set", {"a": deep[:6], "b": deep[6:]})
    data = load_images(path, side=16)
    assert data.n_channels == 1
    assert data.images.min() == 0
    assert data.images.max() == 255


def test_a_table_of_hugging_face_is_read(tmp_path):
    rows = []
    for image in pictures(12):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        rows.append({"bytes": buffer.getvalue(), "path": None})
    table = pd.DataFrame({"image": rows, "label": [0, 1] * 6})
    table.to_parquet(tmp_path / "set.parquet")
    data = load_images(tmp_path / "set.parquet")
    assert (len(data.labels), data.class_names) == (12, ("0", "1"))


def test_a_table_without_images_is_told_what_it_lacks(tmp_path):
    pd.DataFrame({"x": [1], "label": [0]}).to_parquet(tmp_path / "set.parquet")
    with pytest.raises(ValueError, match=r"no column of encoded images: it has x, label"):
        load_images(tmp_path / "set.parquet")


@pytest.mark.parametrize("side", [64, 224])
def test_images_are_as_large_as_asked_for(tmp_path, side):
    path = write_folder(tmp_path / "set", {"a": pictures(6), "b": pictures(6, seed=1)})
    assert load_images(path, side=side).images.shape == (12, side, side, 3)


def test_the_same_images_can_be_split_anew(digits):
    anew = digits.split_anew(5)
    assert anew.digest == digits.digest
    assert not np.array_equal(anew.train, digits.train)
    assert [len(part) for part in parts(anew).values()] == [72, 24, 24]
    assert np.array_equal(digits.split_anew(0).test, digits.test)


def test_what_systems_and_editors_leave_is_no_class(tmp_path):
    path = write_folder(tmp_path / "set", {"a": pictures(6), "b": pictures(6, seed=1)})
    for name in (".ipynb_checkpoints", "__MACOSX"):
        write_folder(path, {name: pictures(6, seed=2)})
    (path / "a" / "._0.png").write_bytes(b"no picture")
    (path / "a" / "notes.pdf").write_bytes(b"no picture")
    Image.fromarray(pictures(1)[0]).save(path / "overview.png")
    data = load_images(path)
    assert (data.class_names, len(data.labels)) == (("a", "b"), 12)


def test_a_picture_beside_the_parts_changes_nothing(tmp_path):
    path = write_parts(
        tmp_path / "set",
        train={"a": pictures(10), "b": pictures(10, seed=1)},
        test={"a": pictures(5, seed=2), "b": pictures(5, seed=3)},
    )
    Image.fromarray(pictures(1)[0]).save(path / "overview.png")
    assert load_images(path).class_names == ("a", "b")
    write_folder(path, {"more": pictures(5, seed=4)})
    with pytest.raises(ValueError, match="beside them 'more'"):
        load_images(path)


def test_a_linked_folder_is_a_class(tmp_path):
    path = write_folder(tmp_path / "set", {"a": pictures(6)})
    write_folder(tmp_path, {"elsewhere": pictures(6, seed=1)})
    (path / "b").symlink_to(tmp_path / "elsewhere")
    assert load_images(path).class_names == ("a", "b")


@pytest.mark.parametrize("kind", ["png", "tif"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_deep_pictures_keep_their_levels(tmp_path, kind, order):
    deep = (np.arange(64, dtype=np.uint16).reshape(8, 8) * 64).astype(f"{order}u2")
    path = tmp_path / "set"
    for name in "ab":
        (path / name).mkdir(parents=True)
        for i in range(6):
            mode = "I;16B" if order == ">" and kind == "tif" else "I;16"
            pixels = np.roll(deep, i + 10 * (name == "b")).astype(
                ">u2" if mode == "I;16B" else "<u2"
            )
            picture = Image.frombytes(mode, (8, 8), pixels.tobytes())
            picture.save(path / name / f"{i}.{kind}")
    data = load_images(path, side=8)
    assert data.n_channels == 1
    assert len(np.unique(data.images[0])) > 50


def arrays(tmp_path, images, labels=None):
    labels = np.arange(len(images)) % 2 if labels is None else labels
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    return load_images(tmp_path / "set.npz")


def test_array_files_may_hold_other_numbers_and_other_orders(tmp_path):
    plain = arrays(tmp_path, pictures(12, colour=True)).images
    first = arrays(tmp_path, pictures(12, colour=True).transpose(0, 3, 1, 2)).images
    floats = arrays(tmp_path, pictures(12, colour=True) / 255).images
    assert np.array_equal(plain, first)
    assert np.abs(plain.astype(int) - floats).max() <= 1
    deep = arrays(tmp_path, pictures(12).astype(np.uint16) * 200).images
    assert (deep.min(), deep.max()) == (0, 255)


def test_array_files_may_name_their_classes(tmp_path):
    names = np.array([b"cat", b"dog"] * 6)
    assert arrays(tmp_path, pictures(12), names).class_names == ("cat", "dog")
    one_hot = np.eye(2)[np.arange(12) % 2]
    assert arrays(tmp_path, pictures(12), one_hot).class_names == ("0", "1")


def test_wrong_array_files_are_told_what_they_lack(tmp_path):
    np.savez(tmp_path / "set.npz", train_images=pictures(12))
    with pytest.raises(ValueError, match="no array 'train_labels'"):
        load_images(tmp_path / "set.npz")
    with pytest.raises(ValueError, match=r"have the shape \(12, 256\)"):
        arrays(tmp_path, pictures(12).reshape(12, -1))


def test_limits_near_the_ends_are_told_or_kept(tmp_path):
    assert len(load_images("digits", limit=1790).labels) == 1797  # one of each could not go
    with pytest.raises(ValueError, match="too low for 10 classes"):
        load_images("digits", limit=5)
    classes = {"a": pictures(100), "rare": pictures(5, seed=1)}
    with pytest.raises(ValueError, match=r"within the limit.* Raise it"):
        load_images(write_folder(tmp_path / "set", classes), limit=50)

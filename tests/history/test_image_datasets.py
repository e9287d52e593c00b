from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from optuna_metallmix import image_meta_features
from optuna_metallmix.history.image_datasets import MAX_IMAGES
from optuna_metallmix.history.image_datasets import labels_and_size
from optuna_metallmix.history.image_datasets import labels_of


LABELS = [0, 0, 0, 1]


class Items:
    """A dataset of (image, label) that counts how many images are read."""

    def __init__(self, images: list[Any], labels: list[Any]) -> None:
        self.pairs = list(zip(images, labels, strict=True))
        self.n_read = 0

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, place: int) -> Any:
        self.n_read += 1
        return self.pairs[place]


class Folder(Items):
    """Like ImageFolder of torchvision: the labels are available without reading an image."""

    def __init__(self, images: list[Any], labels: list[Any]) -> None:
        super().__init__(images, labels)
        self.targets = labels


def arrays(*shape: int, n: int = 4) -> list[np.ndarray[Any, Any]]:
    return [np.zeros(shape, np.uint8) for _ in range(n)]


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((20, 30), (20, 30, 1)),
        ((20, 30, 3), (20, 30, 3)),
        ((3, 20, 30), (20, 30, 3)),
        ((1, 20, 30), (20, 30, 1)),
        ((20, 30, 4), (20, 30, 4)),
    ],
)
def test_the_size_of_arrays(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    assert labels_and_size(Items(arrays(*shape), LABELS)) == (LABELS, size)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("I;16", 1)])
def test_the_size_of_pillow_s_images(mode: str, channels: int) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pictures = [image.new(mode, (30, 20)) for _ in LABELS]
    assert labels_and_size(Items(pictures, LABELS))[1] == (20, 30, channels)


def test_sizes_are_medians() -> None:
    images = [*arrays(10, 10, n=1), *arrays(20, 40, n=2), *arrays(90, 90, n=1)]
    assert labels_and_size(Items(images, LABELS))[1] == (20, 40, 1)


def test_rows_of_hugging_face() -> None:
    rows = [
        {"image": image, "label": label} for image, label in zip(arrays(8, 9), LABELS, strict=True)
    ]
    assert labels_and_size(rows) == (LABELS, (8, 9, 1))


def test_labels_of_medmnist_are_arrays_with_an_element() -> None:
    dataset = Folder(arrays(8, 8), LABELS)
    dataset.targets = np.array(LABELS)[:, np.newaxis]
    features = image_meta_features(dataset, modality="CT")
    assert (features["n_classes"], features["class_size_max"]) == (2, 3)
    assert features["modality"] == "CT"


def test_tensors_of_torch() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    data = torch.utils.data.TensorDataset(torch.zeros(4, 3, 16, 24), torch.tensor(LABELS))
    features = image_meta_features(torch.utils.data.Subset(data, [0, 1, 3]))
    assert features["n_instances"] == 3
    assert (features["image_height"], features["image_width"]) == (16, 24)
    assert (features["n_channels"], features["imbalance_ratio"]) == (3, 2.0)


def test_a_large_data_set_with_stored_labels_is_not_read_completely() -> None:
    n = 5 * MAX_IMAGES
    stored, unstored = (kind(arrays(4, 4, n=n), [0, 1] * (n // 2)) for kind in (Folder, Items))
    assert labels_and_size(stored) == labels_and_size(unstored)
    assert stored.n_read <= MAX_IMAGES < n <= unstored.n_read


def test_a_data_set_and_its_labels_give_the_same_features() -> None:
    dataset = Folder(arrays(8, 9, 3), LABELS)
    assert image_meta_features(dataset) == image_meta_features(LABELS, (8, 9, 3))


class Columns:
    """Like a Hugging Face dataset: rows by number, columns by name."""

    column_names: ClassVar = ["image", "fine_label"]

    def __init__(self, n: int) -> None:
        self.n, self.n_read = n, 0

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, key: int | str) -> Any:
        if key == "fine_label":
            return [i % 2 for i in range(self.n)]
        self.n_read += 1
        return {"image": np.zeros((4, 5)), "fine_label": int(key) % 2}


def test_rows_of_hugging_face_may_be_transformed() -> None:
    """With ``set_transform`` the rows have other keys than the columns."""

    class WithTransform(Columns):
        column_names: ClassVar = ["scan", "diagnosis"]

        def __getitem__(self, key: int | str) -> Any:
            return {"pixel_values": np.zeros((4, 5)), "labels": int(key) % 2}

    assert labels_and_size(WithTransform(4)) == ([0, 1, 0, 1], (4, 5, 1))
    assert labels_of(WithTransform(4)) == [0, 1, 0, 1]


def test_columns_and_subsets_have_labels_without_reading_images() -> None:
    columns = Columns(5 * MAX_IMAGES)
    assert labels_and_size(columns)[0][:4] == [0, 1, 0, 1]
    assert columns.n_read <= MAX_IMAGES
    torch = pytest.importorskip("torch", reason="torch is not installed")
    whole = Folder(arrays(4, 4, n=500), [0, 1] * 250)
    part = torch.utils.data.Subset(whole, range(0, 500, 2))
    assert labels_and_size(part)[0] == [0] * 250
    assert whole.n_read <= MAX_IMAGES


def test_stored_labels_that_are_not_those_of_the_items_are_not_used() -> None:
    """Training sees the items."""
    for targets in (LABELS * 2, LABELS[:2], [0, 1, 2, 3]):
        dataset = Folder(arrays(8, 8), LABELS)
        dataset.targets = targets
        assert labels_and_size(dataset)[0] == LABELS


def test_targets_before_a_target_transform_are_not_used() -> None:
    """As in the datasets of torchvision."""
    dataset = Folder(arrays(8, 8), LABELS)
    dataset.targets = [5, 6, 7, 8]
    dataset.target_transform = lambda label: int(label > 7)  # type: ignore[attr-defined]
    assert labels_of(dataset) == LABELS


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((5, 64, 60), (64, 60, 5)),
        ((64, 60, 13), (64, 60, 13)),
        ((3, 4, 3), (3, 4, 3)),
        ((2, 3), (2, 3, 1)),
    ],
)
def test_channels_are_the_shorter_axis(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    assert labels_and_size(Items(arrays(*shape), LABELS))[1] == size


def test_a_palette_has_three_channels() -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pictures = [image.new("P", (30, 20)) for _ in LABELS]
    assert labels_and_size(Items(pictures, LABELS))[1] == (20, 30, 3)


ONE_HOT = np.eye(2, dtype=int)[LABELS]


@pytest.mark.parametrize(
    "labels",
    [
        np.array(LABELS),
        np.array(LABELS)[:, np.newaxis],
        [[label] for label in LABELS],
        ONE_HOT,
        ONE_HOT.astype(float).tolist(),
        pd.Series(LABELS, index=[7, 8, 9, 10]),
        pd.Categorical(["a", "a", "a", "b"]),
        pd.DataFrame({"anything": LABELS}),
        pd.DataFrame({"path": ["1", "2", "3", "4"], "label": LABELS}),
        iter(LABELS),
        dict(enumerate(LABELS)).values(),
        [(image, label) for image, label in zip(arrays(2, 2), LABELS, strict=True)],
        [{"image": None, "label": label} for label in LABELS],
        [b"a", b"a", b"a", b"b"],
        [*"aaab"],
        [0.0, 0.0, 0.0, 1.0],
        [False, False, 0, True],
        Items(arrays(8, 8), LABELS),
        Folder(arrays(8, 8), LABELS),
    ],
)
def test_labels_come_in_many_forms(labels: Any) -> None:
    features = image_meta_features(labels, 28)
    assert (features["n_instances"], features["n_classes"]) == (4, 2)
    assert features["imbalance_ratio"] == 3.0


def test_labels_of_torch() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    tensor = torch.tensor(LABELS)
    data = torch.utils.data.TensorDataset(torch.zeros(4, 3, 16, 24), tensor)
    loader = torch.utils.data.DataLoader(data, batch_size=2)
    for labels in (tensor, tensor[:, None], torch.eye(2)[tensor].requires_grad_(), data):
        assert labels_of(labels) == LABELS
    assert labels_of(torch.utils.data.Subset(data, [3, 0])) == [1, 0]
    with pytest.raises(ValueError, match=r"shape \(2, 3, 16, 24\)"):
        labels_of(loader)  # batches, not images
    with pytest.raises(ValueError, match="This DataLoader is not a dataset"):
        labels_and_size(loader)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("aaab", "'aaab' is not a dataset or a list"),
        (Path("images"), "is not a dataset or a list"),
        ({"cat": 3, "dog": 1}, r"\[label for label, n in counts.items\(\)"),
        ({0, 1}, "A set is not a dataset"),
        ([0.0, math.nan], "label of image 1 is nan"),
        (pd.Series(["a", None, "b"]).astype(object).where([True, False, True]), "image 1 is "),
        (["a", "nan"], "label of image 1 is 'nan'"),
        (["a", " "], "label of image 1 is ' '"),
        (["<NA>", "a"], "label of image 0 is '<NA>'"),
        (pd.Series([*"aab"]).value_counts(), "number of images by class"),
        (pd.DataFrame({"label": [*"aab"]}).groupby("label").size(), "number of images by class"),
        (["a", None], "label of image 1 is None"),
        (pd.Series([1, None], dtype="Int64"), "label of image 1 is <NA>"),
        (np.ma.array([1, 2], mask=[False, True]), "label of image 1 is None"),
        ([[0, 1], [1], [2]], r"labels such as \[0, 1\] images do not have one class"),
        ([[0, 1], [1, 1]], "images do not have one class"),
        ([1, [0, 1]], "images do not have one class"),
        ([[], []], "images do not have one class"),
        (np.array([[0.1, 0.9], [0.8, 0.2]]), r"argmax\(axis=1\)"),
        (np.array([0.1, 0.9]), "label of image 0 is 0.1"),
        (np.zeros((4, 28, 28)), r"Labels of shape \(28, 28\)"),
        (["cat/1.png", "dog/2.png"], "label of image 0 is 'cat/1.png'"),
        ([Path("1")], "label of image 0 is"),
        (["0", 0], "Some labels are text"),
        (pd.DataFrame({"a": LABELS, "b": LABELS}), r"which of the columns \['a', 'b'\]"),
        (pd.DataFrame({"label": LABELS, "target": LABELS}), "which of the columns"),
        (pd.DataFrame(np.ones((2, 2)), columns=["label", "label"]), "which of the columns"),
        (pd.DataFrame(), "which of the columns"),
        ([{"image": None, "kind": 1}], "Item 0 has no label .* only image, kind"),
        (5, "This int has no labels"),
        (None, "This NoneType has no labels"),
        (np.array(5), "is not a dataset or a list"),
    ],
)
def test_labels_that_are_not_one_class_of_each_image_are_an_error(
    labels: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        image_meta_features(labels, 28)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([(np.zeros((4, 4)),)], r"Item 0 is .* not \(image, label\)"),
        ([np.zeros((3, 4, 4))], r"Item 0 is .* not \(image, label\)"),
        ([{"image": np.zeros((4, 4)), "caption": "a cat"}], "only image, caption"),
        ([{"picture": 1}], "no image or img or pixel_values, only picture"),
        ([(np.zeros((4, 4)), [0, 1]), (np.zeros((4, 4)), [1, 1])], "do not have one class"),
        ([(np.zeros((4, 4)), np.zeros((4, 4)))], r"Labels of shape \(4, 4\)"),
        ([(np.zeros((4, 4)), {"boxes": []})], "label of image 0 is"),
        ([(1, np.zeros((4, 4)))], "image of item 0 is 1"),
        ([(np.zeros((4, 4)), 1), (None, 0)], "image of item 1 is None"),
        ([("1.png", 1)], "image of item 0 is '1.png'"),
        ([(np.zeros(16), 1)], r"image of item 0 is of shape \(16,\)"),
        ([(np.zeros((0, 16)), 1)], "image of item 0 is of shape"),
        ([(np.zeros((16, 16, 16)), 1)], r"of shape \(16, 16, 16\)"),
        ([(np.zeros((1, 8, 8, 8)), 1)], r"of shape \(1, 8, 8, 8\)"),
    ],
)
def test_items_that_are_not_an_image_with_a_class_are_an_error(items: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image_meta_features(items)


@pytest.mark.parametrize("error", [OSError, RuntimeError, SyntaxError, KeyError])
def test_an_item_that_cannot_be_read_is_named(error: type[Exception]) -> None:
    class Broken(Items):
        def __getitem__(self, place: int) -> Any:
            if place == 2:
                raise error("image file is truncated")
            return super().__getitem__(place)

    with pytest.raises(ValueError, match=f"Item 2 .*{error.__name__}.*truncated.* Repair or rem"):
        image_meta_features(Broken(arrays(4, 4), LABELS))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "bmp"])
def test_a_picture_whose_data_are_cut_off_is_named(tmp_path: Path, suffix: str) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"cut.{suffix}"
    image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with image.open(path) as cut, pytest.raises(ValueError, match=r"Item 1 of .* cannot be read"):
        image_meta_features(Items([image.new("RGB", (9, 9)), cut], [0, 1]))


def test_arrow_arrays() -> None:
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    assert labels_of(arrow.array(LABELS)) == LABELS
    with pytest.raises(ValueError, match="label of image 1 is None"):
        labels_of(arrow.array([1, None]))


@pytest.mark.parametrize(
    "wrong",
    [LABELS, (n for n in LABELS), "images/", {"train": 1}, [(1, 2)], pd.DataFrame({"a": [1]})],
)
def test_other_objects_are_an_error(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"[Pp]ass "):
        image_meta_features(wrong)


def test_an_empty_data_set_is_an_error() -> None:
    with pytest.raises(ValueError, match="is empty"):
        image_meta_features(Items([], []))

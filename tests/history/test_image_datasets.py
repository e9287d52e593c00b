from __future__ import annotations

from typing import Any
from typing import ClassVar

import numpy as np
import pytest

from optuna_metallmix import image_meta_features
from optuna_metallmix.history.meta_features import MAX_IMAGES
from optuna_metallmix.history.meta_features import labels_and_size


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


def test_columns_and_subsets_have_labels_without_reading_images() -> None:
    columns = Columns(5 * MAX_IMAGES)
    assert labels_and_size(columns)[0][:4] == [0, 1, 0, 1]
    assert columns.n_read <= MAX_IMAGES
    torch = pytest.importorskip("torch", reason="torch is not installed")
    whole = Folder(arrays(4, 4, n=500), [0, 1] * 250)
    part = torch.utils.data.Subset(whole, range(0, 500, 2))
    assert labels_and_size(part)[0] == [0] * 250
    assert whole.n_read <= MAX_IMAGES


@pytest.mark.parametrize(
    "strange",
    [
        [(np.zeros((4, 4)),)],
        [{"image": np.zeros((4, 4)), "caption": "a cat"}],
        [(np.zeros((4, 4)), [0, 1])],
        [(np.zeros((4, 4)), np.array([0, 1]))],
    ],
)
def test_labels_of_another_type_are_an_error(strange: Any) -> None:
    with pytest.raises(ValueError, match="is neither"):
        image_meta_features(strange)


@pytest.mark.parametrize(
    "wrong", [LABELS, (n for n in LABELS), "images/", [{"picture": 1}], [(1, 2)], None]
)
def test_other_objects_are_an_error(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"image_size=\(height, width\), or a dataset"):
        image_meta_features(wrong)


def test_an_empty_data_set_is_an_error() -> None:
    with pytest.raises(ValueError, match="is empty"):
        image_meta_features(Items([], []))

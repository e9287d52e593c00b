import io

import numpy as np
import pandas as pd
import pytest


pytest.importorskip("sklearn", reason="the loaders split with scikit-learn (extra `torch`)")
Image = pytest.importorskip("PIL.Image", reason="the loaders read with Pillow (extra `torch`)")

from pictures import arrays  # noqa: E402
from pictures import pictures  # noqa: E402
from pictures import write_folder  # noqa: E402
from pictures import write_parquet  # noqa: E402
from pictures import write_parts  # noqa: E402

from image_data import load_images  # noqa: E402


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


def test_a_wrong_source_is_told_what_would_be_right(tmp_path):
    with pytest.raises(ValueError, match="Name a folder"):
        load_images(tmp_path / "absent")
    with pytest.raises(ValueError, match="into its own sub-folder"):
        load_images(tmp_path)


def test_sub_folders_of_a_class_belong_to_it(tmp_path):
    path = write_folder(tmp_path / "set", {"a": pictures(6), "b": pictures(6, seed=1)})
    write_folder(path / "a", {"patient 7": pictures(4, seed=2)})
    data = load_images(path)
    assert data.class_names == ("a", "b")
    assert np.bincount(data.labels).tolist() == [10, 6]


def test_broken_pictures_are_named(tmp_path):
    path = write_folder(tmp_path / "set", {"a": pictures(6), "b": pictures(6, seed=1)})
    (path / "a" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(ValueError, match=r"1 of 13 images cannot be read: .*broken\.png"):
        load_images(path)


def encoded(kind, mode="RGB", **options):
    buffer = io.BytesIO()
    Image.fromarray(pictures(1, side=64, colour=True)[0]).convert(mode).save(
        buffer, kind, **options
    )
    return buffer.getvalue()


FORMATS = {
    "jpg": encoded("JPEG"),
    "jpeg": encoded("JPEG", progressive=True),
    "png": encoded("PNG"),
    "tif": encoded("TIFF", compression="tiff_lzw"),
    "tiff": encoded("TIFF", "F"),
    "bmp": encoded("BMP"),
    "gif": encoded("GIF"),
    "webp": encoded("WEBP"),
    "ppm": encoded("PPM"),
    "pgm": encoded("PPM", "L"),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # as Pillow calls it
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9])
def test_truncated_pictures_are_named_in_any_format(tmp_path, share):
    """The head of most of them is intact, so that only decoding them fails."""
    path = write_folder(tmp_path / "set", {"a": pictures(6), "b": pictures(6, seed=1)})
    for suffix, data in FORMATS.items():
        name = path / "a" / f"cut.{suffix}"
        name.write_bytes(data)
        load_images(path, side=8)
        name.write_bytes(data[: int(share * len(data))])
        with pytest.raises(ValueError, match=rf"1 of 13 images cannot be read: .*cut\.{suffix}"):
            load_images(path, side=8)
        name.unlink()


def test_truncated_pictures_in_a_table_are_named_by_their_rows(tmp_path):
    whole = FORMATS["jpg"]
    cells = [{"bytes": whole, "path": None} for _ in range(12)]
    cells[3] = {"bytes": whole[:800], "path": None}
    cells[5] = {"bytes": None, "path": "elsewhere.jpg"}
    cells[8] = None
    table = pd.DataFrame({"image": cells, "label": [0, 1] * 6})
    table.to_parquet(tmp_path / "set.parquet")
    with pytest.raises(ValueError, match="3 of 12 images cannot be read: row 3, row 5, row 8"):
        load_images(tmp_path / "set.parquet")
    table["image"] = "folder/1.jpg"
    table.to_parquet(tmp_path / "set.parquet")
    with pytest.raises(ValueError, match="12 of 12 images cannot be read: row 0, row 1"):
        load_images(tmp_path / "set.parquet")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_tables_and_array_files_are_named(tmp_path, share):
    write_parquet(tmp_path / "set.parquet", pictures(12), ["a", "b"] * 6)
    arrays(tmp_path, pictures(12))
    for name in ("set.parquet", "set.npz"):
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: int(share * len(data))])
        with pytest.raises(ValueError, match=rf"{name}' cannot be read .*complete copy"):
            load_images(tmp_path / name)


def test_array_files_that_hold_something_else_are_named(tmp_path):
    path = tmp_path / "set.npz"
    ragged = np.array([np.zeros((2, 2)), np.zeros((3, 3))], dtype=object)
    np.savez(path, images=ragged, labels=np.arange(2))
    with pytest.raises(ValueError, match=r"set.npz' cannot be read .*Object arrays"):
        load_images(path)
    with path.open("wb") as file:
        np.save(file, pictures(4))
    with pytest.raises(ValueError, match=r"set.npz' cannot be read"):
        load_images(path)
    with pytest.raises(ValueError, match="12 images, but 4 labels"):
        arrays(tmp_path, pictures(12), np.arange(4))


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
    with pytest.raises(ValueError, match=r"no column of encoded images, only x, label"):
        load_images(tmp_path / "set.parquet")


@pytest.mark.parametrize("side", [64, 224])
def test_images_are_as_large_as_asked_for(tmp_path, side):
    path = write_folder(tmp_path / "set", {"a": pictures(6), "b": pictures(6, seed=1)})
    assert load_images(path, side=side).images.shape == (12, side, side, 3)


def test_what_systems_and_editors_leave_is_no_class(tmp_path):
    path = write_folder(tmp_path / "set", {"a": pictures(6), "b": pictures(6, seed=1)})
    for name in (".ipynb_checkpoints", "__MACOSX"):
        write_folder(path, {name: pictures(6, seed=2)})
    (path / "a" / "._0.png").write_bytes(b"no picture")
    (path / "a" / "notes.pdf").write_bytes(b"no picture")
    Image.fromarray(pictures(1)[0]).save(path / "overview.png")
    data = load_images(path)
    assert (data.class_names, len(data.labels)) == (("a", "b"), 12)


@pytest.mark.parametrize("name", ["0.heic", "0.dcm", "IM0001", "scan.nii.gz", "0.PNG.part"])
def test_a_class_with_files_of_unknown_kinds_only_is_named(tmp_path, name):
    path = write_folder(tmp_path / "set", {"a": pictures(6), "b": pictures(6, seed=1)})
    (path / "raw" / "patient 7").mkdir(parents=True)
    (path / "empty").mkdir()
    assert load_images(path).class_names == ("a", "b")
    (path / "raw" / "patient 7" / name).write_bytes(b"a picture")
    with pytest.raises(ValueError, match=r"1 of 3 class folders .*'raw' \(1 such as ") as error:
        load_images(path)
    assert name in str(error.value)
    Image.fromarray(pictures(1, seed=9)[0]).save(path / "raw" / "0.PNG")
    with pytest.raises(ValueError, match=r"'raw' .* has 1 distinct images"):
        load_images(path)


def test_no_class_with_files_of_a_known_kind_is_named(tmp_path):
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "0.heic").write_bytes(b"a picture")
    with pytest.raises(ValueError, match=r"2 of 2 class folders .*'a' \(1 .*; 'b' \(1 "):
        load_images(tmp_path / "set")


def test_a_class_of_a_part_with_files_of_unknown_kinds_only_is_named(tmp_path):
    classes = {"a": pictures(10), "b": pictures(10, seed=1)}
    path = write_parts(tmp_path / "set", train=classes)
    (path / "annotations").mkdir()
    (path / "annotations" / "boxes.xml").write_text("<xml/>")
    assert load_images(path).class_names == ("a", "b")
    (path / "test" / "a").mkdir(parents=True)
    (path / "test" / "a" / "0.heic").write_bytes(b"a picture")
    with pytest.raises(ValueError, match=r"1 of 3 class folders .*'test/a' \(1 such as '0.heic'"):
        load_images(path)


def test_a_picture_beside_the_parts_changes_nothing(tmp_path):
    path = write_parts(
        tmp_path / "set",
        train={"a": pictures(10), "b": pictures(10, seed=1)},
        test={"a": pictures(5, seed=2), "b": pictures(5, seed=3)},
    )
    Image.fromarray(pictures(1)[0]).save(path / "overview.png")
    assert load_images(path).class_names == ("a", "b")
    write_folder(path, {"more": pictures(5, seed=4)})
    with pytest.raises(ValueError, match="but also 'more'"):
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
    with pytest.raises(ValueError, match=r"have shape \(12, 256\)"):
        arrays(tmp_path, pictures(12).reshape(12, -1))

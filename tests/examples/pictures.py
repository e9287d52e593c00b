"""Image sets of noise, in the forms that people keep theirs."""

import io

import numpy as np
import pandas as pd
from PIL import Image

from image_data import load_images


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


def write_parts(path, **parts):
    for part, classes in parts.items():
        write_folder(path / part, classes)
    return path


def parts(data):
    return {"train": data.train, "validation": data.validation, "test": data.test}


def arrays(tmp_path, images, labels=None):
    labels = np.arange(len(images)) % 2 if labels is None else labels
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    return load_images(tmp_path / "set.npz")

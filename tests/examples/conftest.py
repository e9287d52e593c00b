"""examples/ is a folder of scripts, not a package: put it where a script finds its siblings."""

import sys
from pathlib import Path

import pytest


EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path[:0] = [str(EXAMPLES), str(Path(__file__).parent)]


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tiny tensors gain nothing from threads, and lose much where another process is busy."""
    torch = pytest.importorskip("torch", reason="the example needs the extra `torch`")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits():
    pytest.importorskip("sklearn", reason="the example's data needs the extra `torch`")
    from image_data import load_images

    return load_images("digits", limit=120)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    """Features are computed once for all tests, as they are for all trials."""
    return tmp_path_factory.mktemp("features")

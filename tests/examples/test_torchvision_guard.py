"""Each test has an interpreter of its own: an import can be mended only once."""

import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest


pytest.importorskip("torch", reason="the guard stands between torch and torchvision")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def import_timm(folder, code="print(import_timm().__name__)"):
    """Call the guard in a fresh interpreter that finds `folder` before any installed package."""
    prepared = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(EXAMPLES)!r}]\n"
    script = f"{prepared}from torchvision_guard import import_timm\n{code}"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)


def write(path, code):
    path.write_text(textwrap.dedent(code))


BROKEN = """
    import torch
    if not hasattr(torch.ops.torchvision, "nms"):
        raise RuntimeError("operator torchvision::nms does not exist")
    """


def test_the_known_error_is_mended(tmp_path):
    write(tmp_path / "timm.py", BROKEN)
    run = import_timm(tmp_path)
    assert run.stdout == "timm\n", run.stderr


HALF = """
    import torch
    mended = hasattr(torch.ops.torchvision, "nms")
    """

BROKEN_BY_ITS_HALF = """
    from torchvision.half import mended
    if not mended:
        raise RuntimeError("operator torchvision::nms does not exist")
    """


def test_what_a_failed_import_left_behind_is_not_picked_up(tmp_path):
    (tmp_path / "torchvision").mkdir()
    write(tmp_path / "torchvision" / "half.py", HALF)
    write(tmp_path / "torchvision" / "__init__.py", BROKEN_BY_ITS_HALF)
    write(tmp_path / "timm.py", "import torchvision")
    run = import_timm(tmp_path)
    assert run.stdout == "timm\n", run.stderr


@pytest.mark.parametrize(
    "error", ['RuntimeError("operator torchvision::roi_align does not exist")', "ImportError()"]
)
def test_any_other_error_is_left_alone(tmp_path, error):
    write(tmp_path / "timm.py", f"raise {error}")
    run = import_timm(
        tmp_path,
        "import torch\n"
        "try:\n"
        "    import_timm()\n"
        "except (RuntimeError, ImportError):\n"
        "    print(hasattr(torch.ops.torchvision, 'nms'))",
    )
    assert run.stdout == "False\n", run.stderr


def test_a_sound_timm_is_imported_without_declaring_anything(tmp_path):
    write(tmp_path / "timm.py", "")
    run = import_timm(
        tmp_path, "import_timm(); import torchvision_guard; print(torchvision_guard._declared)"
    )
    assert run.stdout == "[]\n", run.stderr


def test_the_real_timm_can_be_imported(tmp_path):
    if find_spec("timm") is None:
        pytest.skip("timm is not installed (extra `torch`)")
    run = import_timm(tmp_path, "print(import_timm().is_model('tf_efficientnet_lite0'))")
    assert run.stdout == "True\n", run.stderr

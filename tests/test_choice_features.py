from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from optuna_metallmix import _choice_features
from optuna_metallmix._choice_features import Network
from optuna_metallmix._choice_features import stand_in


ROOT = Path(__file__).resolve().parents[1]


def _forget() -> None:
    for one in (_choice_features._timm, _choice_features._network, stand_in):
        one.cache_clear()


def _skip_without_timm() -> None:
    """Look only: importing torchvision beside another build of torch breaks it."""
    for name in ("torch", "torchvision", "timm"):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed")


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    _forget()
    yield
    _forget()


@pytest.fixture(scope="module")
def timm() -> ModuleType:
    """The real one, mended as the examples mend it."""
    _skip_without_timm()
    sys.path.append(str(ROOT / "examples"))
    guard = importlib.import_module("torchvision_guard")
    loaded: ModuleType = guard.import_timm()
    return loaded


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(_choice_features._logger, "info", lines.append)
    return lines


NETWORKS = ("beit_large_patch16_512", "dla46x_c", "edgenext_small", "tf_efficientnet_b6_ns")


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("name", "kin"),
    [
        ("tf_efficientnet_b7_ns", "tf_efficientnet_b6_ns"),  # both names are deprecated
        ("beit_base_patch16_384", "beit_large_patch16_512"),
        ("edgenext_x_small", "edgenext_small"),
        ("mobilevit_xxs", "dla46x_c"),  # of its size, though not of its family
    ],
)
def test_a_network_is_taken_for_the_one_most_like_it(name: str, kin: str, said: list[str]) -> None:
    seen = frozenset({*NETWORKS, "(not active)", "no_network", "word"})
    assert stand_in(name, seen) == kin
    assert stand_in(name, seen) == kin
    assert said == [
        f"No past trial has {name!r}: it is taken for {kin!r}, the network most like it."
    ]


@pytest.mark.usefixtures("timm")
def test_pretraining_tells_networks_apart() -> None:
    seen = frozenset({"convnext_tiny.fb_in1k", "convnext_tiny.fb_in22k_ft_in1k"})
    assert stand_in("convnext_tiny.fb_in22k", seen) == "convnext_tiny.fb_in22k_ft_in1k"
    assert stand_in("convnext_small.fb_in1k", seen) == "convnext_tiny.fb_in1k"


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize("name", ["resnet_of_mine", "resnet50.no_such_tag"])
def test_what_timm_does_not_know_is_unknown(name: str) -> None:
    assert stand_in(name, frozenset(NETWORKS)) == name
    assert stand_in("dla46_c", frozenset({name})) == "dla46_c"


def test_describing_moves_no_random_number(timm: ModuleType) -> None:
    torch = importlib.import_module("torch")
    state = torch.get_rng_state()
    network = _choice_features._network(timm, "xcit_nano_12_p8_384_dist")
    assert network == Network(3_049_016, 384, "xcit", "in1k")
    assert (torch.get_rng_state() == state).all()
    assert torch.empty(1).device.type == "cpu"


@pytest.mark.parametrize(
    ("label", "seen"),
    [
        ("lion", {"adam", "sgd"}),
        ("null", {"resnet50"}),
        ("resnet50", {"small", "large"}),
        ("hf-hub:someone/resnet50", {"resnet50"}),
        ("16", {"32", "auto"}),
    ],
)
def test_what_looks_like_no_network_never_loads_timm(
    monkeypatch: pytest.MonkeyPatch, label: str, seen: set[str]
) -> None:
    monkeypatch.setattr(_choice_features, "_timm", lambda: pytest.fail("timm is asked"))
    assert stand_in(label, frozenset(seen)) == label


def test_without_timm_a_choice_is_unknown(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    for name in ("resnet18", "resnet34"):
        assert stand_in(name, frozenset({"resnet50"})) == name
    assert len(said) == 1
    assert "Install or mend it" in said[0]


def test_a_broken_timm_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "timm").mkdir()
    (tmp_path / "timm" / "part.py").touch()
    broken = "import timm.part\nraise RuntimeError('operator torchvision::nms does not exist')"
    (tmp_path / "timm" / "__init__.py").write_text(broken, encoding="utf-8")
    for name in [one for one in sys.modules if one.split(".")[0] == "timm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    assert stand_in("resnet18", frozenset({"resnet50"})) == "resnet18"
    assert len(said) == 1
    assert "operator torchvision::nms does not exist" in said[0]
    assert [one for one in sys.modules if one.split(".")[0] == "timm"] == []


class _Puzzling(ModuleType):
    """A timm that knows a name, and can make nothing of it."""

    def is_model(self, name: str) -> bool:
        return True

    def create_model(self, name: str, *, pretrained: bool) -> None:
        raise NotImplementedError("Cannot copy out of meta tensor")


def test_a_timm_that_knows_only_part_does_not_stop_it(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(_choice_features, "_timm", lambda: _Puzzling("timm"))
    assert stand_in("resnet18", frozenset({"resnet50"})) == "resnet18"
    assert said == [
        "timm cannot describe 'resnet18' (NotImplementedError: Cannot copy out of meta tensor)."
    ]


def test_the_objective_can_still_mend_what_failed_here() -> None:
    """In a process of its own, where neither torchvision nor timm has been loaded."""
    _skip_without_timm()
    code = (
        "from optuna_metallmix._choice_features import stand_in\n"
        "print(stand_in('resnet18', frozenset({'resnet34', 'dla46x_c'})))\n"
        "from torchvision_guard import import_timm\n"
        "print(import_timm().is_model('resnet18'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'examples'}"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout.split()[0] in ("resnet18", "resnet34")
    assert done.stdout.split()[1] == "True"

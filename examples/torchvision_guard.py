"""a torch without CUDA beside a torchvision with it -> timm, imported all the same.

torchvision's wheel on the package index is a CUDA build. Beside a CPU build of torch its compiled
half does not load, and its Python half then dies with "operator torchvision::nms does not exist".
timm imports it for image transforms alone and never calls `nms`, so declaring the operator is
enough. This file does so only after that very error, and is the only one that knows about it: call
`import_timm` wherever `import timm` would stand.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

import torch


if TYPE_CHECKING:
    from types import ModuleType


_SYMPTOM = "operator torchvision::nms does not exist"
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

# A library takes its operators back when it is collected, so it has to be held.
_declared: list[torch.library.Library] = []


def import_timm() -> ModuleType:
    """Import timm, mending torchvision first where it is broken in the one known way."""
    try:
        return importlib.import_module("timm")
    except RuntimeError as error:
        if _SYMPTOM not in str(error):
            raise
    _forget("timm", "torchvision")
    _declare_operators()
    return importlib.import_module("timm")


def _forget(*packages: str) -> None:
    """A failed import leaves half of a package behind, which the next import would pick up."""
    for name in [name for name in sys.modules if name.split(".")[0] in packages]:
        del sys.modules[name]


def _declare_operators() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(operator + _SIGNATURE)  # type: ignore[no-untyped-call]
    _declared.append(library)

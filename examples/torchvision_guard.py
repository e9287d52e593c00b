"""Import timm where torch has no CUDA but torchvision is a CUDA build.

torchvision's wheel on the package index is a CUDA build. With a CPU build of torch its compiled
part does not load, and its Python part fails with "operator torchvision::nms does not exist". timm
imports torchvision only for image transforms and never calls `nms`, so declaring the operator is
enough. This module does so only after this exact error. Call `import_timm()` instead of
`import timm`.
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

# A library removes its operators when it is garbage-collected.
_declared: list[torch.library.Library] = []


def import_timm() -> ModuleType:
    """Import timm, after declaring torchvision's missing operators if necessary."""
    try:
        return importlib.import_module("timm")
    except RuntimeError as error:
        if _SYMPTOM not in str(error):
            raise
    _forget("timm", "torchvision")
    _declare_operators()
    return importlib.import_module("timm")


def _forget(*packages: str) -> None:
    """Remove the modules that a failed import left behind, before importing again."""
    for name in [name for name in sys.modules if name.split(".")[0] in packages]:
        del sys.modules[name]


def _declare_operators() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(operator + _SIGNATURE)  # type: ignore[no-untyped-call]
    _declared.append(library)

"""a choice no past trial has -> the past choice most like it, by what timm knows of networks.

A model of the past can say nothing of a name it never saw. Where the name is a network that timm
knows, it is taken for the most similar one that has been tried. That orders unseen networks
better, and leaves the first pick's regret as it was: benchmarks/results/unseen.md. (What timm
knows as columns of the meta-learner's own measured no better: rank correlation with the true order
.795, this .801, an unseen name as it is .758; Quick-Tune, 3 of 24 networks held out at a time, one
seed, 2026-11.) timm is optional, and is imported only where there is such a name among names of
its kind.
"""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from functools import lru_cache
from math import log2
from types import ModuleType
from typing import Any

import optuna


_logger = optuna.logging.get_logger("optuna.metallmix")

_NAME = re.compile(r"(?=.*[\d_])[a-z][a-z0-9]*(_[a-z0-9]+)*(\.[a-z0-9_]+)?")
"""What timm's names look like, with or without their pretrained tag: all but two of its 1,371."""
_DATA = re.compile(r"in\d+k|jft|laion|lvd|webli|datacomp|openai|metaclip|ig1b|yfcc")
"""The data a network was pretrained on, as timm's tags abbreviate it; the first one named counts,
since what follows is what it was fine-tuned on."""


@dataclass(frozen=True)
class Network:
    """What timm knows of a network.

    Attributes:
        n_parameters: How many weights it has.
        side: Height and width of its images, in pixels.
        family: timm's module of its kind, such as ``"beit"``.
        pretraining: The data of its weights, such as ``"in22k"``; ``""`` where it has none.
    """

    n_parameters: int
    side: int
    family: str
    pretraining: str

    def distance(self, other: Network) -> float:
        """Return how unlike two networks are, in doublings of their weights or of their pixels.

        Another family or other pretraining counts as one doubling.
        """
        return (
            abs(log2(self.n_parameters / other.n_parameters))
            + abs(log2(self.side**2 / other.side**2))
            + (self.family != other.family)
            + (self.pretraining != other.pretraining)
        )


@lru_cache(256)
def stand_in(label: str, seen: frozenset[str]) -> str:
    """Return the label in ``seen`` that is most like ``label``, which is not among them.

    Returns ``label`` itself where nothing is known of it; never raises.
    """
    names = sorted(one for one in seen if _NAME.fullmatch(one))
    if not names or not _NAME.fullmatch(label):
        return label
    timm = _timm()
    network = timm and _network(timm, label)
    if network is None:
        return label
    away = {name: network.distance(one) for name in names if (one := _network(timm, name))}
    if not away:
        return label
    like = min(away, key=lambda name: away[name])
    _logger.info(
        f"No past trial has {label!r}: it is taken for {like!r}, the network most like it."
    )
    return like


@cache
def _timm() -> ModuleType | None:
    """Import timm; a failure is told, and not tried again."""
    before = set(sys.modules)
    try:
        return importlib.import_module("timm")
    except Exception as error:  # beside another build of torch, torchvision raises RuntimeError
        _forget(set(sys.modules) - before)
        _logger.info(
            "Networks that no past trial has are treated as unknown, because timm cannot be used "
            f"({type(error).__name__}: {error}). Install or mend it to have them described."
        )
    return None


def _forget(modules: Iterable[str]) -> None:
    """Take back what a failed import has left: the objective may import it in a better way."""
    for name in modules:
        if name.split(".")[0] in ("timm", "torchvision"):
            del sys.modules[name]


@cache
def _network(timm: Any, name: str) -> Network | None:
    """Describe a network; no weights are made, nor fetched."""
    try:
        if not timm.is_model(name):
            return None
        with warnings.catch_warnings(), importlib.import_module("torch").device("meta"):
            warnings.simplefilter("ignore")  # a name that timm calls deprecated is known as well
            model = timm.create_model(name, pretrained=False)
        about = model.pretrained_cfg
        maker = timm.model_entrypoint(about["architecture"])
        return Network(
            n_parameters=sum(one.numel() for one in model.parameters()),
            side=about["input_size"][-1],
            family=maker.__module__.rsplit(".", 1)[-1],
            pretraining=_pretraining(about.get("tag") or ""),
        )
    except Exception as error:  # other people's code, asked for a courtesy
        _logger.info(f"timm cannot describe {name!r} ({type(error).__name__}: {error}).")
        return None


def _pretraining(tag: str) -> str:
    found = _DATA.search(tag)
    return found[0] if found else tag

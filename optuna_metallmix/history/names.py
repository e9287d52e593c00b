"""Find names of studies that do not exist, and parameters that were renamed.

A past study may have a parameter of the objective under an earlier name. Aliases map past names to
present ones; close names are found so that a missing alias can be pointed out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping
from difflib import SequenceMatcher
from difflib import get_close_matches
from typing import TypeVar

from optuna_metallmix.history.scores import UnusableStudyError
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import is_ordered


_T = TypeVar("_T")

MIN_RATIO = 0.8
"""Similarity of close names, in [0, 1]: `max_depth` and `min_depth` have .78."""

_SYNONYMS = [
    set(line.split())
    for line in (
        "lr learningrate eta stepsize",
        "wd weightdecay",
        "bs batchsize batch minibatchsize",
        "nestimators numboostround nrounds numround iterations niterations numiterations ntrees "
        "numtrees niter",
        "epochs nepochs numepochs maxepochs",
        "maxdepth depth treedepth",
        "numleaves maxleaves maxleafnodes",
        "dropout dropoutrate droprate dropoutprob",
        "reglambda lambda lambdal2 l2leafreg l2regularization",
        "regalpha lambdal1",
        "subsample baggingfraction",
        "colsamplebytree featurefraction rsm",
        "minchildweight minsumhessianinleaf",
        "gamma minsplitloss mingaintosplit",
        "hiddensize hiddenunits hiddendim nunits numunits units nhidden",
        "nlayers numlayers layers nblocks numblocks",
        "optimizer optim opt",
        "activation act actfn activationfunction",
        "scheduler schedule lrschedule lrscheduler",
    )
]
"""Names of the same parameter in scikit-learn, XGBoost, LightGBM, CatBoost and training scripts,
without separators and case."""


def unknown_names(names: Iterable[str], present: Iterable[str]) -> str:
    """List the names that are not in ``present``, each with close ones; empty if there are none.

    Returns:
        Such as ``"'chest-tc' (did you mean 'chest-ct'?), 'bone'"``.
    """
    known = set(present)
    by_lower = {name.lower(): name for name in sorted(known)}
    shown = []
    for name in dict.fromkeys(name for name in names if name not in known):
        near = get_close_matches(name.lower(), by_lower, n=2)
        hint = " or ".join(repr(by_lower[match]) for match in near)
        shown.append(f"{name!r} (did you mean {hint}?)" if hint else repr(name))
    return ", ".join(shown)


def check_aliases(aliases: Mapping[str, str] | None) -> dict[str, str]:
    """Return a copy of ``aliases``, empty if there are none.

    Raises:
        TypeError: They do not map strings to strings.
        ValueError: A name is empty, or both a past and a present one.
    """
    if aliases is None:
        return {}
    is_text = isinstance(aliases, Mapping) and all(
        isinstance(name, str) for pair in aliases.items() for name in pair
    )
    if not is_text:
        raise TypeError(
            f"aliases={aliases!r} must map past names of parameters to present ones, such as "
            '{"lr": "learning_rate"}.'
        )
    if not all(name.strip() for pair in aliases.items() for name in pair):
        raise ValueError(f"aliases={dict(aliases)!r} has an empty name. Leave it out.")
    if both := [present for present in aliases.values() if present in aliases]:
        raise ValueError(
            f"aliases={dict(aliases)!r}: {both[0]!r} is both a past and a present name. Map each "
            "past name to the name that your objective uses now."
        )
    return dict(aliases)


def rename(values: Mapping[str, _T], aliases: Mapping[str, str]) -> dict[str, _T]:
    """Return values by the present names of their parameters.

    Raises:
        UnusableStudyError: Two parameters have the same present name.
    """
    renamed: dict[str, str] = {}
    for name in values:
        present = aliases.get(name, name)
        if present in renamed:
            raise UnusableStudyError(
                f"it has a trial with both {renamed[present]!r} and {name!r}, which have the same "
                f"name {present!r} by `aliases`"
            )
        renamed[present] = name
    return {present: values[name] for present, name in renamed.items()}


def find_renamed(space: SearchSpace, past: SearchSpace) -> dict[str, str]:
    """Return the parameters of ``space`` that may be renamed past ones, as aliases.

    Only parameters without a past, and past ones that are not in ``space``, can be. Each is used
    once, the closest names first.
    """
    pairs = [
        (closeness, old, new)
        for new in space.keys() - past.keys()
        for old in past.keys() - space.keys()
        if is_ordered(space[new]) == is_ordered(past[old])
        and (closeness := _closeness(old, new)) >= MIN_RATIO
    ]
    aliases: dict[str, str] = {}
    for _, old, new in sorted(pairs, key=lambda pair: (-pair[0], pair[1:])):
        if old not in aliases and new not in aliases.values():
            aliases[old] = new
    return aliases


def describe_renamed(aliases: Mapping[str, str]) -> str:
    """Say which parameters may have been renamed, and what to pass if they were."""
    new, old = (" and ".join(map(repr, names)) for names in (aliases.values(), aliases))
    return (
        f"past studies have no parameter {new}, but {old}. If this is the same under an earlier "
        f"name, pass aliases={dict(aliases)!r}, so that its past values are used."
    )


def _closeness(first: str, second: str) -> float:
    """Return the similarity of two names of parameters, in [0, 1].

    It is 1 without separators and case, and nearly 1 for synonyms, also with a prefix such as
    ``optimizer.``. Names with other digits are different, such as those of two layers.
    """
    full = _plain(first), _plain(second)
    if full[0] == full[1]:
        return 1.0
    if _are_synonyms(*full):
        return 0.95
    if re.findall(r"\d+", first) != re.findall(r"\d+", second):
        return 0.0
    last = [_plain(re.split(r"[./:]|__", name)[-1]) for name in (first, second)]
    for pair in ((full[0], last[1]), (last[0], full[1])):
        if pair[0] == pair[1] or _are_synonyms(*pair):
            return 0.9
    return SequenceMatcher(None, *full).ratio()


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def _are_synonyms(first: str, second: str) -> bool:
    return any(first in group and second in group for group in _SYNONYMS)

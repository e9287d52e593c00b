"""suggestion -> a map on which past studies that are alike stand together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optuna_metallmix._history import PastStudy
from optuna_metallmix._meta_features import distances
from optuna_metallmix._search_space import SearchSpace
from optuna_metallmix._search_space import is_number
from optuna_metallmix._search_space import is_ordered
from optuna_metallmix._search_space import label_of
from optuna_metallmix._search_space import to_unit
from optuna_metallmix._suggested import Suggestion


Floats = NDArray[np.float64]

MAX_STUDIES = 60
N_BEST = 3
HERE = "this study"


@dataclass(frozen=True)
class StudyMap:
    """Past studies in the plane, as far apart as they are unlike, as well as a plane can.

    Attributes:
        names: The studies, the one that asks first where it can be placed.
        x, y: Where they stand, shape (n,), in ``unit``.
        n_trials: How many trials each has, shape (n,); 0 for the one that asks.
        unit: What distances are measured in.
        n_more: How many studies are left out, the least alike.
        has_target: Whether the study that asks is on it.
    """

    names: tuple[str, ...]
    x: Floats
    y: Floats
    n_trials: tuple[int, ...]
    unit: str
    n_more: int
    has_target: bool


def study_map(suggestion: Suggestion) -> StudyMap | None:
    """Place the past studies by meta-features, or where not all have some in common by their best
    configurations; ``None`` with fewer than two studies."""
    past = [
        one for one in suggestion.history.studies if not one.is_target and one.space
    ]  # else unread
    if len(past) < 2:
        return None
    away = distances(suggestion.meta_features, [one.meta_features for one in past])
    by_name = sorted(zip(past, away, strict=True), key=lambda o: (o[1] is None, o[1] or 0.0))
    kept = [study for study, _ in by_name[:MAX_STUDIES]]
    apart, has_target = _by_features(suggestion, kept), True
    unit = "meta-features, mean difference in standard deviations"
    if apart is None:
        apart, has_target = _by_bests(kept, suggestion.space), False
        unit = "best configurations, mean difference of their values, 0..1"
    places = _scaled(apart)
    names = [HERE] * has_target + [one.name for one in kept]
    trials = [0] * has_target + [len(one.trials) for one in kept]
    x, y = places[:, 0], places[:, 1]
    return StudyMap(tuple(names), x, y, tuple(trials), unit, len(past) - len(kept), has_target)


def _by_features(suggestion: Suggestion, past: Sequence[PastStudy]) -> Floats | None:
    features = [suggestion.meta_features, *(one.meta_features for one in past)]
    rows = [distances(one, features) for one in features]
    if any(one is None for row in rows for one in row):
        return None
    apart: Floats = np.array(rows, float)
    mean: Floats = (apart + apart.T) / 2
    return mean


def _by_bests(past: Sequence[PastStudy], space: SearchSpace) -> Floats:
    return np.array([[_unlike(a, b, space) for b in past] for a in past])


def _unlike(first: PastStudy, second: PastStudy, space: SearchSpace) -> float:
    """Return how unlike the best configurations of two studies are, in [0, 1]."""
    if first is second:
        return 0.0
    parts = [
        _difference(a.params[name], b.params[name], space, name)
        for a, b in zip(first.trials[:N_BEST], second.trials[:N_BEST], strict=False)
        for name in a.params
        if name in b.params and name in space
    ]
    return float(np.mean(parts)) if parts else 1.0


def _difference(first: object, second: object, space: SearchSpace, name: str) -> float:
    distribution = space[name]
    if is_ordered(distribution) and is_number(first) and is_number(second):
        ends = [to_unit(distribution, float(one)) for one in (first, second)]  # type: ignore[arg-type]
        return min(abs(ends[0] - ends[1]), 1.0)
    return float(label_of(distribution, first) != label_of(distribution, second))


def _scaled(apart: Floats) -> Floats:
    """Return points in the plane, shape (n, 2): classical scaling (Torgerson 1952)."""
    n = len(apart)
    centre = np.eye(n) - 1.0 / n
    roots, vectors = np.linalg.eigh(-0.5 * centre @ apart**2 @ centre)
    points: Floats = vectors[:, -2:] * np.sqrt(np.clip(roots[-2:], 0.0, None))
    signs = np.sign(points[np.abs(points).argmax(axis=0), [0, 1]])  # LAPACK's own are arbitrary
    return points[:, ::-1] * np.where(signs == 0, 1.0, signs)[::-1]

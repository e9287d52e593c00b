"""Measure how similar past studies are to the target study, and to each other.

Studies are compared by their meta-features. If the target shares none with any past study, they
are compared by their results: by whether they order configurations alike.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from optuna_metallmix.fork_lock import cached_property
from optuna_metallmix.history.history import History
from optuna_metallmix.history.meta_features import MetaFeatures
from optuna_metallmix.history.meta_features import feature_distance
from optuna_metallmix.history.meta_features import feature_scales
from optuna_metallmix.history.scores import PastStudy
from optuna_metallmix.history.scores import PastTrial
from optuna_metallmix.space import ABSENT
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import is_number
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import labels_of
from optuna_metallmix.space import merge_spaces
from optuna_metallmix.space import to_units


BY_FEATURES = "meta-features"
BY_RESULTS = "results"
MIN_TRIALS = 5
"""Minimum number of trials of a study that is compared by results: fewer have hardly an order."""
_MAX_TRIALS = 30
"""Maximum number of trials of each, evenly spaced from the best to the worst."""
_MAX_PARAMETERS = 60
"""Maximum number of parameters that are compared by results, evenly spaced."""


@dataclass(frozen=True)
class StudyDistances:
    """Distances of past studies to the target study.

    Attributes:
        studies: The past studies, shape (n,).
        to_target: Their distances to the target, shape (n,); ``None`` if unknown.
        basis: What is compared: ``"meta-features"``, in [0, 3], 0 if they are equal; or
            ``"results"``, in [0, 1], 0 if the studies order configurations alike, 0.5 if their
            orders are unrelated, 1 if they are opposite.
    """

    studies: tuple[PastStudy, ...]
    to_target: tuple[float | None, ...]
    basis: str
    _compare: Callable[[int, int], float | None]

    @property
    def order(self) -> list[int]:
        """Indices of the studies: the nearest first, then those of unknown distance by size."""

        def key(i: int) -> tuple[bool, float, int]:
            distance = self.to_target[i]
            return distance is None, distance or 0.0, -len(self.studies[i].trials)

        return sorted(range(len(self.studies)), key=key)

    def between(self, indices: Sequence[int]) -> NDArray[np.float64]:
        """Return the distances between some studies, shape (n, n); NaN if unknown."""
        pairwise = np.zeros((len(indices), len(indices)))
        for i, j in combinations(range(len(indices)), 2):
            distance = self._compare(indices[i], indices[j])
            pairwise[i, j] = pairwise[j, i] = np.nan if distance is None else distance
        return pairwise


def study_distances(history: History, meta_features: MetaFeatures) -> StudyDistances:
    """Compare the past studies with the target study and with each other.

    Args:
        history: The past studies and the target's own trials, if it has any.
        meta_features: The target's meta-features.
    """
    past = tuple(study for study in history.studies if not study.is_target)
    own = [study for study in history.studies if study.is_target]
    target = own[0] if own else PastStudy("", {}, (), {}, is_target=True)
    every = [*past, replace(target, meta_features=meta_features)]
    basis, compare = BY_FEATURES, _feature_comparison(every)
    if all(compare(i, len(past)) is None for i in range(len(past))):
        basis, compare = BY_RESULTS, _result_comparison(every)
    to_target = tuple(compare(i, len(past)) for i in range(len(past)))
    return StudyDistances(past, to_target, basis, compare)


def _feature_comparison(studies: Sequence[PastStudy]) -> Callable[[int, int], float | None]:
    features = [study.meta_features for study in studies]
    scales = feature_scales(features)
    return lambda i, j: feature_distance(features[i], features[j], scales)


def _result_comparison(studies: Sequence[PastStudy]) -> Callable[[int, int], float | None]:
    space = _compared(merge_spaces(study.space for study in studies))
    spaces = [set(study.space) for study in studies]
    results = [_Results.of(study, space) for study in studies]

    def compare(i: int, j: int) -> float | None:
        if min(len(results[i].ranks), len(results[j].ranks)) < MIN_TRIALS:
            return None
        return results[i].distance(results[j]) if spaces[i] & spaces[j] else None

    return compare


def _compared(space: SearchSpace) -> SearchSpace:
    n = min(len(space), _MAX_PARAMETERS)
    kept = set(np.linspace(0, len(space) - 1, n).round().astype(int).tolist())
    return {
        name: distribution for i, (name, distribution) in enumerate(space.items()) if i in kept
    }


@dataclass(frozen=True)
class _Results:
    """Trials of a study, comparable with those of others.

    Attributes:
        ranks: Their ranks in the study, shape (n,).
        columns: Their values by parameter: positions in [0, 1], or codes of choices; NaN if the
            parameter is not active, shape (n_parameters, n).
        is_choice: Whether a parameter has choices, shape (n_parameters,).
    """

    ranks: NDArray[np.float64]
    columns: NDArray[np.float64]
    is_choice: NDArray[np.bool_]

    @classmethod
    def of(cls, study: PastStudy, space: SearchSpace) -> _Results:
        n = min(len(study.trials), _MAX_TRIALS)
        spaced = np.linspace(0, len(study.trials) - 1, n).round().astype(int)
        trials = [study.trials[i] for i in spaced]
        columns = [_column(space, name, trials) for name in space]
        is_choice = np.array([not is_ordered(distribution) for distribution in space.values()])
        ranks = np.array([trial.rank for trial in trials], float)
        return cls(ranks, np.array(columns, float).reshape(len(space), n), is_choice)

    @cached_property
    def centered_ranks(self) -> NDArray[np.float64]:
        """Positions of :attr:`ranks` in their order, with mean 0, shape (n,)."""
        return _centered_ranks(self.ranks)

    def distance(self, other: _Results) -> float:
        """Return 0 for the same order of configurations, 0.5 for unrelated ones, 1 for opposite.

        Each study predicts the ranks of the other's trials, as the mean of its own trials' ranks,
        weighted by how close they are.
        """
        gaps = np.abs(self.columns[:, :, None] - other.columns[:, None, :])
        gaps[self.is_choice] = gaps[self.is_choice] > 0
        absent = np.isnan(self.columns)[:, :, None] ^ np.isnan(other.columns)[:, None, :]
        gaps = np.where(np.isnan(gaps), absent, gaps).mean(axis=0)
        weights = 1.0 / (gaps**2 + 1e-6) ** 2
        mine = weights @ other.ranks / weights.sum(axis=1)
        theirs = self.ranks @ weights / weights.sum(axis=0)
        agreement = _correlation(self.centered_ranks, _centered_ranks(mine))
        agreement += _correlation(other.centered_ranks, _centered_ranks(theirs))
        return (1.0 - agreement / 2) / 2


def _column(space: SearchSpace, name: str, trials: Sequence[PastTrial]) -> NDArray[np.float64]:
    values = [trial.params.get(name, ABSENT) for trial in trials]
    if is_ordered(space[name]):
        numbers = np.array([v if is_number(v) else np.nan for v in values], float)
        return to_units(space[name], numbers)
    labels = labels_of(space[name], choices_of(space[name]))
    places = {label: place for place, label in enumerate(labels)}
    return np.array([places.get(label, np.nan) for label in labels_of(space[name], values)])


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the correlation of values with mean 0; 0 if one of them is constant."""
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if scale else 0.0


def _centered_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks with mean 0; equal values share their mean rank."""
    ordered = np.sort(values)  # scipy.stats takes half a second to import
    below, up_to = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    ranks: NDArray[np.float64] = (below + up_to - 1) / 2
    return ranks - (len(values) - 1) / 2

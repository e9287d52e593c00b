"""suggestion -> the numbers of its figures, the same for every way of drawing them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optuna_metallmix.explain import Explanation
from optuna_metallmix.explain import encode
from optuna_metallmix.history import PastStudy
from optuna_metallmix.history import distances
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import from_unit
from optuna_metallmix.space import is_number
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import label_of
from optuna_metallmix.space import to_unit
from optuna_metallmix.suggestion import Suggestion


Floats = NDArray[np.float64]

MAX_PARAMETERS = 10
MAX_POINTS = 120
"""Past trials in the beeswarm: a figure is stored with its study, in pieces of 2 kB."""
N_GRID = 15
N_BACKGROUND = 30
MAX_BESTS = 20

EFFECT_AXIS = "SHAP effect (score units, 0 worst..1 best)"
SCORE_AXIS = "expected score (0 worst..1 best)"


@dataclass(frozen=True)
class Swarm:
    """What each value of the past did, of the parameters that matter most.

    Attributes:
        names: The parameters, most important first, shape (k,).
        effects: SHAP values, shape (n, k), in score units.
        shades: The values from their least (0) to their greatest (1), shape (n, k); NaN where
            the parameter was not active.
        labels: The values in words, shape (n, k).
    """

    names: tuple[str, ...]
    effects: Floats
    shades: Floats
    labels: NDArray[np.object_]


@dataclass(frozen=True)
class Waterfall:
    """How the suggestion's values lead from the base value to what is expected of it.

    Attributes:
        base: The base value, in score units.
        steps: Parameter and value in words, and SHAP effect; largest first, the last may be the
            sum of all others.
        predicted: Where they end: base and steps added up, in score units.
    """

    base: float
    steps: tuple[tuple[str, float], ...]
    predicted: float


@dataclass(frozen=True)
class Axis:
    """One parameter of a partial dependence.

    Attributes:
        name: The parameter.
        values: Where it was looked at, shape (n,).
        labels: Those values in words, shape (n,).
        is_number: Whether it is a number; else it is drawn at its place in ``labels``.
        is_log: Whether it has a logarithmic scale.
    """

    name: str
    values: tuple[Any, ...]
    labels: tuple[str, ...]
    is_number: bool
    is_log: bool

    def place(self, value: Any, label: str) -> float | None:
        """Return where a value stands on the axis; ``None`` where it does not."""
        if self.is_number:
            return float(value) if is_number(value) else None
        return float(self.labels.index(label)) if label in self.labels else None


@dataclass(frozen=True)
class Dependence:
    """What is expected by the two parameters that matter most, all else as in the past.

    Attributes:
        x, y: The parameters.
        scores: Mean expected score, shape (len(y), len(x)), in score units.
        bests: Study name, x and y of the best trials of past studies.
        suggested: x and y of the suggestion.
    """

    x: Axis
    y: Axis
    scores: Floats
    bests: tuple[tuple[str, float, float], ...]
    suggested: tuple[float, float]


def swarm(explanation: Explanation) -> Swarm:
    """Return the past's SHAP values, an even part of its trials."""
    names = list(explanation.importance)[:MAX_PARAMETERS]
    last = len(explanation.configs) - 1
    rows = np.unique(np.linspace(0, last, MAX_POINTS).round().astype(int))
    columns = [list(explanation.space).index(name) for name in names]
    space = {name: explanation.space[name] for name in names}
    configs = [explanation.configs[int(row)] for row in rows]
    labels = [[_label(space[n], c, n) for n in names] for c in configs]
    effects = explanation.values[rows][:, columns]
    return Swarm(tuple(names), effects, _shades(encode(space, configs)), np.array(labels, object))


def waterfall(suggestion: Suggestion) -> Waterfall | None:
    """Return the steps to what is expected of the suggestion; ``None`` without a past."""
    explanation, predicted = suggestion.explanation, suggestion.predicted
    if explanation is None or predicted is None:
        return None
    ordered = sorted(suggestion.effects.items(), key=lambda item: -abs(item[1]))
    kept = ordered[:MAX_PARAMETERS]
    steps = [
        (f"{name} = {_label(suggestion.space[name], suggestion.params, name)}", effect)
        for name, effect in kept
    ]
    if rest := ordered[MAX_PARAMETERS:]:
        steps.append((f"{len(rest)} more", sum(effect for _, effect in rest)))
    return Waterfall(explanation.base, tuple(steps), predicted)


def dependence(suggestion: Suggestion) -> Dependence | None:
    """Return the partial dependence of the two active parameters that matter most.

    ``None`` without a past, and where fewer than two parameters are active.
    """
    explanation, learner = suggestion.explanation, suggestion.learner
    if explanation is None or learner is None:
        return None
    names = [name for name in explanation.importance if name in suggestion.params][:2]
    if len(names) < 2:
        return None
    x, y = (_axis(suggestion, name) for name in names)
    last = len(explanation.configs) - 1
    rows = np.unique(np.linspace(0, last, N_BACKGROUND).round().astype(int))
    others = [explanation.configs[int(row)] for row in rows]
    grid = [{**c, x.name: a, y.name: b} for b in y.values for a in x.values for c in others]
    scores = learner.predict(grid).mean.reshape(len(y.values), len(x.values), -1).mean(axis=2)
    suggested = _place(suggestion, suggestion.params, x, y)
    assert suggested is not None  # both values are on their axes
    return Dependence(x, y, scores, _bests(suggestion, x, y), suggested)


def _label(distribution: Any, config: Config, name: str) -> str:
    return label_of(distribution, config[name]) if name in config else "(not active)"


def _shades(data: Floats) -> Floats:
    shades = np.full(data.shape, np.nan)
    for column in range(data.shape[1]):
        known = data[:, column][~np.isnan(data[:, column])]
        if len(known):  # by rank: values on a log scale would all be alike
            order = np.searchsorted(np.unique(known), data[:, column])
            shade = order / max(len(np.unique(known)) - 1, 1)
            shades[:, column] = np.where(np.isnan(data[:, column]), np.nan, shade)
    return shades


def _axis(suggestion: Suggestion, name: str) -> Axis:
    distribution = suggestion.space[name]
    chosen = suggestion.params[name]
    choices = choices_of(distribution)
    if not choices:
        spread = [from_unit(distribution, one) for one in np.linspace(0, 1, N_GRID)]
        values = sorted({*spread, chosen})
    else:
        values = sorted(choices) if is_ordered(distribution) else _known(suggestion, name, choices)
    labels = tuple(label_of(distribution, one) for one in values)
    is_log = bool(getattr(distribution, "log", False))
    return Axis(name, tuple(values), labels, not choices, is_log)


def _known(suggestion: Suggestion, name: str, choices: Sequence[Any]) -> list[Any]:
    """Return the choices to look at: the suggestion's, and of many those of the past's bests."""
    distribution = suggestion.space[name]
    wanted = [suggestion.params[name]]
    wanted += [s.trials[0].params.get(name) for s in suggestion.history.studies if s.trials]
    known = {label_of(distribution, one) for one in wanted[: N_GRID - 1]}
    labels = {label_of(distribution, one): one for one in choices}
    rest = [label for label in labels if label not in known][: max(N_GRID - len(known), 0)]
    return [one for label, one in labels.items() if label in known or label in rest]


def _place(suggestion: Suggestion, config: Config, x: Axis, y: Axis) -> tuple[float, float] | None:
    if x.name not in config or y.name not in config:
        return None
    places = [
        axis.place(config[axis.name], label_of(suggestion.space[axis.name], config[axis.name]))
        for axis in (x, y)
    ]
    first, second = places
    return None if first is None or second is None else (first, second)


def _bests(suggestion: Suggestion, x: Axis, y: Axis) -> tuple[tuple[str, float, float], ...]:
    found = []
    for study in suggestion.history.studies[:MAX_BESTS]:
        place = _place(suggestion, study.trials[0].params, x, y) if study.trials else None
        found += [(study.name, *place)] if place else []
    return tuple(found)


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

"""Describe the figures of a suggestion, for :mod:`optuna_metallmix.report.drawing` to draw."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution

from optuna_metallmix.explain import Explanation
from optuna_metallmix.explain import encode
from optuna_metallmix.history import BY_FEATURES
from optuna_metallmix.history import BY_RESULTS
from optuna_metallmix.history import StudyDistances
from optuna_metallmix.history import study_distances
from optuna_metallmix.metalearner import Floats
from optuna_metallmix.metalearner import evenly_spaced
from optuna_metallmix.report.drawing import INK
from optuna_metallmix.report.drawing import PAPER
from optuna_metallmix.report.drawing import Axis
from optuna_metallmix.report.drawing import Bars
from optuna_metallmix.report.drawing import FigureSpec
from optuna_metallmix.report.drawing import Heatmap
from optuna_metallmix.report.drawing import Points
from optuna_metallmix.space import ABSENT
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import from_unit
from optuna_metallmix.space import is_number
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import label_of
from optuna_metallmix.space import labels_of
from optuna_metallmix.suggestion import Suggestion
from optuna_metallmix.text import sanitize
from optuna_metallmix.text import shorten


BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#777777"
"""Distinguishable with any color vision (Okabe and Ito 2008); size or symbol differ as well."""

MAX_PARAMETERS = 10
MAX_POINTS = 120
"""Past trials in the beeswarm: a figure is stored with its study, in pieces of 2 kB."""
MAX_STUDIES = 60
MAX_NAMED = 15
"""Maximum number of studies that are named beside the map: those that are nearest."""
MAX_BESTS = 20
_MAX_NAME = 32
"""Maximum length of a name on an axis: in optuna-dashboard a figure is 560 pixels wide."""
_MAX_VALUE = 22
"""Maximum length of a choice on an axis, and of a study's name beside the map."""
_MAX_SHORT_NAME, _MAX_SHORT_VALUE = 24, 16
"""Maximum lengths of a parameter's name and its value if they are beside each other."""
_N_GRID = 15
_N_BACKGROUND = 30
_GOLDEN = 0.6180339887  # its multiples modulo 1 spread evenly, and are the same in every run
_MARKER = 0.07
"""Diameter of a numbered marker, as a share of the width of the map."""
_MAX_MOVES = 200
_UNITS = {
    BY_FEATURES: "meta-features (in standard deviations)",
    BY_RESULTS: "results (0 = same order, 1 = opposite)",
}
_SCORE_AXIS = "expected score (0 = worst, 1 = best)"


def describe_figures(suggestion: Suggestion) -> tuple[FigureSpec, ...]:
    """Describe the figures of a suggestion, as many as its past studies allow."""
    figures = (
        _effects(suggestion.explanation),
        _waterfall(suggestion),
        _dependence(suggestion),
        _study_map(suggestion),
    )
    return tuple(figure for figure in figures if figure is not None)


def _effects(explanation: Explanation | None) -> FigureSpec | None:
    """Describe a beeswarm of the SHAP values of past trials, evenly sampled."""
    if explanation is None or not explanation.configs:
        return None
    names = list(explanation.importance)[:MAX_PARAMETERS]
    sampled = evenly_spaced(len(explanation.configs), MAX_POINTS)
    configs = [explanation.configs[i] for i in sampled]
    space = {name: explanation.space[name] for name in names}
    columns = [list(explanation.space).index(name) for name in names]
    x = explanation.values[sampled][:, columns].round(4)
    jitter = (np.arange(len(configs))[:, None] * _GOLDEN % 1 - 0.5) * 0.6
    y = (np.arange(len(names))[::-1] + jitter).round(2)  # the most important at the top
    texts = np.array([[_value(space, c, name) for name in names] for c in configs], object)
    shades = _shades(encode(space, configs)).round(2)
    is_active = ~np.isnan(shades)
    layers = tuple(
        Points(x[mask], y[mask], tuple(texts[mask]), color, size=5)
        for mask, color in ((~is_active, GREY), (is_active, shades[is_active]))
    )
    rows = Axis("", _short(reversed(names)))
    x_axis = Axis("SHAP effect (score units, 0 = worst, 1 = best)")
    title = "Effect of parameter values on the score in past studies"
    return FigureSpec("effects", title, x_axis, rows, layers)


def _shades(data: Floats) -> Floats:
    """Rank the values of each column from 0 to 1, so that a log scale is spread evenly, too."""
    import pandas as pd

    ranks = pd.DataFrame(data).rank(method="dense") - 1
    return (ranks / ranks.max().clip(lower=1)).to_numpy()


def _waterfall(suggestion: Suggestion) -> FigureSpec | None:
    """Describe how the SHAP effects add up from the base value to the predicted score."""
    explanation, predicted = suggestion.explanation, suggestion.predicted
    if explanation is None or predicted is None:
        return None
    steps = _steps(suggestion)
    if rest := steps[MAX_PARAMETERS:]:
        steps[MAX_PARAMETERS:] = [(f"{len(rest)} more", sum(effect for _, effect in rest))]
    rows = [("average of past trials", 0.0, explanation.base, f"{explanation.base:.3f}", GREY)]
    for label, effect in steps:
        color = BLUE if effect >= 0 else VERMILION
        rows.append((label, rows[-1][1] + rows[-1][2], effect, f"{effect:+.3f}", color))
    rows.append(("suggestion", 0.0, predicted, f"{predicted:.3f}", GREY))
    labels, starts, lengths, texts, colors = zip(*reversed(rows), strict=True)
    bars = Bars(np.array(starts), np.array(lengths), texts, colors)
    x = Axis(_SCORE_AXIS, limits=_with_margin(bars.starts + bars.lengths))
    title = "From the average of past trials to the suggestion"
    return FigureSpec("suggestion", title, x, Axis("", labels), (bars,))


def _steps(suggestion: Suggestion) -> list[tuple[str, float]]:
    """Return the label and the effect of each step, largest first.

    Parameters without a value are a single step: a conditional space can have many.
    """
    params, effects, space = suggestion.params, suggestion.effects, suggestion.space
    names = shorten(effects, _MAX_SHORT_NAME)
    inactive = [name for name in effects if name not in params]
    if len(inactive) == 1 and inactive[0] in space:
        params, inactive = {**params, inactive[0]: ABSENT}, []
    steps = []
    for name in (name for name in effects if name in params):
        value = _value(space, params, name, _MAX_SHORT_VALUE)
        steps.append((f"{names[name]} = {value}", effects[name]))
    if inactive:
        n = len(inactive)  # a record that was cut has the sum of the others under one name
        label = inactive[0] if n == 1 else f"{n} parameters without a value"
        steps.append((label, sum(effects[name] for name in inactive)))
    return sorted(steps, key=lambda step: -abs(step[1]))


def _with_margin(ends: Floats) -> tuple[float, float]:
    """Return limits that leave space for the numbers beside the bars, which start at 0."""
    low, high = min(ends.min(), 0.0), max(ends.max(), 0.0)
    margin = 0.15 * max(high - low, 0.1)
    return float(low - margin * (low < 0)), float(high + margin)


def _dependence(suggestion: Suggestion) -> FigureSpec | None:
    """Describe the partial dependence on the two most important active parameters."""
    explanation, learner, space = suggestion.explanation, suggestion.learner, suggestion.space
    if explanation is None or learner is None:
        return None
    names = [name for name in explanation.importance if name in suggestion.params][:2]
    if len(names) < 2:
        return None
    shown = {name: _shown_values(suggestion, name) for name in names}
    (x, x_values), (y, y_values) = shown.items()
    spread = evenly_spaced(len(explanation.configs), _N_BACKGROUND)
    background = [explanation.configs[i] for i in spread]
    grid = [{**c, x: a, y: b} for b in y_values for a in x_values for c in background]
    scores = learner.predict_mean(grid).reshape(len(y_values), len(x_values), -1).mean(axis=2)
    centers = [_axis_positions(space[n], values, values) for n, values in shown.items()]
    heatmap = Heatmap(centers[0], centers[1], scores.round(4), _SCORE_AXIS)
    x_axis, y_axis = (_parameter_axis(n, space[n], values) for n, values in shown.items())
    title = "Partial dependence: suggestion (star), best past configurations (dots)"
    layers = (heatmap, *_chosen_points(suggestion, shown))
    return FigureSpec("dependence", title, x_axis, y_axis, layers)


def _chosen_points(
    suggestion: Suggestion, shown: Mapping[str, Sequence[Any]]
) -> tuple[Points, Points]:
    """Return the best past configurations and the suggestion, if they are on both axes."""
    past = [study for study in suggestion.history.studies[:MAX_BESTS] if study.trials]
    texts = np.array([*(f"best of {sanitize(s.name, 80)}" for s in past), "suggestion"], object)
    configs = [*(study.trials[0].params for study in past), suggestion.params]
    x, y = (
        _axis_positions(suggestion.space[name], values, [c.get(name, ABSENT) for c in configs])
        for name, values in shown.items()
    )
    on_axes = np.flatnonzero(~np.isnan(x + y))
    dots, star = on_axes[on_axes < len(past)], on_axes[on_axes == len(past)]
    return (
        Points(x[dots], y[dots], tuple(texts[dots]), PAPER, 8, edge=INK),
        Points(x[star], y[star], tuple(texts[star]), VERMILION, 16, edge=PAPER, is_star=True),
    )


def _shown_values(suggestion: Suggestion, name: str) -> list[Any]:
    """Return the values to show on an axis; choices of the best configurations have priority."""
    distribution, suggested = suggestion.space[name], suggestion.params[name]
    choices = choices_of(distribution)
    if not choices:
        grid = [from_unit(distribution, position) for position in np.linspace(0, 1, _N_GRID)]
        own = [] if np.isnan(_axis_positions(distribution, [], [suggested])[0]) else [suggested]
        return sorted({*grid, *own})
    if is_ordered(distribution):
        return sorted(choices)
    studies = suggestion.history.studies
    bests = [study.trials[0].params.get(name, ABSENT) for study in studies if study.trials]
    choice_of = dict(zip(labels_of(distribution, choices), choices, strict=True))
    ranked = dict.fromkeys([*labels_of(distribution, [suggested, *bests]), *choice_of])
    kept = [label for label in ranked if label in choice_of][:_N_GRID]
    return [choice for label, choice in choice_of.items() if label in kept]


def _parameter_axis(name: str, distribution: BaseDistribution, shown: Sequence[Any]) -> Axis:
    labels = labels_of(distribution, shown) if choices_of(distribution) else []
    is_log = bool(getattr(distribution, "log", False))
    ticks = tuple(shorten(labels, _MAX_VALUE)[label] for label in labels)
    return Axis(sanitize(name, _MAX_NAME), ticks, is_log)


def _axis_positions(
    distribution: BaseDistribution, shown: Sequence[Any], values: Sequence[Any]
) -> Floats:
    """Return the axis position of each value; NaN if it is not shown."""
    if not choices_of(distribution):  # the objective may have moved a value to any other kind
        positions = np.array([float(v) if is_number(v) else np.nan for v in values])
        is_log = getattr(distribution, "log", False)
        return np.where(positions > 0, positions, np.nan) if is_log else positions
    places = {label: float(i) for i, label in enumerate(labels_of(distribution, shown))}
    return np.array([places.get(label, np.nan) for label in labels_of(distribution, values)])


def _study_map(suggestion: Suggestion) -> FigureSpec | None:
    """Describe a map of past studies; ``None`` with fewer than two."""
    distances = study_distances(suggestion.history, suggestion.meta_features)
    # Restored studies whose trials were not read have no space.
    order = [i for i in distances.order if distances.studies[i].space]
    if len(order) < 2:
        return None
    known = [i for i in order if distances.to_target[i] is not None]
    shown = (known or order)[:MAX_STUDIES]
    x, y = _positions(distances, shown, is_target_known=bool(known)).round(4).T
    n_own, studies = len(x) - len(shown), [distances.studies[i] for i in shown]
    texts = tuple(_study_text(distances, i) for i in shown)
    short = shorten((study.name for study in studies[:MAX_NAMED]), _MAX_VALUE)
    named, others = slice(n_own, n_own + MAX_NAMED), slice(n_own + MAX_NAMED, None)
    own_names = ("this study",) * n_own
    layers = (
        Points(x[named], y[named], texts[:MAX_NAMED], BLUE, 18, names=tuple(short.values())),
        Points(x[:n_own], y[:n_own], own_names, VERMILION, 18, is_star=True, names=own_names),
        *([Points(x[others], y[others], texts[MAX_NAMED:], GREY, 7)] * (len(shown) > MAX_NAMED)),
    )
    more = f", {len(order) - len(shown)} more left out" if len(order) > len(shown) else ""
    title = f"Map of past studies (closer = more similar){more}"
    unit = _UNITS[distances.basis]
    return FigureSpec("studies", title, Axis(f"distance by {unit}"), Axis(""), layers, True)


def _study_text(distances: StudyDistances, i: int) -> str:
    study, distance = distances.studies[i], distances.to_target[i]
    shown = "" if distance is None else f", distance {distance:.2f}"
    return f"{sanitize(study.name, 80)}, {len(study.trials)} trials{shown}"


def _positions(
    distances: StudyDistances, shown: Sequence[int], *, is_target_known: bool
) -> Floats:
    """Place the studies in the plane, shape (n, 2), after the target if its distances are known.

    Their distances to the target are exact, and those to each other approximate. Named studies
    are moved apart where their markers would overlap.
    """
    target = [len(distances.studies)] * is_target_known
    pairwise = distances.between([*target, *shown])
    pairwise = np.where(np.isnan(pairwise), np.nanmax(pairwise) or 1.0, pairwise)
    points = _classical_scaling(pairwise)
    if is_target_known:
        offsets = points - points[0]
        angles = np.arctan2(offsets[:, 1], offsets[:, 0])
        points = pairwise[0][:, None] * np.column_stack([np.cos(angles), np.sin(angles)])
    n_named = len(target) + MAX_NAMED
    points[:n_named] = _moved_apart(
        points[:n_named], _MARKER * max(np.ptp(points, axis=0).max(), 1e-3)
    )
    return points


def _moved_apart(points: Floats, gap: float) -> Floats:
    """Move points apart, except the first, until the gap between any two is large enough."""
    turns = 2 * np.pi * _GOLDEN * np.arange(len(points))
    tiny = 1e-6 * gap * np.column_stack([np.cos(turns), np.sin(turns)])  # equal points
    points = points + np.where(np.arange(len(points))[:, None] > 0, tiny, 0.0)
    for _ in range(_MAX_MOVES):
        offsets = points[:, None] - points[None]
        lengths = np.hypot(*np.moveaxis(offsets, 2, 0))
        np.fill_diagonal(lengths, np.inf)
        pushes = np.clip(gap - lengths, 0.0, None) / 2
        if pushes.max() < 0.01 * gap:
            break
        moves = (pushes / lengths)[..., None] * offsets
        points[1:] += moves.sum(axis=1)[1:]
    return points


def _classical_scaling(pairwise: Floats) -> Floats:
    """Place points in the plane by their distances, shape (n, 2) (Torgerson 1952)."""
    n = len(pairwise)
    centering = np.eye(n) - 1.0 / n
    roots, vectors = np.linalg.eigh(-0.5 * centering @ pairwise**2 @ centering)
    points: Floats = vectors[:, -2:] * np.sqrt(np.clip(roots[-2:], 0.0, None))
    signs = np.sign(points[np.abs(points).argmax(axis=0), [0, 1]])  # LAPACK's signs are arbitrary
    return points[:, ::-1] * np.where(signs == 0, 1.0, signs)[::-1]


def _value(space: SearchSpace, config: Config, name: str, limit: int = _MAX_NAME) -> str:
    """Return how a value is written on at most ``limit`` characters, unlike any other choice."""
    if name not in config or config[name] is ABSENT:
        return ABSENT
    label = label_of(space[name], config[name])
    return shorten([*labels_of(space[name], choices_of(space[name])), label], limit)[label]


def _short(names: Iterable[str]) -> tuple[str, ...]:
    names = list(names)
    return tuple(shorten(names, _MAX_NAME)[name] for name in names)

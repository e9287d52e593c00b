"""Describe the figures of a suggestion, for :mod:`optuna_metallmix.report.drawing` to draw."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution

from optuna_metallmix.explain import Explanation
from optuna_metallmix.explain import encode
from optuna_metallmix.history import PastStudy
from optuna_metallmix.history import distances
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
from optuna_metallmix.space import to_unit
from optuna_metallmix.suggestion import Suggestion
from optuna_metallmix.text import sanitize


BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#777777"
"""Distinguishable with any color vision (Okabe and Ito 2008); size or symbol differ as well."""

MAX_PARAMETERS = 10
MAX_POINTS = 120
"""Past trials in the beeswarm: a figure is stored with its study, in pieces of 2 kB."""
MAX_STUDIES = 60
MAX_NAMED = 15
"""Maximum number of studies whose names are written on the map; more would overlap."""
MAX_BESTS = 20
_MAX_NAME = 40
_N_GRID = 15
_N_BACKGROUND = 30
_N_BEST = 3
_GOLDEN = 0.6180339887  # its multiples modulo 1 spread evenly, and are the same in every run
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
    texts = np.array([[_label(space, c, name) for name in names] for c in configs], object)
    shades = _shades(encode(space, configs)).round(2)
    is_active = ~np.isnan(shades)
    layers = tuple(
        Points(x[mask], y[mask], tuple(texts[mask]), color, size=5)
        for mask, color in ((~is_active, GREY), (is_active, shades[is_active]))
    )
    rows = Axis("", tuple(_short(name) for name in reversed(names)))
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
    ordered = sorted(suggestion.effects.items(), key=lambda item: -abs(item[1]))
    steps = [
        (f"{name} = {_label(suggestion.space, suggestion.params, name)}", effect)
        for name, effect in ordered[:MAX_PARAMETERS]
    ]
    if rest := ordered[MAX_PARAMETERS:]:
        steps.append((f"{len(rest)} more", sum(effect for _, effect in rest)))
    rows = [("average of past trials", 0.0, explanation.base, f"{explanation.base:.3f}", GREY)]
    for label, effect in steps:
        color = BLUE if effect >= 0 else VERMILION
        rows.append((_short(label), rows[-1][1] + rows[-1][2], effect, f"{effect:+.3f}", color))
    rows.append(("suggestion", 0.0, predicted, f"{predicted:.3f}", GREY))
    labels, starts, lengths, texts, colors = zip(*reversed(rows), strict=True)
    bars = Bars(np.array(starts), np.array(lengths), texts, colors)
    x = Axis(_SCORE_AXIS, limits=_with_margin(bars.starts + bars.lengths))
    title = "From the average of past trials to the suggestion"
    return FigureSpec("suggestion", title, x, Axis("", labels), (bars,))


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
    texts = np.array([*(f"best of {_short(s.name)}" for s in past), "suggestion"], object)
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
        return sorted({*grid, suggested})
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
    return Axis(_short(name), tuple(_short(label) for label in labels), is_log)


def _axis_positions(
    distribution: BaseDistribution, shown: Sequence[Any], values: Sequence[Any]
) -> Floats:
    """Return the axis position of each value; NaN if it is not shown."""
    if not choices_of(distribution):
        return np.array([float(v) if is_number(v) else np.nan for v in values])
    positions = {label: float(i) for i, label in enumerate(labels_of(distribution, shown))}
    return np.array([positions.get(label, np.nan) for label in labels_of(distribution, values)])


def _study_map(suggestion: Suggestion) -> FigureSpec | None:
    """Describe a map of past studies; ``None`` with fewer than two."""
    # Restored studies whose trials were not read have no space.
    past = [study for study in suggestion.history.studies if not study.is_target and study.space]
    if len(past) < 2:
        return None
    distance = distances(suggestion.meta_features, [study.meta_features for study in past])
    order = sorted(range(len(past)), key=lambda i: (distance[i] is None, distance[i] or 0.0))
    kept = [past[i] for i in order[:MAX_STUDIES]]
    pairwise, unit = _distances_between(suggestion, kept)
    x, y = _classical_scaling(pairwise).round(4).T
    n_own = len(pairwise) - len(kept)
    names = tuple(_short(study.name) for study in kept)
    texts = tuple(f"{name}, {len(s.trials)} trials" for name, s in zip(names, kept, strict=True))
    own_names = ("this study",) * n_own
    shown_names = names if len(names) <= MAX_NAMED else ()
    layers = (
        Points(x[n_own:], y[n_own:], texts, BLUE, size=10, names=shown_names),
        Points(x[:n_own], y[:n_own], own_names, VERMILION, 16, is_star=True, names=own_names),
    )
    more = f", {len(past) - len(kept)} more left out" if len(past) > len(kept) else ""
    title = f"Map of past studies (closer = more similar){more}"
    return FigureSpec("studies", title, Axis(f"distance ({unit})"), Axis(""), layers, True)


def _distances_between(suggestion: Suggestion, past: Sequence[PastStudy]) -> tuple[Floats, str]:
    """Return the distances between the current and past studies, with their unit.

    They are those of the meta-features. If any is unknown, they are those of the best
    configurations, without the current study, which has none.
    """
    features = [suggestion.meta_features, *(study.meta_features for study in past)]
    pairwise = np.array([distances(f, features) for f in features], float)  # None becomes NaN
    if not np.isnan(pairwise).any():
        return (pairwise + pairwise.T) / 2, "meta-features, mean difference in standard deviations"
    pairwise = np.array([[_config_distance(a, b, suggestion.space) for b in past] for a in past])
    return pairwise, "best configurations, mean difference of their values, 0..1"


def _config_distance(first: PastStudy, second: PastStudy, space: SearchSpace) -> float:
    """Return how much the best configurations of two studies differ, in [0, 1]."""
    if first is second:
        return 0.0
    parts = [
        _difference(space[name], a.params[name], b.params[name])
        for a, b in zip(first.trials[:_N_BEST], second.trials[:_N_BEST], strict=False)
        for name in a.params
        if name in b.params and name in space
    ]
    return float(np.mean(parts)) if parts else 1.0


def _difference(distribution: BaseDistribution, first: Any, second: Any) -> float:
    if is_ordered(distribution) and is_number(first) and is_number(second):
        low, high = (to_unit(distribution, float(value)) for value in (first, second))
        return min(abs(low - high), 1.0)
    return float(label_of(distribution, first) != label_of(distribution, second))


def _classical_scaling(pairwise: Floats) -> Floats:
    """Place points in the plane by their distances, shape (n, 2) (Torgerson 1952)."""
    n = len(pairwise)
    centering = np.eye(n) - 1.0 / n
    roots, vectors = np.linalg.eigh(-0.5 * centering @ pairwise**2 @ centering)
    points: Floats = vectors[:, -2:] * np.sqrt(np.clip(roots[-2:], 0.0, None))
    signs = np.sign(points[np.abs(points).argmax(axis=0), [0, 1]])  # LAPACK's signs are arbitrary
    return points[:, ::-1] * np.where(signs == 0, 1.0, signs)[::-1]


def _label(space: SearchSpace, config: Config, name: str) -> str:
    return _short(label_of(space[name], config[name]) if name in config else ABSENT)


def _short(text: str) -> str:
    return sanitize(text, _MAX_NAME)

"""past studies + own trials -> the next configuration to try.

A Gaussian process on the study's own trials, around what the past expects of them. The past's
share is how well it orders the own trials: it starts at what it achieved on held-out studies, one
early trial is spent where it expects middling scores so that there is something to order, and a
past that misorders at least half of the pairs is dropped (DESIGN, "What the field has learned":
without this guard an inverted past costs +4.7 regret at trial 10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution

from optuna_metallmix._candidates import candidate_pool
from optuna_metallmix._gaussian_process import Floats
from optuna_metallmix._gaussian_process import fit_process
from optuna_metallmix._gaussian_process import log_expected_improvement
from optuna_metallmix._history import History
from optuna_metallmix._meta_dataset import Config
from optuna_metallmix._meta_dataset import build_meta_dataset
from optuna_metallmix._meta_learner import MetaLearner
from optuna_metallmix._search_space import SearchSpace
from optuna_metallmix._search_space import choices_of
from optuna_metallmix._search_space import config_key
from optuna_metallmix._search_space import is_number
from optuna_metallmix._search_space import is_ordered
from optuna_metallmix._search_space import label_of
from optuna_metallmix._search_space import perturb
from optuna_metallmix._search_space import to_unit


PROBE = 3
"""The number of own trials after which one is spent on testing the past."""
PRIOR_PAIRS = 4.0
"""How many pairs of own trials the past's quality on held-out studies counts for."""
LEAST_PAIRS = 6
"""Fewest pairs on which the past can be dropped."""
PAIR_MARGIN = 0.15
"""Least difference that the past must expect for a pair to count, in deviations."""
MAX_OWN = 200
"""Most own trials in the process: its cost grows with their cube."""
WIDTHS = (0.03, 0.1, 0.25)
N_NEAR = 15
"""Perturbations of each of the three best own trials, at each width."""
MAX_POOL = 900
_IGNORED = 1e-6
"""Relevance of a parameter that no own trial has had: it cannot tell trials apart."""


@dataclass(frozen=True)
class Step:
    """The next configuration.

    Attributes:
        params: Its values by name.
        weight: The past's share in choosing it, in [0, 1].
    """

    params: Config
    weight: float


class TransferModel:
    """What one study knows of the past; read and fitted once, asked for every trial.

    Args:
        history: The past studies, without the asking one.
        space: The search space.
        seed: Seeds the meta-learner and the pool.

    Raises:
        HistoryError: Nothing can be learned from ``history``.
    """

    def __init__(self, history: History, space: SearchSpace, seed: int) -> None:
        self.space = space
        self.learner = MetaLearner(seed=seed).fit(build_meta_dataset(history, space))
        pool = candidate_pool(self.learner, history, np.random.default_rng(seed))
        expected = self.learner.predict(pool).mean
        self._scale = max(float(expected.std()), 1e-3)
        best = np.argsort(-expected, kind="stable")[: MAX_POOL // 2]
        others = np.setdiff1d(np.arange(len(pool)), best)
        kept = np.concatenate([best, others[-(MAX_POOL - len(best)) :]])
        self._pool = [pool[int(i)] for i in kept]
        self._pool_expected = expected[kept] / self._scale
        self._pool_points = self._encode(self._pool)
        self._widths = [_coordinates([{}], name, one).shape[1] for name, one in space.items()]
        self._relevance = self._relevances()
        self._quality = max(self.learner.quality or 0.0, 0.0)

    def next(self, own: Sequence[Config], worths: Floats, rng: np.random.Generator) -> Step:
        """Choose what to try after the trials ``own``.

        Args:
            own: Configurations tried so far, shape (n,).
            worths: What they are worth, more is better, shape (n,), all finite.
            rng: Draws the perturbations.
        """
        if not own:
            return Step(self._pool[int(self._pool_expected.argmax())], 1.0)
        own, worths = _most_telling(own, worths)
        asked = frozenset().union(*own)
        tried = {config_key(one) for one in own}
        near = self._near(own, worths, rng)
        expected = self.learner.predict([*own, *near]).mean / self._scale
        of_own, of_near = expected[: len(own)], expected[len(own) :]
        candidates = [*self._pool, *near]
        points = np.concatenate([self._pool_points, self._encode(near)])
        of_all = np.concatenate([self._pool_expected, of_near])
        fresh = np.array([_key(one, asked) not in tried for one in candidates])
        relevance = np.where(self._columns(asked), self._relevance, _IGNORED)
        weight = self._weight(of_own, worths)
        if len(own) == PROBE:
            return Step(candidates[self._probe(own, points, of_all, fresh)], weight)
        gain = self._gain(own, worths, of_own, points, of_all, weight, relevance)
        return Step(candidates[int(np.where(fresh, gain, -np.inf).argmax())], weight)

    def _gain(
        self,
        own: Sequence[Config],
        worths: Floats,
        of_own: Floats,
        points: Floats,
        of_all: Floats,
        weight: float,
        relevance: Floats,
    ) -> Floats:
        """Return the log expected improvement of each candidate."""
        values = (worths - worths.mean()) / (worths.std() or 1.0)
        slope = _slope(of_own, values, weight)
        rest = values - slope * of_own
        process = fit_process(self._encode(own), rest - rest.mean(), relevance)
        mean, deviation = process.predict(points)
        return log_expected_improvement(
            mean + rest.mean() + slope * of_all, deviation, float(values.max())
        )

    def _weight(self, of_own: Floats, worths: Floats) -> float:
        """Return how far the past's order of the own trials can be trusted, in [0, 1]."""
        first, second = np.triu_indices(len(worths), 1)
        expected, found = of_own[first] - of_own[second], worths[first] - worths[second]
        telling = (np.abs(expected) > PAIR_MARGIN) & (found != 0)
        n_right = float((expected * found > 0)[telling].sum())
        n_pairs = float(telling.sum())
        if n_pairs >= LEAST_PAIRS and n_right <= n_pairs / 2:
            return 0.0
        prior = PRIOR_PAIRS * (1 + self._quality) / 2
        return float(max(0.0, 2 * (n_right + prior) / (n_pairs + PRIOR_PAIRS) - 1))

    def _probe(self, own: Sequence[Config], points: Floats, of_all: Floats, fresh: Floats) -> int:
        """Return a candidate far from own trials, of which the past expects a middling score."""
        from scipy.spatial.distance import cdist

        away = cdist(points, self._encode(own)).min(axis=1)
        middling = np.abs(of_all - np.median(self._pool_expected)) < 0.5
        return int(np.where((fresh > 0) & middling, away, -1.0).argmax())

    def _near(
        self, own: Sequence[Config], worths: Floats, rng: np.random.Generator
    ) -> list[Config]:
        """Vary the best own trials: numbers a little, choices as their kin have them."""
        best = [own[int(i)] for i in np.argsort(-worths, kind="stable")[:3]]
        kin: dict[frozenset[str], list[Config]] = {}
        for one in [*own, *self._pool]:
            kin.setdefault(frozenset(one), []).append(one)
        return [
            self._vary(one, kin[frozenset(one)], width, rng)
            for one in best
            for width in WIDTHS
            for _ in range(N_NEAR)
        ]

    def _vary(
        self, config: Config, kin: Sequence[Config], width: float, rng: np.random.Generator
    ) -> Config:
        donor = kin[int(rng.integers(len(kin)))]
        varied = dict(config)
        for name, value in config.items():
            ordered = is_ordered(self.space[name]) and is_number(value)
            if ordered and rng.random() < 0.6:
                varied[name] = perturb(self.space[name], value, width, rng)
            elif not ordered and rng.random() < 0.2:
                varied[name] = donor[name]
        return varied

    def _encode(self, configs: Sequence[Config]) -> Floats:
        """Return points in the unit cube, shape (n, d): a number one coordinate, a choice many."""
        columns = [_coordinates(configs, name, one) for name, one in self.space.items()]
        return np.concatenate(columns, axis=1)

    def _columns(self, names: frozenset[str]) -> NDArray[np.bool_]:
        """Return which coordinates are of parameters that own trials have."""
        return np.repeat([name in names for name in self.space], self._widths)

    def _relevances(self) -> Floats:
        """Return by coordinate the past's mean absolute SHAP value, as a relative relevance."""
        configs = self.learner.dataset.configs[:: max(1, len(self.learner.dataset.configs) // 500)]
        importance = np.abs(self.learner.shap_values(configs)[0]).mean(axis=0)
        share = np.sqrt(np.clip(importance / max(importance.max(), 1e-12), 0.05, 1.0))
        return np.repeat(share, self._widths)


def _coordinates(configs: Sequence[Config], name: str, distribution: BaseDistribution) -> Floats:
    if is_ordered(distribution):
        units = [
            to_unit(distribution, one[name]) if is_number(one.get(name)) else 0.5
            for one in configs
        ]
        column: Floats = np.clip(np.array(units, float), 0.0, 1.0)[:, None]
        return column
    labels = [label_of(distribution, choice) for choice in choices_of(distribution)]
    given = [label_of(distribution, one[name]) if name in one else None for one in configs]
    points: Floats = np.array([[0.5 * (one == label) for label in labels] for one in given])
    return points.reshape(len(configs), len(labels))


def _key(config: Config, asked: frozenset[str]) -> str:
    """Return what tells configurations apart for this objective: what it has asked for so far."""
    return config_key({name: value for name, value in config.items() if name in asked})


def _most_telling(own: Sequence[Config], worths: Floats) -> tuple[list[Config], Floats]:
    """Keep the best and the latest of very many own trials."""
    latest = np.arange(len(own))[-MAX_OWN // 2 :]
    best = np.argsort(-worths, kind="stable")[: MAX_OWN // 2]
    kept = np.union1d(best, latest) if len(own) > MAX_OWN else np.arange(len(own))
    return [own[int(i)] for i in kept], worths[kept]


def _slope(expected: Floats, values: Floats, weight: float) -> float:
    """Return how values grow with what the past expects: least squares, drawn to ``weight``."""
    if weight == 0.0:
        return 0.0
    centred = expected - expected.mean()
    strength = 2.0
    slope = (centred @ values + strength * weight) / (centred @ centred + strength)
    return float(np.clip(slope, 0.0, 1.5))

"""Choose the next configuration from past studies and the study's own trials.

While the past is likely to be about the same task, a Gaussian process of the own trials has the
past's predictions as its prior mean. The second trial is a probe: a configuration with a middling
prediction, to test the past. Without the past, early trials are random draws, since a Gaussian
process of few trials only explores the corners of the space. (Without this guard against negative
transfer, an inverted past adds 4.7 to the regret at trial 10 on HPOBench; measured 2026-11.)

Notations in this module:
    n: Number of own trials.
    m: Number of configurations to choose from.
    d: Number of coordinates of an encoded configuration.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from itertools import islice

import numpy as np

from optuna_metallmix.candidates import RANDOM
from optuna_metallmix.candidates import build_pool
from optuna_metallmix.candidates import select_diverse
from optuna_metallmix.history import History
from optuna_metallmix.metalearner import MIN_TRUST
from optuna_metallmix.metalearner import Floats
from optuna_metallmix.metalearner import fit_meta_learner
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import config_key
from optuna_metallmix.space import is_number
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import perturb
from optuna_metallmix.transfer.gaussian_process import Encoding
from optuna_metallmix.transfer.gaussian_process import fit_gps
from optuna_metallmix.transfer.gaussian_process import log_expected_improvement
from optuna_metallmix.transfer.prior_mean import PRIOR_SIMILARITY
from optuna_metallmix.transfer.prior_mean import PriorMean
from optuna_metallmix.transfer.prior_mean import task_similarity


N_BEFORE_PROBE = 1
"""Number of own trials before the probe."""
MIN_SIMILARITY = 0.5
"""Minimum task similarity at which the past is used. (Using it with that probability instead: mean
regret at trial 5 on LCBench .13 instead of .08, at trial 10 with an inverted past on HPOBench .19
instead of .20; measured 2026-11.)"""
N_RANDOM_TRIALS = 6
"""Number of own trials below which a trial without the past is random. (Mean regret at trial 10 on
HPOBench with a useless past: .20, without random trials 1.20, TPE .19; measured 2026-11.)"""
MAX_OWN = 200
"""Maximum number of own trials in the Gaussian process, whose cost is cubic in it."""
SLOPE_WEIGHT = 2.0
"""Number of own trials that the slope on held-out studies counts for."""
WIDTHS = (0.1, 0.25, 0.5)
"""Standard deviations of perturbations, in unit space. (Regret at trial 25 with .03, .1 and .25:
LCBench -.11 instead of -.13, HPOBench the same; measured 2026-11.)"""
N_PERTURBED = 8
"""Number of perturbations of each of the three best own trials, for each width."""
MAX_POOL = 1500
_IRRELEVANT = 1e-6
"""Relevance of a parameter that no own trial has had."""


@dataclass(frozen=True)
class NextConfig:
    """The configuration to try next.

    Attributes:
        params: Values by parameter name.
        similarity: Probability, given the own trials, that the past is about the same task.
    """

    params: Config
    similarity: float


class TransferModel:
    """Proposes the next configuration of a study; fitted once to past studies.

    Args:
        history: Past studies, without the current one.
        space: Search space.
        seed: Seeds the meta-learner and the pool.

    Raises:
        HistoryError: Nothing can be learned from ``history``.
    """

    def __init__(self, history: History, space: SearchSpace, seed: int) -> None:
        self.space = space
        self.learner = fit_meta_learner(history, space, seed)
        members = build_pool(self.learner, history, np.random.default_rng(seed))
        configs = [member.params for member in members]
        self._random = [member.params for member in members if member.origin == RANDOM]
        self._prior_mean = PriorMean(self.learner, configs)
        means = self._prior_mean.predict(configs)
        best = np.argsort(-means, kind="stable")[: MAX_POOL // 2]
        others = np.setdiff1d(np.arange(len(configs)), best)
        kept = np.concatenate([best, others[-(MAX_POOL - len(best)) :]])
        self._encoding = Encoding(space)
        self._pool = [configs[int(i)] for i in kept]
        self._pool_means = means[kept]
        self._pool_points = self._encoding.encode(self._pool)

    def propose(
        self, own: Sequence[Config], scores: Floats, rng: np.random.Generator, n_pending: int = 0
    ) -> NextConfig:
        """Propose the configuration to try after the trials ``own``.

        Args:
            own: Configurations of own trials, shape (n,).
            scores: Their scores, larger is better, shape (n,), all finite.
            rng: Draws perturbations and random trials.
            n_pending: Number of trials that are being proposed at the same time: as many diverse
                configurations are left to them.
        """
        if own:
            own, scores = _best_and_latest(own, scores)
            ranked, similarity = self._rank(own, scores, rng)
        else:
            ranked, similarity = _sort(self._pool, self._pool_means), PRIOR_SIMILARITY
        # The last of the best diverse configurations: the others are left to pending trials.
        best = list(islice(_untried(ranked, own), 1 + 30 * n_pending)) or self._pool[:1]
        last = select_diverse(range(len(best)), best, self.space, n_pending + 1)[-1]
        return NextConfig(best[last], similarity)

    def _rank(
        self, own: Sequence[Config], scores: Floats, rng: np.random.Generator
    ) -> tuple[Iterator[Config], float]:
        """Return configurations, the most promising first, and the task similarity."""
        perturbed = self._perturb_best(own, scores, rng)
        means = self._prior_mean.predict([*own, *perturbed])
        own_means, means = means[: len(own)], np.append(self._pool_means, means[len(own) :])
        trust = self.learner.trust
        similarity = task_similarity(own_means, scores, trust) if trust > MIN_TRUST else 0.0
        use_past = similarity >= MIN_SIMILARITY
        points = np.concatenate([self._pool_points, self._encoding.encode(perturbed)])
        if use_past and len(own) == N_BEFORE_PROBE:
            values = self._probe_values(own, points, means)
        else:
            values = self._log_improvement(own, scores, own_means, points, means, use_past)
        ranked = _sort([*self._pool, *perturbed], values)
        if not use_past and len(own) < N_RANDOM_TRIALS:
            draws = rng.permutation(len(self._random))
            ranked = chain((self._random[int(i)] for i in draws), ranked)
        return ranked, similarity

    def _probe_values(self, own: Sequence[Config], points: Floats, means: Floats) -> Floats:
        """Return the distance of middling configurations to own trials, -1 for others."""
        from scipy.spatial.distance import cdist

        distances = cdist(points, self._encoding.encode(own)).min(axis=1)
        is_middling = np.abs(means - np.median(self._pool_means)) < 0.5
        return np.where(is_middling, distances, -1.0)

    def _log_improvement(
        self,
        own: Sequence[Config],
        scores: Floats,
        own_means: Floats,
        points: Floats,
        means: Floats,
        use_past: bool,
    ) -> Floats:
        """Return the log expected improvement of ``points``, with prior means ``means``."""
        scores = (scores - scores.mean()) / (float(scores.std()) or 1.0)
        slope = self._slope(own_means, scores) if use_past else 0.0
        relevance = self._prior_mean.relevance if use_past else 1.0
        residuals = scores - slope * own_means
        names = frozenset().union(*own)
        is_known = self._encoding.repeat([name in names for name in self.space]) > 0
        relevance = np.where(is_known, relevance, _IRRELEVANT)
        own_points = self._encoding.encode(own)
        (gp,) = fit_gps([(own_points, residuals - residuals.mean())], relevance)
        mean, deviation = gp.predict(points)
        mean = mean + residuals.mean() + slope * means
        return log_expected_improvement(mean, deviation, float(scores.max()))

    def _slope(self, own_means: Floats, scores: Floats) -> float:
        """Return the slope of standardized scores over prior means, shrunk towards the trust."""
        centred = own_means - own_means.mean()
        slope = centred @ scores + SLOPE_WEIGHT * self.learner.trust
        return float(np.clip(slope / (centred @ centred + SLOPE_WEIGHT), 0.0, 1.5))

    def _perturb_best(
        self, own: Sequence[Config], scores: Floats, rng: np.random.Generator
    ) -> list[Config]:
        best = [own[int(i)] for i in np.argsort(-scores, kind="stable")[:3]]
        by_names: dict[frozenset[str], list[Config]] = {}
        for config in [*own, *self._pool]:
            by_names.setdefault(frozenset(config), []).append(config)
        return [
            self._perturb(config, by_names[frozenset(config)], width, rng)
            for config in best
            for width in WIDTHS
            for _ in range(N_PERTURBED)
        ]

    def _perturb(
        self, config: Config, donors: Sequence[Config], width: float, rng: np.random.Generator
    ) -> Config:
        """Perturb numbers, and take choices from a configuration with the same parameters."""
        donor = donors[int(rng.integers(len(donors)))]
        perturbed = dict(config)
        for name, value in config.items():
            ordered = is_ordered(self.space[name]) and is_number(value)
            if ordered and rng.random() < 0.6:
                perturbed[name] = perturb(self.space[name], value, width, rng)
            elif not ordered and rng.random() < 0.2:
                perturbed[name] = donor[name]
        return perturbed


def _untried(configs: Iterable[Config], own: Sequence[Config]) -> Iterator[Config]:
    """Yield the configurations that differ from own trials in a parameter that any of them had."""
    names = frozenset().union(*own)

    def key(config: Config) -> str:
        return config_key({name: value for name, value in config.items() if name in names})

    tried = {key(config) for config in own}
    return (config for config in configs if key(config) not in tried)


def _best_and_latest(own: Sequence[Config], scores: Floats) -> tuple[list[Config], Floats]:
    """Return the best and the latest own trials if there are more than :data:`MAX_OWN`."""
    latest = np.arange(len(own))[-MAX_OWN // 2 :]
    best = np.argsort(-scores, kind="stable")[: MAX_OWN // 2]
    kept = np.union1d(best, latest) if len(own) > MAX_OWN else np.arange(len(own))
    return [own[int(i)] for i in kept], scores[kept]


def _sort(configs: Sequence[Config], values: Floats) -> Iterator[Config]:
    return (configs[int(i)] for i in np.argsort(-values, kind="stable"))

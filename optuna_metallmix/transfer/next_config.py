"""Choose the next configuration from past studies and the current study's trials.

While the past studies are likely to be about the same task, the first trials follow a portfolio of
configurations that are good on them. Then a Gaussian process is fitted to the current study's
trials, whose prior mean is predicted from the past. Some trials explore, since the advice of the
past alone never shows that it is wrong: the third has a middling prediction, and some later ones
have choices that have not been tried.

A past that does not agree with the trials is not used. A space with choices is then left to the
base sampler. In a space of numbers, early trials are random, since a Gaussian process of few
trials only explores the corners of the space, and later ones follow the Gaussian process without a
prior mean. (With an inverted past, regret at trial 25 on LCBench .09, TPE .28; measured 2026-11.)

Notations in this module:
    n: Number of observed trials, which are those of the current study.
    m: Number of configurations to choose from.
    d: Number of coordinates of an encoded configuration.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from itertools import islice

import numpy as np
from numpy.random import Generator

from optuna_metallmix.candidates import RANDOM
from optuna_metallmix.candidates import build_pool
from optuna_metallmix.candidates import propose_candidates
from optuna_metallmix.candidates import select_diverse
from optuna_metallmix.fork_lock import import_modules
from optuna_metallmix.history import History
from optuna_metallmix.metalearner import MIN_TRUST
from optuna_metallmix.metalearner import Floats
from optuna_metallmix.metalearner import fit_meta_learner
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import config_key
from optuna_metallmix.space import from_unit
from optuna_metallmix.space import is_continuous
from optuna_metallmix.space import is_number
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import to_unit
from optuna_metallmix.transfer.exploration import Exploration
from optuna_metallmix.transfer.gaussian_process import Encoding
from optuna_metallmix.transfer.gaussian_process import fit_gps
from optuna_metallmix.transfer.gaussian_process import log_expected_improvement
from optuna_metallmix.transfer.prior_mean import PRIOR_SIMILARITY
from optuna_metallmix.transfer.prior_mean import PriorMean
from optuna_metallmix.transfer.prior_mean import task_similarity


N_PORTFOLIO = 2
"""Number of finished trials below which the portfolio is followed. (With 2 and 5: regret at trials
5, 10 and 25 with a past made by TPE on LCBench .03, -.08 and -.16 or .06, -.05 and -.15; measured
2026-11 on 8 tasks with 2 seeds.)"""
PROBE = 2
"""Number of observed trials before the probe, a configuration with a middling prediction."""
EXPLORED = (2, 4, 6, 8)
"""Numbers of observed trials before a trial that explores what past studies do not know."""
FIRST_KNOWN = 6
"""The first of these before a trial with an untried choice that past studies know. (Before each of
them, regret at trials 5, 10 and 25 on XGBoost .25, .18 and .09 instead of .20, .16 and .07;
measured 2026-11 on 10 tasks with 2 seeds.)"""
EXPLORATION_PERIOD = 5
"""Number of trials from a trial that explores to the next, after those in :data:`EXPLORED`."""
MIN_SIMILARITY = 0.5
"""Minimum task similarity at which past studies are used. (Using them with that probability: mean
regret at trial 5 on LCBench .13 instead of .08, at trial 10 with inverted past studies on HPOBench
.19 instead of .20; measured 2026-11.)"""
N_RANDOM_TRIALS = 6
"""Number of observed trials below which a trial is random if past studies are not used. (Regret at
trial 10 on HPOBench with useless ones: .20, otherwise 1.20, TPE .19; measured 2026-11.)"""
MAX_OBSERVED = 100
"""Maximum number of observed trials in the Gaussian process, whose cost is cubic in it, and in the
task similarity, which compares all pairs of them."""
SLOPE_WEIGHT = 2.0
"""Weight of the prior slope, 1, in pseudo-observations."""
WIDTHS = (0.1, 0.25, 0.5)
"""Standard deviations of perturbations, in unit space. (Regret at trial 25 with .03, .1 and .25:
LCBench -.11 instead of -.13, HPOBench the same; measured 2026-11.)"""
N_PERTURBED = 5
"""Number of perturbations of each of the three best observed trials, for each width."""
MAX_POOL = 1500
"""Maximum number of configurations to choose from. (Regret at trials 5, 10 and 25 on XGBoost: .25,
.18 and .09, with 1,000 .30, .24 and .15; measured 2026-11 on 10 tasks with 2 seeds.)"""
_IRRELEVANT = 1e-6
"""Relevance of a parameter that no observed trial has."""


@dataclass(frozen=True)
class NextConfig:
    """The configuration to try next.

    Attributes:
        params: Values by parameter name; ``None`` to leave the trial to the base sampler.
        similarity: Probability, given the observed trials, that past studies are about this task.
    """

    params: Config | None
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
        import_modules("scipy.linalg.lapack", "scipy.spatial.distance", "scipy.special")
        self.space = space
        self.learner = fit_meta_learner(history, space, seed)
        candidates = propose_candidates(self.learner, history, np.random.default_rng(seed))
        self._portfolio = [candidate.params for candidate in candidates]
        members = build_pool(self.learner, history, np.random.default_rng(seed))
        configs = [member.params for member in members]
        self._random = [member.params for member in members if member.origin == RANDOM]
        self._has_choices = not all(is_ordered(distribution) for distribution in space.values())
        self._encoding = Encoding(space)
        self._prior_mean = PriorMean(self.learner, self._encoding, configs)
        means = self._prior_mean.predict(configs)
        is_random = np.array([member.origin == RANDOM for member in members])
        self._middle = float(np.median(means[is_random] if is_random.any() else means))
        """Median prior mean of random configurations."""
        best = np.argsort(-means, kind="stable")[: MAX_POOL // 2]
        others = np.setdiff1d(np.arange(len(configs)), best)
        kept = np.concatenate([best, others[-(MAX_POOL - len(best)) :]])
        self._pool = [configs[int(i)] for i in kept]
        self._pool_means = means[kept]
        self._pool_points = self._encoding.encode(self._pool)
        self._by_names: dict[frozenset[str], list[Config]] = {}
        for config in self._pool:
            self._by_names.setdefault(frozenset(config), []).append(config)
        self.exploration = Exploration(history, self._pool, self._pool_means)
        self._observed: dict[int, tuple[Config, Floats, float]] = {}

    def propose(
        self,
        finished: Sequence[Config],
        scores: Floats,
        rng: Generator,
        running: Sequence[Config] = (),
        n_pending: int = 0,
        space: SearchSpace | None = None,
    ) -> NextConfig:
        """Propose the configuration to try after the observed trials, finished and running.

        Args:
            finished: Configurations of finished trials.
            scores: Their scores, larger is better, the median is 0, shape (len(finished),), all
                finite.
            rng: Draws perturbations and random trials.
            running: Configurations of running trials, as far as they are known. They count as
                median, and are not proposed again.
            n_pending: Number of trials that are being proposed at the same time; that many of the
                best diverse configurations are reserved for them.
            space: The parameters and ranges that the objective is known to have. Default: the
                space the model was made for.
        """
        space = space or self.space
        observed = [*finished, *running]
        kept, kept_scores = _best_and_latest(observed, np.append(scores, np.zeros(len(running))))
        similarity = self._similarity(kept, kept_scores)
        use_past = similarity >= MIN_SIMILARITY
        n = len(observed) + n_pending
        portfolio = list(self._untried(self._portfolio, observed, running))
        reserved = portfolio[:n_pending]
        if _explores(n):
            best = finished[int(np.argmax(scores))] if finished else self._portfolio[0]
            only_unknown = not use_past or (n <= EXPLORED[-1] and n != FIRST_KNOWN)
            taken = [*observed, *reserved]
            config = self.exploration.untried(best, taken, space, only_unknown=only_unknown)
            if config is not None or (n > PROBE and self.exploration.unknown(space)):
                return NextConfig(config, similarity)
        if not use_past and self._has_choices:
            return NextConfig(None, similarity)
        if use_past and len(finished) < N_PORTFOLIO and len(portfolio) > n_pending:
            return NextConfig(portfolio[n_pending], similarity)
        ranked = self._rank(kept, kept_scores, rng, use_past)
        # The last of the best diverse configurations: the others are reserved for pending trials.
        untried = self._untried(ranked, observed, [*running, *reserved])
        first = list(islice(untried, 1 + 30 * n_pending)) or self._pool[:1]
        last = select_diverse(range(len(first)), first, self.space, n_pending + 1)[-1]
        return NextConfig(first[last], similarity)

    def _untried(
        self, configs: Iterable[Config], observed: Sequence[Config], running: Sequence[Config]
    ) -> Iterator[Config]:
        """Yield the configurations that differ from observed ones in any parameter of theirs.

        A running trial may not have asked for all of its parameters yet. If those it has include
        a continuous one, a configuration with all of them is that trial's.
        """
        names = frozenset().union(*observed)
        tried = {_key(config, names) for config in observed}
        partial: dict[frozenset[str], set[Hashable]] = {}
        for config in running:
            if any(is_continuous(self.space[name]) for name in config):
                partial.setdefault(frozenset(config), set()).add(config_key(config))
        return (
            config
            for config in configs
            if _key(config, names) not in tried
            and not any(_key(config, asked) in keys for asked, keys in partial.items())
        )

    def _look_up(self, observed: Sequence[Config]) -> tuple[Floats, Floats]:
        """Return the points of observed configurations, shape (n, d), and their prior means."""
        new = [c for c in observed if id(c) not in self._observed]
        if new:  # entries keep their configuration, so that its id stays unique
            points = self._encoding.encode(new)
            means = self._prior_mean.predict(new, points)
            self._observed.update(
                (id(c), (c, p, m)) for c, p, m in zip(new, points, means, strict=True)
            )
        entries = [self._observed[id(config)] for config in observed]
        self._observed = {
            id(config): entry for config, entry in zip(observed, entries, strict=True)
        }
        return np.array([p for _, p, _ in entries]), np.array([m for _, _, m in entries])

    def _similarity(self, observed: Sequence[Config], scores: Floats) -> float:
        if not observed:
            return PRIOR_SIMILARITY
        if self.learner.trust <= MIN_TRUST:
            return 0.0
        means = self._look_up(observed)[1] / self._prior_mean.spread
        return task_similarity(means, scores, self.learner.trust)

    def _rank(
        self, observed: Sequence[Config], scores: Floats, rng: Generator, use_past: bool
    ) -> Iterator[Config]:
        """Return configurations, the most promising first."""
        if not use_past and len(observed) < N_RANDOM_TRIALS:
            draws = (self._random[int(i)] for i in rng.permutation(len(self._random)))
            return chain(draws, _sort(self._pool, self._pool_means))
        if not observed:
            return _sort(self._pool, self._pool_means)
        perturbed = self._perturb_best(observed, scores, rng)
        points = self._encoding.encode(perturbed)
        means = np.append(self._pool_means, self._prior_mean.predict(perturbed, points))
        points = np.concatenate([self._pool_points, points])
        if use_past and len(observed) == PROBE:
            values = self._probe_values(observed, points, means)
        else:
            values = self._log_improvement(observed, scores, points, means, use_past)
        return _sort([*self._pool, *perturbed], values)

    def _probe_values(self, observed: Sequence[Config], points: Floats, means: Floats) -> Floats:
        """Return the distance of middling configurations to observed trials, -1 for others."""
        from scipy.spatial.distance import cdist

        distances = cdist(points, self._look_up(observed)[0]).min(axis=1)
        is_middling = np.abs(means - self._middle) < 0.5 * self._prior_mean.spread
        return np.where(is_middling, distances, -1.0)

    def _log_improvement(
        self,
        observed: Sequence[Config],
        scores: Floats,
        points: Floats,
        means: Floats,
        use_past: bool,
    ) -> Floats:
        """Return the log expected improvement of ``points``, with prior means ``means``.

        Own scores are put on the past's scale, in units of the past's prediction error: on it,
        trials as good as the observed ones usually differ by as much as was observed. Standardized
        own scores would make unexplored configurations look as good as the mean of a good start.
        """
        scores = (scores - scores.mean()) / (float(scores.std()) or 1.0)
        slope, relevance = 0.0, np.ones(points.shape[1])
        own_points, own_means = self._look_up(observed)
        if use_past:
            error = max(self.learner.error, 0.05)
            own_means, means = own_means / error, means / error
            scores = scores * np.sqrt(1.0 + own_means.var())
            slope = _slope(own_means, scores)
            relevance = self._prior_mean.relevance
        residuals = scores - slope * own_means
        names = frozenset().union(*observed)
        is_known = self._encoding.repeat([name in names for name in self.space]) > 0
        relevance = np.where(is_known, relevance, _IRRELEVANT)
        data = (own_points, residuals - residuals.mean())
        (gp,) = fit_gps([data], relevance)
        mean, deviation = gp.predict(points)
        mean = mean + residuals.mean() + slope * means
        return log_expected_improvement(mean, deviation, float(scores.max()))

    def _perturb_best(
        self, observed: Sequence[Config], scores: Floats, rng: Generator
    ) -> list[Config]:
        best = [observed[int(i)] for i in np.argsort(-scores, kind="stable")[:3]]
        return [perturbed for config in best for perturbed in self._perturb(config, rng)]

    def _perturb(self, config: Config, rng: Generator) -> Sequence[Config]:
        """Perturb numbers, and take choices from configurations with the same parameters."""
        widths = np.repeat(WIDTHS, N_PERTURBED)
        donors = self._by_names.get(frozenset(config), [config])
        perturbed = [dict(config) for _ in widths]
        chosen = [donors[int(i)] for i in rng.integers(len(donors), size=len(widths))]
        draws = rng.random((len(config), len(widths)))
        steps = widths * rng.standard_normal((len(config), len(widths)))
        for (name, value), draw, step in zip(config.items(), draws, steps, strict=True):
            distribution = self.space[name]
            if is_ordered(distribution) and is_number(value):
                moved = to_unit(distribution, float(value)) + step
                for i in np.flatnonzero(draw < 0.6):
                    perturbed[i][name] = from_unit(distribution, moved[i])
            else:
                for i in np.flatnonzero(draw < 0.2):
                    perturbed[i][name] = chosen[i][name]
        return perturbed


def _explores(n: int) -> bool:
    """Return whether the trial after ``n`` others explores."""
    later = n - EXPLORED[-1]
    return n in EXPLORED or (later > 0 and later % EXPLORATION_PERIOD == 0)


def _slope(means: Floats, scores: Floats) -> float:
    """Return the slope of ``scores`` over ``means``, shrunk towards 1."""
    centered = means - means.mean()
    slope = (centered @ scores + SLOPE_WEIGHT) / (centered @ centered + SLOPE_WEIGHT)
    return float(np.clip(slope, 0.0, 1.5))


def _key(config: Config, names: Collection[str]) -> Hashable:
    return config_key({name: value for name, value in config.items() if name in names})


def _best_and_latest(observed: Sequence[Config], scores: Floats) -> tuple[list[Config], Floats]:
    """Return the best and the latest trials if there are more than :data:`MAX_OBSERVED`."""
    latest = np.arange(len(observed))[-MAX_OBSERVED // 2 :]
    best = np.argsort(-scores, kind="stable")[: MAX_OBSERVED // 2]
    kept = np.union1d(best, latest) if len(observed) > MAX_OBSERVED else np.arange(len(observed))
    return [observed[int(i)] for i in kept], scores[kept]


def _sort(configs: Sequence[Config], values: Floats) -> Iterator[Config]:
    return (configs[int(i)] for i in np.argsort(-values, kind="stable"))

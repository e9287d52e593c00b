"""past studies + own trials -> the next configuration to try.

A Gaussian process on the study's own trials, around what the past expects of them, while it is
likelier than not that the past is about this task (``_belief.py``). The second trial is spent
where it expects middling scores, so that there is something to hold against it. Without the past,
and with few own trials, a process knows only where nobody has been, which is the corners of the
space: then the trial is a random one. (Without the guard an inverted past costs +4.7 regret at
trial 10 on HPOBench, DESIGN.)
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from optuna_metallmix.candidates import RANDOM
from optuna_metallmix.candidates import build_pool
from optuna_metallmix.candidates import select_diverse
from optuna_metallmix.history import History
from optuna_metallmix.metalearner import MIN_TRUST
from optuna_metallmix.metalearner import fit_meta_learner
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import config_key
from optuna_metallmix.space import is_number
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import perturb
from optuna_metallmix.transfer.gaussian_process import Encoding
from optuna_metallmix.transfer.gaussian_process import Floats
from optuna_metallmix.transfer.gaussian_process import fit_process
from optuna_metallmix.transfer.gaussian_process import log_expected_improvement
from optuna_metallmix.transfer.prior_mean import PRIOR
from optuna_metallmix.transfer.prior_mean import PriorMean
from optuna_metallmix.transfer.prior_mean import belief


PROBE = 1
"""The number of own trials after which one is spent on testing the past."""
LEAST_BELIEF = 0.5
"""How likely it has to be that the past is about the task, for it to be used. (Drawing it by that
likelihood instead: LCBench, mean regret at trial 5 .13 instead of .08, an inverted past on
HPOBench at 10 .19 instead of .20; 12 and 16 searches, 2026-11.)"""
N_START = 6
"""The number of own trials below which one without the past is a random one. (HPOBench with a
past that carries nothing over, mean regret at trial 10: 1.20 without, .20 with; TPE .19; 2026-11.)
"""
MAX_OWN = 200
"""Most own trials in the process: its cost grows with their cube."""
PRIOR_TRIALS = 2.0
"""How many trials' worth of evidence the slope on studies left out is."""
WIDTHS = (0.1, 0.25, 0.5)
"""Of perturbations, in unit space. (.03, .1 and .25 end worse: LCBench -.11 instead of -.13 at
trial 25, HPOBench the same; 34 and 16 searches, 2026-11.)"""
N_NEAR = 8
"""Perturbations of each of the three best own trials, at each width."""
MAX_POOL = 1500
_IGNORED = 1e-6
"""Relevance of a parameter that no own trial has had: it cannot tell trials apart."""


@dataclass(frozen=True)
class Step:
    """The next configuration.

    Attributes:
        params: Its values by name.
        belief: How likely it is, by the trials before it, that the past is about this task.
    """

    params: Config
    belief: float


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
        self.learner = fit_meta_learner(history, space, seed)
        pool = list(build_pool(self.learner, history, np.random.default_rng(seed)).values())
        self._random = [one.params for one in pool if one.origin == RANDOM]
        self._expectation = PriorMean(self.learner, [one.params for one in pool])
        expected = self._expectation.of([one.params for one in pool])
        best = np.argsort(-expected, kind="stable")[: MAX_POOL // 2]
        others = np.setdiff1d(np.arange(len(pool)), best)
        kept = np.concatenate([best, others[-(MAX_POOL - len(best)) :]])
        self._encoding = Encoding(space)
        self._pool = [pool[int(i)].params for i in kept]
        self._pool_expected = expected[kept]
        self._pool_points = self._encoding.points(self._pool)

    def next(
        self,
        own: Sequence[Config],
        worths: Floats,
        rng: np.random.Generator,
        n_unknown: int = 0,
    ) -> Step:
        """Choose what to try after the trials ``own``.

        Args:
            own: Configurations tried so far, shape (n,).
            worths: What they are worth, more is better, shape (n,), all finite.
            rng: Draws perturbations, and trials without the past.
            n_unknown: How many others ask at this moment, who are told the same: so many that
                are unlike each other are left to them.
        """
        if not own:
            best = _in_order(self._pool, self._pool_expected)
            return Step(self._after_others(best, n_unknown), PRIOR)
        own, worths = _most_telling(own, worths)
        near = self._near(own, worths, rng)
        expected = self._expectation.of([*own, *near])  # one call: most of its time is per call
        of_own, of_near = expected[: len(own)], expected[len(own) :]
        believed = self._belief(of_own, worths)
        if believed >= LEAST_BELIEF:
            candidates = self._with_past(own, worths, near, of_own, of_near)
        else:
            candidates = self._without_past(own, worths, near, rng)
        asked = frozenset().union(*own)
        tried = {_key(one, asked) for one in own}
        fresh = (one for one in candidates if _key(one, asked) not in tried)
        return Step(self._after_others(fresh, n_unknown), believed)

    def _after_others(self, promising: Iterator[Config], n_unknown: int) -> Config:
        first = list(islice(promising, 1 + 30 * n_unknown)) or self._pool[:1]
        return first[select_diverse(range(len(first)), first, self.space, n_unknown + 1)[-1]]

    def _belief(self, expected: Floats, worths: Floats) -> float:
        trust = self.learner.trust
        return belief(expected, worths, trust) if trust > MIN_TRUST else 0.0

    def _with_past(
        self,
        own: Sequence[Config],
        worths: Floats,
        near: Sequence[Config],
        of_own: Floats,
        of_near: Floats,
    ) -> Iterator[Config]:
        """Yield candidates, the most promising first; some may have been tried."""
        points = np.concatenate([self._pool_points, self._encoding.points(near)])
        expected = np.concatenate([self._pool_expected, of_near])
        if len(own) == PROBE:
            worth = self._distances_of_middling(own, points, expected)
        else:
            slope = self._slope(of_own, worths)
            means = slope * of_own, slope * expected
            worth = self._gain(own, worths, points, means, self._expectation.relevance)
        yield from _in_order([*self._pool, *near], worth)

    def _without_past(
        self,
        own: Sequence[Config],
        worths: Floats,
        near: Sequence[Config],
        rng: np.random.Generator,
    ) -> Iterator[Config]:
        """Yield candidates as :meth:`_with_past` does; while own trials are few, random ones."""
        if len(own) < N_START:
            yield from (self._random[int(i)] for i in rng.permutation(len(self._random)))
        points = np.concatenate([self._pool_points, self._encoding.points(near)])
        means = np.zeros(len(own)), np.zeros(len(points))
        worth = self._gain(own, worths, points, means, np.ones_like(self._expectation.relevance))
        yield from _in_order([*self._pool, *near], worth)

    def _slope(self, expected: Floats, worths: Floats) -> float:
        """Return how standardised worths grow with what the past expects.

        Least squares, drawn to what it is on studies left out.
        """
        centred = expected - expected.mean()
        slope = centred @ _standard(worths) + PRIOR_TRIALS * self.learner.trust
        return float(np.clip(slope / (centred @ centred + PRIOR_TRIALS), 0.0, 1.5))

    def _gain(
        self,
        own: Sequence[Config],
        worths: Floats,
        points: Floats,
        means: tuple[Floats, Floats],
        relevance: Floats,
    ) -> Floats:
        """Return the log expected improvement of ``points``; ``means`` are the prior means of own
        trials and of points."""
        values = _standard(worths)
        rest = values - means[0]
        names = frozenset().union(*own)
        asked = self._encoding.spread([name in names for name in self.space])
        relevance = np.where(asked > 0, relevance, _IGNORED)
        process = fit_process(self._encoding.points(own), rest - rest.mean(), relevance)
        mean, deviation = process.predict(points)
        return log_expected_improvement(
            mean + rest.mean() + means[1], deviation, float(values.max())
        )

    def _distances_of_middling(
        self, own: Sequence[Config], points: Floats, expected: Floats
    ) -> Floats:
        """Return how far from own trials candidates are of which the past expects middling
        scores; -1 for others."""
        from scipy.spatial.distance import cdist

        away = cdist(points, self._encoding.points(own)).min(axis=1)
        middling = np.abs(expected - np.median(self._pool_expected)) < 0.5
        return np.where(middling, away, -1.0)

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


def _key(config: Config, asked: frozenset[str]) -> str:
    """Return what tells configurations apart for this objective: what it has asked for so far."""
    return config_key({name: value for name, value in config.items() if name in asked})


def _most_telling(own: Sequence[Config], worths: Floats) -> tuple[list[Config], Floats]:
    """Keep the best and the latest of very many own trials."""
    latest = np.arange(len(own))[-MAX_OWN // 2 :]
    best = np.argsort(-worths, kind="stable")[: MAX_OWN // 2]
    kept = np.union1d(best, latest) if len(own) > MAX_OWN else np.arange(len(own))
    return [own[int(i)] for i in kept], worths[kept]


def _in_order(candidates: Sequence[Config], worth: Floats) -> Iterator[Config]:
    return (candidates[int(i)] for i in np.argsort(-worth, kind="stable"))


def _standard(worths: Floats) -> Floats:
    standard: Floats = (worths - worths.mean()) / (float(worths.std()) or 1.0)
    return standard

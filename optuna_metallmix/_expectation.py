"""past studies + configurations -> what the past expects of them, as smooth as it is sharp.

The mean of two views of the past, each in standard deviations: the meta-learner's trees, which
find what acts together, and a Gaussian process on each past study, averaged, which has no steps
for an optimiser to stop at. (Mean regret at trials 5, 10 and 25 with the trees alone and with
both: LCBench .09, .01, -.11 and .08, -.03, -.16; HPOBench .110, .086, .051 and .098, .080, .057.
The processes alone on LCBench: .14, .06, -.09; 34 and 16 searches, 2026-11.) The suggestion, which
has to be explained, is the trees' alone: there the processes brought nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optuna_metallmix._encoding import Encoding
from optuna_metallmix._encoding import Floats
from optuna_metallmix._gaussian_process import fit_alike
from optuna_metallmix._gaussian_process import matern
from optuna_metallmix._meta_dataset import Config
from optuna_metallmix._meta_learner import MetaLearner
from optuna_metallmix._search_space import config_key


MAX_POINTS = 100
"""Most trials of a study in its process, evenly from its best to its worst."""
MIN_POINTS = 5
MAX_KNOWN = 20_000
"""Most configurations that are remembered."""


class Expectation:
    """What the past expects, of any configuration.

    Args:
        learner: The fitted meta-learner.
        pool: Configurations over which the unit of what is expected is one standard deviation.
    """

    def __init__(self, learner: MetaLearner, pool: Sequence[Config]) -> None:
        self._learner = learner
        self._encoding = Encoding(learner.space, learner.dataset.stand_in)
        self.relevance = self._encoding.spread(_relevances(learner))
        """By coordinate of an encoded configuration, how much it matters, relative, in (0, 1]."""
        self._processes = self._fit_processes()
        self._units = [max(float(view.std()), 1e-3) for view in self._views(pool)]
        self._known: dict[str, float] = {}

    def of(self, configs: Sequence[Config]) -> Floats:
        """Return what is expected of ``configs``, in standard deviations, shape (n,)."""
        if len(self._known) > MAX_KNOWN:
            self._known.clear()
        keys = [config_key(one) for one in configs]
        new = {key: one for key, one in zip(keys, configs, strict=True) if key not in self._known}
        if new:
            views = self._views(list(new.values()))
            expected = np.mean([v / unit for v, unit in zip(views, self._units, strict=True)], 0)
            self._known.update(zip(new, expected.tolist(), strict=True))
        return np.array([self._known[key] for key in keys])

    def _views(self, configs: Sequence[Config]) -> list[Floats]:
        """Return what the trees and the processes expect, each in a unit of its own."""
        views = [self._learner.predict(configs).mean]
        if self._processes:
            points, scales, weights = self._processes
            views.append(matern(self._encoding.points(configs), points, scales) @ weights)
        return views

    def _fit_processes(self) -> tuple[Floats, Floats, Floats] | None:
        """Fit a process to each study, all alike, so that their sum is one of kernels: their
        points, length scales and weights."""
        dataset = self._learner.dataset
        points = self._encoding.points(dataset.configs)
        known = []
        for study in range(len(dataset.studies)):
            rows = np.flatnonzero(dataset.groups == study)
            if len(rows) > MAX_POINTS:  # they stand from best to worst
                rows = rows[np.linspace(0, len(rows) - 1, MAX_POINTS).round().astype(int)]
            scores = dataset.scores[rows]
            if len(rows) >= MIN_POINTS and np.ptp(scores) > 0:
                known.append((points[rows], (scores - scores.mean()) / scores.std()))
        if not known:
            return None
        fitted = fit_alike(known, self.relevance)
        weights = np.concatenate([one.weights for one in fitted])
        return np.concatenate([one.points for one in fitted]), fitted[0].scales, weights


def _relevances(learner: MetaLearner) -> Floats:
    """Return each parameter's mean absolute SHAP value over the past, as a relative relevance."""
    importance = np.abs(learner.past_shap_values[0]).mean(axis=0)
    relevances: Floats = np.sqrt(np.clip(importance / max(importance.max(), 1e-12), 0.05, 1.0))
    return relevances

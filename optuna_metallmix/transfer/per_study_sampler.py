"""Sample some trials of each study, and leave all others to a base sampler."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from cachetools import LRUCache
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.fork_lock import ForkLock
from optuna_metallmix.optuna_access import is_enqueued
from optuna_metallmix.optuna_access import may_skip_before_trial
from optuna_metallmix.optuna_access import release_grid_point
from optuna_metallmix.optuna_access import storage_of
from optuna_metallmix.optuna_access import study_key
from optuna_metallmix.optuna_access import trial_id_of


MAX_STUDIES = 1_000
"""Maximum number of studies whose base samplers are kept, the last ones."""
MAX_TRIALS = 10_000
"""Maximum number of running trials that are remembered, the last ones: some never end."""


class PerStudySampler(BaseSampler):
    """Base of samplers that make some trials themselves and leave all others to a base sampler.

    Args:
        base_sampler: Each study gets its own copy, except of another such sampler: it already
            serves many studies, and a copy would copy its storage. A copy is notified only of
            trials that it samples, at least in part, and of enqueued ones.
    """

    def __init__(self, base_sampler: BaseSampler) -> None:
        self._base_sampler = base_sampler
        self._bases: LRUCache[tuple[str, str, int], BaseSampler] = LRUCache(MAX_STUDIES)
        self._lock = ForkLock()
        """Held while a cache is read or changed, but not while anything else is done."""

    def reseed_rng(self) -> None:
        """Reseed the base samplers, as Optuna does in each worker."""
        with self._lock:
            bases = [self._base_sampler, *self._bases.values()]
        for base in bases:
            base.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Notify the base sampler."""
        if trial.number == 0:  # a new study may reuse the name and id of a deleted one
            with self._lock:
                self._bases.pop(study_key(study), None)
        self._base(study).before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return an empty space for this sampler's trials, which are sampled independently."""
        if self._is_own(study, trial):
            return {}
        return self._base(study).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Leave the trial to the base sampler unless it is one of this sampler's trials."""
        if self._is_own(study, trial):
            return {}
        return self._base(study).sample_relative(study, trial, search_space)

    @abstractmethod
    def _is_own(self, study: Study, trial: FrozenTrial) -> bool:
        """Return whether the values of a trial are sampled independently by this sampler."""

    def _base(self, study: Study) -> BaseSampler:
        if isinstance(self._base_sampler, PerStudySampler):
            return self._base_sampler
        key = study_key(study)
        with self._lock:
            if key not in self._bases:
                self._bases[key] = _OnDemandSampler(copy.deepcopy(self._base_sampler))
            return self._bases[key]


class _OnDemandSampler(BaseSampler):
    """Notifies a sampler of a trial only when the trial needs it.

    Samplers such as ``GridSampler`` reserve a point in ``before_trial``, which would never be
    evaluated if another sampler made the trial.
    """

    def __init__(self, sampler: BaseSampler) -> None:
        self._sampler = sampler
        # The parameters sampled so far, by id of each trial that the sampler was notified of.
        self._sampled: LRUCache[int, set[str]] = LRUCache(MAX_TRIALS)
        self._lock = ForkLock()

    def reseed_rng(self) -> None:
        self._sampler.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        # Enqueued trials have fixed parameters, trials that are run again have values.
        if is_enqueued(trial) or trial.params:
            self._notify(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        trial = self._notify(study, trial)
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        trial = self._notify(study, trial)
        values = self._sampler.sample_relative(study, trial, search_space)
        self._names(trial).update(values)
        return values

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        trial = self._notify(study, trial)
        self._names(trial).add(param_name)
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        with self._lock:
            sampled = self._sampled.pop(trial_id_of(trial), None)
        if sampled is None and not may_skip_before_trial(self._sampler):
            return
        needed = {name for name, space in trial.distributions.items() if not space.single()}
        if sampled and needed - sampled:
            release_grid_point(study, trial)
        self._sampler.after_trial(study, trial, state, values)

    def _notify(self, study: Study, trial: FrozenTrial) -> FrozenTrial:
        """Return the trial, with the attributes that the sampler has set if notified just now."""
        trial_id = trial_id_of(trial)
        if trial_id in self._sampled:
            return trial
        self._names(trial)
        self._sampler.before_trial(study, trial)
        return storage_of(study).get_trial(trial_id)

    def _names(self, trial: FrozenTrial) -> set[str]:
        """Return the parameters of a trial that were sampled so far."""
        with self._lock:
            return self._sampled.setdefault(trial_id_of(trial), set())

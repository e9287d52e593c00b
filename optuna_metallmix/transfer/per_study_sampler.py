"""Sample some trials of each study, and leave all others to a base sampler."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from optuna_metallmix.optuna_access import study_key


class PerStudySampler(BaseSampler):
    """Base of samplers that make some trials themselves and leave all others to a base sampler.

    Args:
        base_sampler: Each study gets its own copy, except of another such sampler: it already
            serves many studies, and a copy would copy its storage.
    """

    def __init__(self, base_sampler: BaseSampler) -> None:
        self._base_sampler = base_sampler
        self._bases: dict[tuple[str, str, int], BaseSampler] = {}

    def reseed_rng(self) -> None:
        """Reseed the base samplers, as Optuna does in each worker."""
        for base in [self._base_sampler, *self._bases.values()]:
            base.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Notify the base sampler."""
        if trial.number == 0:  # a new study may reuse the name and id of a deleted one
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
        if key not in self._bases:
            self._bases.setdefault(key, copy.deepcopy(self._base_sampler))
        return self._bases[key]

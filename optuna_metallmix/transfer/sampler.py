"""Sample the trials after the first by transfer from past studies."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import optuna
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.candidates import fit_into
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history import History
from optuna_metallmix.history import Source
from optuna_metallmix.history import read_past
from optuna_metallmix.metalearner import Floats
from optuna_metallmix.optuna_access import all_trials
from optuna_metallmix.optuna_access import is_feasible
from optuna_metallmix.optuna_access import is_single_objective
from optuna_metallmix.optuna_access import storage_of
from optuna_metallmix.optuna_access import study_key
from optuna_metallmix.optuna_access import trial_id_of
from optuna_metallmix.optuna_access import trial_key
from optuna_metallmix.settings import check_base_sampler
from optuna_metallmix.settings import check_seed
from optuna_metallmix.settings import check_source
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import merge_spaces
from optuna_metallmix.space import project
from optuna_metallmix.transfer.next_config import NextConfig
from optuna_metallmix.transfer.next_config import TransferModel
from optuna_metallmix.transfer.per_study_sampler import PerStudySampler


_logger = optuna.logging.get_logger("optuna.metallmix")

SIMILARITY_ATTR = "metallmix:past-belief"
"""System attribute of a trial: :attr:`NextConfig.similarity`, in [0, 1]."""

MAX_PENDING = timedelta(minutes=5)
"""Maximum time until a trial's first value, for which a language model may have to answer."""

_Key = tuple[str, str, int]


class TransferSampler(PerStudySampler):
    """Sampler that keeps learning from past studies while this study's results agree with them.

    Each trial maximizes the expected improvement of a Gaussian process, whose prior mean is
    predicted from past studies. These are ignored if they predict this study's trials in the wrong
    order, or cannot predict past studies that were held out. Running trials count as median,
    failed and infeasible ones as the worst, pruned ones as median at best.

    ``base_sampler`` samples every parameter that past studies lack. It samples entire trials if
    nothing can be learned from past studies or the study is multi-objective.

    Args:
        source_storage: Storage with the past studies. Default: the study's own storage.
        source_study_names: Names of the past studies to use. Default: all.
        base_sampler: Sampler for everything else. Default: ``TPESampler(seed)``.
        seed: Seeds the meta-learner, the candidates and the default base sampler.
        warn_without_past: Whether to log a warning, instead of information, if nothing can be
            learned from past studies.

    Raises:
        HistoryError, TypeError, ValueError: As :class:`MetaLLMiXSampler`.
    """

    def __init__(
        self,
        *,
        source_storage: Source | None = None,
        source_study_names: Sequence[str] | None = None,
        base_sampler: BaseSampler | None = None,
        seed: int | None = None,
        warn_without_past: bool = True,
    ) -> None:
        self._level = logging.WARNING if warn_without_past else logging.INFO
        self._names = check_source(source_storage, source_study_names)
        self._source = source_storage
        self._seed = check_seed(seed)
        super().__init__(check_base_sampler(base_sampler) or TPESampler(seed=seed))
        self._pasts: dict[_Key, History] = {}
        self._models: dict[_Key, tuple[SearchSpace, TransferModel | None]] = {}
        self._warned: set[_Key] = set()
        self._proposals: dict[tuple[str, str, int, int], NextConfig | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the caches."""
        return {**self.__dict__, "_pasts": {}, "_models": {}, "_proposals": {}}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Notify the base sampler."""
        if trial.number == 0:
            self._pasts.pop(study_key(study), None)
            self._models.pop(study_key(study), None)
        super().before_trial(study, trial)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the proposed value, projected onto the objective's distribution."""
        key = trial_key(study, trial)
        if key not in self._proposals:
            self._proposals[key] = self._propose(study, trial, {param_name: param_distribution})
        proposal = self._proposals[key]
        if proposal is not None and param_name in proposal.params:
            return project(param_distribution, proposal.params[param_name])
        return self._base(study).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Drop the trial's proposal and notify the base sampler."""
        self._proposals.pop(trial_key(study, trial), None)
        self._base(study).after_trial(study, trial, state, values)

    def _is_own(self, study: Study, trial: FrozenTrial) -> bool:
        if not is_single_objective(study) or not self._past(study).studies:
            return False
        _, model = self._models.get(study_key(study), ({}, True))
        return bool(model)  # fitted, or not tried yet

    def _past(self, study: Study) -> History:
        """Read past studies once per study: they rarely change while it runs."""
        key = study_key(study)
        if key not in self._pasts:
            try:
                self._pasts[key] = read_past(study, self._source, self._names)
            except HistoryError as error:
                self._pasts[key] = History()
                self._log_once(study, error)
        return self._pasts[key]

    def _propose(
        self, study: Study, trial: FrozenTrial, first_param: SearchSpace
    ) -> NextConfig | None:
        if not is_single_objective(study):
            return None
        others = [other for other in all_trials(study) if other.number != trial.number]
        observed = [other for other in others if other.params]
        known = {**merge_spaces(other.distributions for other in observed), **first_param}
        model = self._model(study, known)
        if model is None:
            return None
        configs = [fit_into(other.params, model.space, {}) for other in observed]
        observed = [other for other, config in zip(observed, configs, strict=True) if config]
        proposal = model.propose(
            [config for config in configs if config],
            trial_scores(observed, study.direction),
            np.random.default_rng([self._seed, trial.number]),
            n_pending=sum(_is_pending(other, trial) for other in others),
        )
        similarity = proposal.similarity
        storage_of(study).set_trial_system_attr(trial_id_of(trial), SIMILARITY_ATTR, similarity)
        return proposal

    def _model(self, study: Study, known: SearchSpace) -> TransferModel | None:
        """Return the fitted model; it is refitted if the objective shows a new distribution."""
        key = study_key(study)
        fitted = self._models.get(key)
        if fitted is not None and known.items() <= fitted[0].items():
            return fitted[1]
        past = self._past(study)
        related = [other for other in past.studies if other.space.keys() & known.keys()]
        past = replace(past, studies=tuple(related))
        model = None
        try:
            model = TransferModel(past, {**_possible_params(past, known), **known}, self._seed)
        except HistoryError as error:
            self._log_once(study, error)
        self._models[key] = known, model
        return model

    def _log_once(self, study: Study, error: HistoryError) -> None:
        if study_key(study) in self._warned:
            return
        self._warned.add(study_key(study))
        base = type(self._base_sampler).__name__
        name = study.study_name
        message = f"Past studies are not used for study {name!r}; falling back to {base}: {error}"
        _logger.log(self._level, message)


def _is_pending(other: FrozenTrial, trial: FrozenTrial) -> bool:
    """Return whether another worker may not have sampled an earlier trial yet.

    A trial that started long before was abandoned by its worker.
    """
    if other.state is not TrialState.RUNNING or other.params or other.number > trial.number:
        return False
    if trial.datetime_start is None or other.datetime_start is None:
        return False
    return trial.datetime_start - other.datetime_start < MAX_PENDING


def _possible_params(past: History, known: SearchSpace) -> SearchSpace:
    """Return past studies' parameters that the objective has, or may have under a condition."""
    conditional = {
        name
        for study in past.studies
        for trial in study.trials
        for name in study.space.keys() - trial.params.keys()
    }
    return {
        name: distribution
        for name, distribution in merge_spaces(study.space for study in past.studies).items()
        if name in known or len(known) == 1 or name in conditional
    }


def trial_scores(trials: Sequence[FrozenTrial], direction: StudyDirection) -> Floats:
    """Return the scores of trials, larger is better, shape (n,), all finite.

    Scores are clipped at three times the distance of the best from the median, so that a diverged
    training run does not make all others look alike.
    """
    sign = 1.0 if direction is StudyDirection.MAXIMIZE else -1.0
    complete = [t for t in trials if t.state is TrialState.COMPLETE and is_feasible(t)]
    finite = [sign * t.values[0] for t in complete if np.isfinite(t.values[0])]
    if not finite:
        return np.zeros(len(trials))
    median, best = float(np.median(finite)), max(finite)
    worst = max(min(finite), median - 3 * (best - median)) if best > median else min(finite)
    return np.array([_score(trial, sign, median, worst) for trial in trials])


def _score(trial: FrozenTrial, sign: float, median: float, worst: float) -> float:
    if trial.state in (TrialState.RUNNING, TrialState.WAITING):
        return median
    value = None if trial.state is TrialState.FAIL else trial.value
    if value is None or not is_feasible(trial) or not np.isfinite(value):
        return worst
    score = max(sign * value, worst)
    return min(score, median) if trial.state is TrialState.PRUNED else score

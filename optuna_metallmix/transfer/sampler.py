"""past studies + own trials -> trials 2..n, as a sampler that can be used on its own."""

from __future__ import annotations

import copy
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
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history import History
from optuna_metallmix.history import Source
from optuna_metallmix.history import read_past
from optuna_metallmix.optuna_access import all_trials
from optuna_metallmix.optuna_access import is_feasible
from optuna_metallmix.optuna_access import is_single_objective
from optuna_metallmix.optuna_access import storage_of
from optuna_metallmix.optuna_access import study_key
from optuna_metallmix.optuna_access import trial_id_of
from optuna_metallmix.settings import check_base_sampler
from optuna_metallmix.settings import check_seed
from optuna_metallmix.settings import check_source
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import contains
from optuna_metallmix.space import merge_spaces
from optuna_metallmix.space import project
from optuna_metallmix.transfer.acquisition import Step
from optuna_metallmix.transfer.acquisition import TransferModel


_logger = optuna.logging.get_logger("optuna.metallmix")

BELIEF_ATTR = "metallmix:past-belief"
"""System attribute: how likely it was before a trial that the past is about its task, 0 to 1."""

LONGEST_ASKED = timedelta(minutes=5)
"""How long a trial may take to choose its first value: a language model is asked in the first."""

_Key = tuple[str, str, int]


class TransferSampler(BaseSampler):
    """Goes on learning from past studies in every trial, as long as they help.

    Each trial is the best expected improvement of a Gaussian process on the study's own trials,
    around what a meta-learner of the past studies expects, for as long as it is likely that the
    past is about the same task: a past that misorders the own trials is used less and less, one
    that orders no past study left out is not used at all. Running trials count as middling,
    failed and infeasible ones as worst, pruned ones as at most middling.

    Without a past that can be learned from, and with several objectives, ``base_sampler`` makes
    all trials.

    Args:
        source_storage: Where the past studies are; by default the study's own storage.
        source_study_names: Which of them to use; by default all.
        base_sampler: Makes what cannot be learned from the past. Default: ``TPESampler(seed)``.
        seed: Seeds the meta-learner, the candidates and the default base sampler.
        warn_without_past: Whether it is a warning, or only information, that there is nothing to
            learn from.

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
        self._base_sampler = check_base_sampler(base_sampler) or TPESampler(seed=seed)
        self._bases: dict[_Key, BaseSampler] = {}
        self._pasts: dict[_Key, History] = {}
        self._models: dict[_Key, tuple[SearchSpace, TransferModel | None]] = {}
        self._said: set[_Key] = set()
        self._steps: dict[tuple[_Key, int], Step | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is read and fitted again where it is needed."""
        return {**self.__dict__, "_pasts": {}, "_models": {}, "_steps": {}}

    def reseed_rng(self) -> None:
        """Reseed the base samplers; own draws are seeded by the trial's number."""
        self._base_sampler.reseed_rng()
        for base in list(self._bases.values()):
            base.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Let the base sampler know; nothing slow, since Optuna cannot catch here."""
        if trial.number == 0:  # a deleted study's name and id may serve a new one
            for known in (self._bases, self._pasts, self._models):
                known.pop(study_key(study), None)
        self._base(study).before_trial(study, trial)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return nothing where there is a past: its values are served name by name."""
        if self._has_past(study):
            return {}
        return self._base(study).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Ask the base sampler, which alone infers a relative search space."""
        return self._base(study).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Serve the next configuration's value, moved into the objective's range."""
        place = study_key(study), trial_id_of(trial)
        if place not in self._steps:
            self._steps[place] = self._step(study, trial, {param_name: param_distribution})
        step = self._steps[place]
        if step is None or param_name not in step.params:
            return self._base(study).sample_independent(
                study, trial, param_name, param_distribution
            )
        return project(param_distribution, step.params[param_name])

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Forget the trial."""
        self._steps.pop((study_key(study), trial_id_of(trial)), None)
        self._base(study).after_trial(study, trial, state, values)

    def _base(self, study: Study) -> BaseSampler:
        key = study_key(study)
        if key not in self._bases:
            self._bases.setdefault(key, copy.deepcopy(self._base_sampler))
        return self._bases[key]

    def _has_past(self, study: Study) -> bool:
        if not is_single_objective(study) or not self._past(study).studies:
            return False
        _, model = self._models.get(study_key(study), ({}, True))
        return bool(model)  # not fitted yet, or fitted

    def _past(self, study: Study) -> History:
        """Read the past once for each study: it does not change while the study runs."""
        key = study_key(study)
        if key not in self._pasts:
            try:
                self._pasts[key] = read_past(study, self._source, self._names)
            except HistoryError as error:
                self._pasts[key] = History()
                self._say(study, error)
        return self._pasts[key]

    def _step(self, study: Study, trial: FrozenTrial, asked: SearchSpace) -> Step | None:
        if not is_single_objective(study):
            return None
        all_others = [one for one in all_trials(study) if one.number != trial.number]
        others = [one for one in all_others if one.params]
        space = {**merge_spaces(one.distributions for one in others), **asked}
        model = self._model(study, space)
        if model is None:
            return None
        own = [(one, fitted) for one in others if (fitted := _within(one.params, model.space))]
        worths = own_worths([one for one, _ in own], study.direction)
        rng = np.random.default_rng([self._seed, trial.number])
        n_unknown = sum(_is_asking(one, trial) for one in all_others)
        step = model.next([fitted for _, fitted in own], worths, rng, n_unknown)
        storage_of(study).set_trial_system_attr(trial_id_of(trial), BELIEF_ATTR, step.belief)
        return step

    def _model(self, study: Study, known: SearchSpace) -> TransferModel | None:
        """Return the fitted past, fitted again only where the objective shows a new parameter."""
        key = study_key(study)
        fitted = self._models.get(key)
        if fitted is not None and all(fitted[0].get(name) == one for name, one in known.items()):
            return fitted[1]
        model = None
        try:
            past = _related(self._past(study), known)
            model = TransferModel(past, {**_askable(past, known), **known}, self._seed)
        except HistoryError as error:
            self._say(study, error)
        self._models[key] = known, model
        return model

    def _say(self, study: Study, error: HistoryError) -> None:
        if study_key(study) in self._said:
            return
        self._said.add(study_key(study))
        base = type(self._base_sampler).__name__
        _logger.log(
            self._level,
            f"Study {study.study_name!r} learns from no past, {base} makes its trials: {error}",
        )


def _is_asking(other: FrozenTrial, trial: FrozenTrial) -> bool:
    """Tell whether an earlier trial may be choosing its values at this moment, in another worker.

    One that began long before has been left behind by a worker that is gone.
    """
    if other.state is not TrialState.RUNNING or other.params or other.number > trial.number:
        return False
    if trial.datetime_start is None or other.datetime_start is None:
        return False
    return trial.datetime_start - other.datetime_start < LONGEST_ASKED


def _related(past: History, known: SearchSpace) -> History:
    related = tuple(one for one in past.studies if set(one.space) & set(known))
    if not related:
        raise HistoryError(
            "no past study has a parameter of this objective. Pass source_storage= with studies "
            "that have."
        )
    return replace(past, studies=related)


def _askable(past: History, known: SearchSpace) -> SearchSpace:
    """Return the past's parameters that the objective has asked for, or may under a condition."""
    return {
        name: distribution
        for name, distribution in merge_spaces(one.space for one in past.studies).items()
        if name in known or len(known) == 1 or _is_conditional(past, name)
    }


def _is_conditional(past: History, name: str) -> bool:
    return any(
        name in study.space and any(name not in trial.params for trial in study.trials)
        for study in past.studies
    )


def own_worths(trials: Sequence[FrozenTrial], direction: Any) -> np.ndarray[Any, Any]:
    """Return what own trials are worth: shape (n,), more is better, all finite.

    The bad tail is cut at three times the best's distance from the middle, so that one diverged
    training does not make all others look alike.
    """
    sign = 1.0 if direction is optuna.study.StudyDirection.MAXIMIZE else -1.0
    complete = [
        sign * one.values[0]
        for one in trials
        if one.state is TrialState.COMPLETE and is_feasible(one)
    ]
    finite = [value for value in complete if np.isfinite(value)]
    if not finite:
        return np.zeros(len(trials))
    middle, best = float(np.median(finite)), max(finite)
    worst = max(min(finite), middle - 3 * (best - middle)) if best > middle else min(finite)
    return np.array([_worth(one, sign, middle, worst) for one in trials])


def _worth(trial: FrozenTrial, sign: float, middle: float, worst: float) -> float:
    if trial.state is TrialState.RUNNING or trial.state is TrialState.WAITING:
        return middle
    value = trial.value if trial.state is not TrialState.FAIL else None
    if value is None or not is_feasible(trial) or not np.isfinite(value):
        return worst
    worth = max(sign * value, worst)
    return min(worth, middle) if trial.state is TrialState.PRUNED else worth


def _within(params: Config, space: SearchSpace) -> dict[str, Any]:
    """Move a trial's values into the space as it is known now."""
    return {
        name: value if contains(space[name], value) else project(space[name], value)
        for name, value in params.items()
        if name in space
    }

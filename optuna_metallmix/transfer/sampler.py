"""Sample the trials after the first by transfer from past studies."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
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
from optuna_metallmix.history import describe_renamed
from optuna_metallmix.history import find_renamed
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
from optuna_metallmix.settings import check_past_names
from optuna_metallmix.settings import check_seed
from optuna_metallmix.settings import check_source
from optuna_metallmix.settings import numpy_defaults
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import merge_spaces
from optuna_metallmix.space import project
from optuna_metallmix.space import to_unit
from optuna_metallmix.transfer.next_config import TransferModel
from optuna_metallmix.transfer.per_study_sampler import PerStudySampler


_logger = optuna.logging.get_logger("optuna.metallmix")

SIMILARITY_ATTR = "metallmix:past-belief"
"""System attribute of a trial: :attr:`NextConfig.similarity`, in [0, 1]."""

MAX_PENDING = timedelta(minutes=5)
"""Maximum time until a trial's first value, for which a language model may have to answer."""

MAX_GROWTH = 1.25
"""Factor by which a range may grow or shrink before the model is replaced."""

_REVEALING = (TrialState.COMPLETE, TrialState.PRUNED)
"""States of trials that have asked for their parameters; others may have stopped at the first."""

_NOTHING_SHARED = (
    "none of them has a parameter of this study ({}). If parameters were renamed, pass "
    "aliases={{past name: present name}}."
)

_Key = tuple[str, str, int]


@dataclass
class _StudyState:
    """What is kept of a study between its trials.

    Attributes:
        past: The past studies; ``None`` if they have not been read.
        model: The model fitted to them; ``None`` if nothing can be learned.
        model_space: The known space that the model was made for; ``None`` if there was no attempt.
        configs: The configurations of finished trials in the model's space, by trial number.
        space: The merged space of the trials in ``merged``.
        merged: Numbers of finished trials.
        logged: Parameters with values that are logged to be unknown to the past.
        is_renaming_logged: Whether parameters that may have been renamed are logged.
    """

    past: History | None = None
    model: TransferModel | None = None
    model_space: SearchSpace | None = None
    configs: dict[int, Config] = field(default_factory=dict)
    space: SearchSpace = field(default_factory=dict)
    merged: set[int] = field(default_factory=set)
    logged: set[str] = field(default_factory=set)
    is_renaming_logged: bool = False

    def space_of(self, trials: Sequence[FrozenTrial]) -> SearchSpace:
        """Return the merged space of trials; finished ones are merged only once."""
        new = [t for t in trials if t.number not in self.merged]
        if finished := [t for t in new if t.state.is_finished()]:
            self.space = merge_spaces([self.space, *(t.distributions for t in finished)])
            self.merged.update(t.number for t in finished)
        running = [t.distributions for t in new if not t.state.is_finished()]
        return merge_spaces([self.space, *running]) if running else self.space

    def config_of(self, trial: FrozenTrial, space: SearchSpace) -> Config:
        """Return the configuration of a trial in ``space``."""
        if trial.number in self.configs:
            return self.configs[trial.number]
        config = fit_into(trial.params, space, {})
        if trial.state.is_finished():
            self.configs[trial.number] = config
        return config


class TransferSampler(PerStudySampler):
    """Sampler that keeps learning from past studies while this study's results agree with them.

    The first trials follow a portfolio of configurations that are good on past studies. Then a
    trial maximizes the expected improvement of a Gaussian process, whose prior mean is predicted
    from past studies. These are ignored if they predict this study's trials in the wrong order, or
    cannot predict past studies that were held out. Running trials count as median, failed and
    infeasible ones as the worst, pruned ones as median at best.

    Whatever the past advises, some trials explore: choices that have not been tried and, with
    ``base_sampler``, ranges and parameters that past studies do not have. These are logged
    once.

    ``base_sampler`` samples every parameter that past studies lack. It samples entire trials if
    nothing can be learned from past studies or the study is multi-objective.

    Args:
        source_storage: Storage with the past studies. Default: the study's own storage.
        source_study_names: Names of the past studies to use. Default: all.
        aliases: The present names of past parameters, by past name. Default: none were renamed.
        base_sampler: Sampler for everything else. Default: ``TPESampler(seed)``.
        seed: Seeds the meta-learner, the candidates and the default base sampler.
        warn_without_past: Whether to log a warning, instead of information, if nothing can be
            learned from past studies, and a warning of each study and parameter that is named but
            does not exist.

    Raises:
        HistoryError, TypeError, ValueError: As :class:`MetaLLMiXSampler`.
    """

    def __init__(
        self,
        *,
        source_storage: Source | None = None,
        source_study_names: Sequence[str] | None = None,
        aliases: Mapping[str, str] | None = None,
        base_sampler: BaseSampler | None = None,
        seed: int | None = None,
        warn_without_past: bool = True,
    ) -> None:
        self._warns = warn_without_past
        self._names = check_source(source_storage, source_study_names)
        self._aliases = check_past_names(source_storage, self._names, aliases)
        self._source = source_storage
        self._seed = check_seed(seed)
        super().__init__(check_base_sampler(base_sampler) or TPESampler(seed=seed))
        self._states: dict[_Key, _StudyState] = {}
        self._warned: set[_Key] = set()
        self._proposals: dict[tuple[str, str, int, int], Config | None] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the caches."""
        return {**self.__dict__, "_states": {}, "_proposals": {}}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Notify the base sampler."""
        if trial.number == 0:
            self._states.pop(study_key(study), None)
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
        if proposal is not None and param_name in proposal:
            return project(param_distribution, proposal[param_name])
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
        key = trial_key(study, trial)
        if key not in self._proposals:
            others = [other for other in all_trials(study) if other.number != trial.number]
            if not any(other.params for other in others):
                return True  # the space is not known before the first parameter
            self._proposals[key] = self._propose(study, trial, {})
        return self._proposals[key] is not None

    def _state(self, study: Study) -> _StudyState:
        return self._states.setdefault(study_key(study), _StudyState())

    def _past(self, study: Study) -> History:
        """Read past studies once per study: they rarely change while it runs."""
        state = self._state(study)
        if state.past is None:
            try:
                state.past = read_past(study, self._source, self._names, self._aliases)
            except HistoryError as error:
                state.past = History()
                self._log_once(study, error)
            problems = " ".join(state.past.problems)
            if problems and not state.past.studies:
                self._log_once(study, HistoryError(problems))
            elif problems and self._warns:
                _logger.warning(problems)
        return state.past

    @numpy_defaults()
    def _propose(
        self, study: Study, trial: FrozenTrial, first_param: SearchSpace
    ) -> Config | None:
        if not is_single_objective(study):
            return None
        others = [other for other in all_trials(study) if other.number != trial.number]
        observed = [other for other in others if other.params]
        if not observed and trial.params:  # a suggestion, without the parameters asked for
            return None
        state = self._state(study)
        known = {**state.space_of(observed), **first_param}
        is_revealed = any(other.state in _REVEALING for other in observed)
        if is_revealed and self._warns:
            self._warn_renamed(study, known)
        model = self._model(study, known, is_revealed=is_revealed)
        if model is None:
            return None
        if observed:
            self._log_unknown(study, model, known)
        configs = [state.config_of(other, model.space) for other in observed]
        observed = [other for other, config in zip(observed, configs, strict=True) if config]
        proposal = model.propose(
            [config for config in configs if config],
            trial_scores(observed, study.direction),
            np.random.default_rng([self._seed, trial.number]),
            n_pending=sum(_is_pending(other, trial) for other in others),
            space=known,
        )
        similarity = proposal.similarity
        storage_of(study).set_trial_system_attr(trial_id_of(trial), SIMILARITY_ATTR, similarity)
        return proposal.params

    def _model(
        self, study: Study, known: SearchSpace, *, is_revealed: bool = False
    ) -> TransferModel | None:
        """Return the fitted model; it is replaced if it does not fit the objective's space.

        A first parameter that past studies lack says nothing of the others: only once the space
        ``is_revealed`` by a trial, past studies without a known parameter are of no use.
        """
        state = self._state(study)
        if state.model_space is not None and _fits(state.model_space, known):
            return state.model
        past = self._past(study)
        related = [other for other in past.studies if other.space.keys() & known.keys()]
        if past.studies and not (related or is_revealed):
            return None
        space = {**_possible_params(replace(past, studies=tuple(related)), known), **known}
        state.model_space = known
        if state.model is not None and state.model.space == space:
            return state.model  # the first trial has shown the space of the past
        state.model, state.configs = None, {}
        try:
            if past.studies and not related:
                raise HistoryError(_NOTHING_SHARED.format(", ".join(map(repr, known))))
            state.model = TransferModel(replace(past, studies=tuple(related)), space, self._seed)
        except HistoryError as error:
            self._log_once(study, error)
        return state.model

    def _log_unknown(self, study: Study, model: TransferModel, known: SearchSpace) -> None:
        """Log what past studies do not have, once per parameter.

        Parameters that may have been renamed are named in a warning of their own.
        """
        logged = self._state(study).logged
        unknown = model.exploration.unknown(known)
        if unknown.keys() - logged:
            logged.update(find_renamed(known, self._past(study).past_space).values())
        if new := [phrase for name, phrase in unknown.items() if name not in logged]:
            logged.update(unknown)
            _logger.info(
                f"Study {study.study_name!r}: past studies have no trial with {'; '.join(new)}. "
                "Some trials explore this."
            )

    def _warn_renamed(self, study: Study, known: SearchSpace) -> None:
        """Warn, once, of parameters that past studies may have under other names."""
        state = self._state(study)
        if not state.is_renaming_logged and (
            aliases := find_renamed(known, self._past(study).past_space)
        ):
            state.is_renaming_logged = True
            _logger.warning(f"Study {study.study_name!r}: {describe_renamed(aliases)}")

    def skip_warning(self, study: Study) -> None:
        """Do not log why past studies are not used if ``warn_without_past`` is false.

        For samplers that have logged it.
        """
        if not self._warns:
            self._warned.add(study_key(study))

    def _log_once(self, study: Study, error: HistoryError) -> None:
        if study_key(study) in self._warned:
            return
        self._warned.add(study_key(study))
        base = type(self._base_sampler).__name__
        name = study.study_name
        message = f"Past studies are not used for study {name!r}; falling back to {base}: {error}"
        _logger.log(logging.WARNING if self._warns else logging.INFO, message)


def _is_pending(other: FrozenTrial, trial: FrozenTrial) -> bool:
    """Return whether another worker may not have sampled an earlier trial yet.

    A trial that started long before was abandoned by its worker.
    """
    if other.state is not TrialState.RUNNING or other.params or other.number > trial.number:
        return False
    if trial.datetime_start is None or other.datetime_start is None:
        return False
    return trial.datetime_start - other.datetime_start < MAX_PENDING


def _fits(space: SearchSpace, known: SearchSpace) -> bool:
    """Return whether a model of ``space`` serves ``known``.

    A range that moves from trial to trial must not cost a new model for every trial.
    """
    return all(
        name in space and (space[name] == dist or _is_similar_range(space[name], dist))
        for name, dist in known.items()
    )


def _is_similar_range(first: BaseDistribution, second: BaseDistribution) -> bool:
    if choices_of(first) or choices_of(second):
        return False
    low, high = (to_unit(second, getattr(first, end)) for end in ("low", "high"))
    return 1 / MAX_GROWTH <= high - low <= MAX_GROWTH


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
    """Return the scores of trials, larger is better, shape (n,), in [-3, 1].

    The best complete trial is 1 and the median 0; failed and infeasible trials are as low as the
    worst. Scores are clipped at -3, so that a diverged training run does not make all others look
    alike.
    """
    # A sixteenth of the largest float can be multiplied by the factors below.
    sign = 0.0625 if direction is StudyDirection.MAXIMIZE else -0.0625
    complete = [t for t in trials if t.state is TrialState.COMPLETE and is_feasible(t)]
    finite = sorted(sign * t.values[0] for t in complete if np.isfinite(t.values[0]))
    if not finite:
        return np.zeros(len(trials))
    worst, median, best = finite[0], finite[(len(finite) - 1) // 2], finite[-1]
    unit = (best - median) or (median - worst) or 1.0
    lowest = max(-3.0, (worst - median) / unit) if worst < best else -1.0
    scores = [_signed_value(trial, sign, median) for trial in trials]
    return np.array([lowest if s is None else max((s - median) / unit, lowest) for s in scores])


def _signed_value(trial: FrozenTrial, sign: float, median: float) -> float | None:
    """Return the value of a trial times ``sign``; ``None`` if it failed."""
    if trial.state in (TrialState.RUNNING, TrialState.WAITING):
        return median
    value = None if trial.state is TrialState.FAIL else trial.value
    if value is None or not is_feasible(trial) or not np.isfinite(value):
        return None
    return min(sign * value, median) if trial.state is TrialState.PRUNED else sign * value

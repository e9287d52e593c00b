"""Sample the trials after the first by transfer from past studies."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
from cachetools import LRUCache
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.candidates import PROPOSAL_ATTR
from optuna_metallmix.candidates import unfinished_config
from optuna_metallmix.errors import CalculationError
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.errors import MetaLLMiXError
from optuna_metallmix.errors import numerical_errors
from optuna_metallmix.history import History
from optuna_metallmix.history import MetaFeatures
from optuna_metallmix.history import Source
from optuna_metallmix.history import describe_renamed
from optuna_metallmix.history import find_renamed
from optuna_metallmix.history import own_features
from optuna_metallmix.history import read_past
from optuna_metallmix.optuna_access import all_trials
from optuna_metallmix.optuna_access import is_single_objective
from optuna_metallmix.optuna_access import storage_of
from optuna_metallmix.optuna_access import study_key
from optuna_metallmix.optuna_access import trial_id_of
from optuna_metallmix.optuna_access import trial_key
from optuna_metallmix.report import REASON_ATTR
from optuna_metallmix.settings import check_base_sampler
from optuna_metallmix.settings import check_features
from optuna_metallmix.settings import check_past_names
from optuna_metallmix.settings import check_seed
from optuna_metallmix.settings import check_source
from optuna_metallmix.settings import numpy_defaults
from optuna_metallmix.shipped import describe_offer
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import merge_spaces
from optuna_metallmix.space import project
from optuna_metallmix.space import to_record
from optuna_metallmix.space import to_unit
from optuna_metallmix.text import cut_middle
from optuna_metallmix.text import describe_error
from optuna_metallmix.transfer.next_config import NextConfig
from optuna_metallmix.transfer.next_config import TransferModel
from optuna_metallmix.transfer.per_study_sampler import MAX_TRIALS
from optuna_metallmix.transfer.per_study_sampler import PerStudySampler
from optuna_metallmix.transfer.study_state import StudyState
from optuna_metallmix.transfer.trial_scores import trial_scores


_logger = optuna.logging.get_logger("optuna.metallmix")

SIMILARITY_ATTR = "metallmix:past-belief"
"""System attribute of a trial: :attr:`NextConfig.similarity`, in [0, 1]."""

MAX_PROPOSAL = 2_045
"""Maximum length of that attribute in JSON, as in ``TPESampler``: databases bound attributes."""

MAX_ATTEMPTS = 3
"""Maximum number of proposals for a trial, if other processes make the same ones."""

MAX_REASON = 2_000
"""Maximum number of characters of a reason on a trial: databases bound attributes."""

MAX_STUDIES = 16
"""Maximum number of studies whose past and model are kept, the last ones."""

MAX_GROWTH = 1.25
"""Factor by which a range may grow or shrink before the model is replaced."""

_REVEALING = (TrialState.COMPLETE, TrialState.PRUNED)
"""States of trials that have asked for their parameters; others may have stopped at the first."""

_NOTHING_SHARED = (
    "none of them has a parameter of this study ({}). If parameters were renamed, pass "
    "aliases={{past name: present name}}."
)

_Key = tuple[str, str, int]
_TrialKey = tuple[str, str, int, int]


class TransferSampler(PerStudySampler):
    """Sampler that keeps learning from past studies while this study's results agree with them.

    The first trials follow a portfolio of configurations that are good on past studies. Then a
    trial maximizes the expected improvement of a Gaussian process, whose prior mean is predicted
    from past studies. These are ignored if they predict this study's trials in the wrong order, or
    cannot predict past studies that were held out. Running trials count as median, failed and
    infeasible ones as the worst, pruned ones as median at best. A configuration is not proposed
    again, also not while another thread or process is only about to run it.

    Whatever the past advises, some trials explore: choices that have not been tried and, with
    ``base_sampler``, ranges and parameters that past studies do not have. These are logged
    once.

    ``base_sampler`` samples every parameter that past studies lack. It samples entire trials if
    nothing can be learned from past studies, the study is multi-objective, or a calculation fails
    numerically. The user attribute ``metallmix:reason`` of a trial says why.

    Args:
        source_storage: Storage with the past studies. Default: the study's own storage.
        source_study_names: Names of the past studies to use. Default: all.
        aliases: The present names of past parameters, by past name. Default: none were renamed.
        meta_features: What is known of the task; of a shipped past, studies of the same task are
            used, classification or regression. Default: the study's user attributes.
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
        meta_features: MetaFeatures | None = None,
        base_sampler: BaseSampler | None = None,
        seed: int | None = None,
        warn_without_past: bool = True,
    ) -> None:
        self._warns = warn_without_past
        self._names = check_source(source_storage, source_study_names)
        self._aliases = check_past_names(source_storage, self._names, aliases)
        self._features = check_features(meta_features)
        self._source = source_storage
        self._seed = check_seed(seed)
        super().__init__(check_base_sampler(base_sampler) or TPESampler(seed=seed))
        self._states: LRUCache[_Key, StudyState] = LRUCache(MAX_STUDIES)
        self._logged: LRUCache[tuple[_Key, str], None] = LRUCache(MAX_TRIALS)
        self._proposals: LRUCache[_TrialKey, Config | None] = LRUCache(MAX_TRIALS)
        self._suggested: LRUCache[_TrialKey, Config] = LRUCache(MAX_TRIALS)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the caches."""
        return {
            **self.__dict__,
            "_states": LRUCache(MAX_STUDIES),
            "_proposals": LRUCache(MAX_TRIALS),
            "_suggested": LRUCache(MAX_TRIALS),
        }

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Notify the base sampler."""
        with self._lock:  # a new study and its trials may reuse the ids of deleted ones
            if trial.number == 0:
                self._states.pop(study_key(study), None)
            if not trial.params:
                self._proposals.pop(trial_key(study, trial), None)
        super().before_trial(study, trial)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the proposed value, projected onto the objective's distribution."""
        proposal = self._proposal(study, trial, {param_name: param_distribution}) or {}
        past = self._state(study).past or History()
        name = past.other_names([param_name], proposal).get(param_name, param_name)
        if name in proposal:
            return project(param_distribution, proposal[name])
        return self._base(study).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Drop the trial's proposal and notify the base sampler."""
        key = trial_key(study, trial)
        if self._warns and state is not TrialState.FAIL:
            self._offer_past(study, trial)
        with self._lock:
            self._proposals.pop(key, None)
            self._suggested.pop(key, None)
        self._base(study).after_trial(study, trial, state, values)

    def add_suggested(self, study: Study, trial: FrozenTrial, params: Config) -> None:
        """Take the configuration that another sampler has chosen for a running trial as tried.

        The trial itself shows its parameters only one by one.
        """
        with self._lock:
            self._suggested[trial_key(study, trial)] = params
        self._share(study, trial, params)

    def _is_own(self, study: Study, trial: FrozenTrial) -> bool:
        if not is_single_objective(study) or not self._has_past(study, trial):
            return False
        if trial_key(study, trial) not in self._proposals:
            others = [other for other in all_trials(study) if other.number != trial.number]
            if not any(other.params for other in others):
                return True  # the space is not known before the first parameter
        return self._proposal(study, trial, {}) is not None

    def _has_past(self, study: Study, trial: FrozenTrial) -> bool:
        state = self._state(study)
        if state.past is None:
            with state.lock:
                self._past(study, trial, state)
        return state.past is not None and bool(state.past.studies)

    def _state(self, study: Study) -> StudyState:
        key = study_key(study)
        with self._lock:
            if key not in self._states:
                self._states[key] = StudyState()
            return self._states[key]

    def _past(self, study: Study, trial: FrozenTrial, state: StudyState) -> History:
        """Read past studies once per study."""
        if state.past is None:
            try:
                with numerical_errors():
                    past = read_past(
                        study, self._source, self._names, self._aliases, is_sampling=True
                    ).of_task({**own_features(study), **self._features})
                problems = " ".join(past.problems)
                if problems and not past.studies:
                    raise HistoryError(problems)
                if problems and self._warns:
                    _logger.warning(problems)
            except MetaLLMiXError as error:
                past = History()
                self._log_unused(study, trial, error)
            state.past = past
        return state.past

    def _proposal(
        self, study: Study, trial: FrozenTrial, first_param: SearchSpace
    ) -> Config | None:
        """Return the configuration proposed for a trial, ``None`` if the base sampler samples it.

        It is made once. Another thread's proposal waits for it, so that they differ.
        """
        key = trial_key(study, trial)
        with self._lock:
            if key in self._proposals:
                return self._proposals[key]
        state = self._state(study)
        with state.lock:
            proposal = self._propose_new(study, trial, state, first_param)
            with self._lock:
                self._proposals[key] = None if proposal is None else proposal.params
        if proposal is None:
            return None
        set_attr = storage_of(study).set_trial_system_attr
        self._write(study, set_attr, trial_id_of(trial), SIMILARITY_ATTR, proposal.similarity)
        return proposal.params

    def _propose_new(
        self, study: Study, trial: FrozenTrial, state: StudyState, first_param: SearchSpace
    ) -> NextConfig | None:
        """Return a proposal that no other process makes at the same moment."""
        proposal = None
        for _ in range(MAX_ATTEMPTS):
            proposal = self._propose(study, trial, state, first_param)
            if proposal is None or not state.is_shared:
                break
            record = self._share(study, trial, proposal.params or {})
            others = [other for other in all_trials(study) if other.number != trial.number]
            same = [other for other in others if other.system_attrs.get(PROPOSAL_ATTR) == record]
            # The later trial gives way, unless the other has begun.
            if not record or not any(o.params or o.number < trial.number for o in same):
                break
        return proposal

    def _share(self, study: Study, trial: FrozenTrial, params: Config) -> dict[str, Any]:
        """Let other processes know a configuration before its trial has asked for it.

        Return what was written, empty if nothing was.
        """
        record = {name: to_record(None, value) for name, value in params.items()}
        if not params or len(json.dumps(record)) > MAX_PROPOSAL:
            return {}
        set_attr = storage_of(study).set_trial_system_attr
        self._write(study, set_attr, trial_id_of(trial), PROPOSAL_ATTR, record)
        return record

    @numpy_defaults()
    def _propose(
        self, study: Study, trial: FrozenTrial, state: StudyState, first_param: SearchSpace
    ) -> NextConfig | None:
        if not is_single_objective(study):
            return None
        try:
            with numerical_errors():
                return self._choose(study, trial, state, first_param)
        except CalculationError as error:
            self._record_reason(study, trial, error)
            if self._is_first(study, "calculation"):
                base, name = type(self._base_sampler).__name__, study.study_name
                _logger.warning(
                    f"Trial {trial.number} of study {name!r} is sampled by {base}: {error} Other "
                    f"such trials have the reason in their attribute {REASON_ATTR!r}."
                )
            return None

    def _choose(
        self, study: Study, trial: FrozenTrial, state: StudyState, first_param: SearchSpace
    ) -> NextConfig | None:
        others = [other for other in all_trials(study) if other.number != trial.number]
        observed = [other for other in others if other.params]
        if not observed and trial.params:  # a suggestion, without the parameters asked for
            return None
        known = {**state.space_of(observed), **first_param}
        state.past = self._past(study, trial, state).renamed_for(known)
        is_revealed = any(other.state in _REVEALING for other in observed)
        if is_revealed and self._warns:
            self._warn_renamed(study, state, known)
        before = state.model
        model = self._model(study, trial, state, known, is_revealed=is_revealed)
        if model is None:
            return None
        if observed:
            self._log_unknown(study, state, model, known)
        if model is not before:  # a fit takes seconds, in which others go on
            others = [other for other in all_trials(study) if other.number != trial.number]
            observed = [other for other in others if other.params]
        finished = [other for other in observed if other.state.is_finished()]
        configs = [state.config_of(other, model.space) for other in finished]
        finished = [other for other, config in zip(finished, configs, strict=True) if config]
        space = {name: model.space[name] for name in known} if is_revealed else model.space
        running, n_pending = self._running(study, trial, state, others, space)
        return model.propose(
            [config for config in configs if config],
            trial_scores(finished, study.direction),
            np.random.default_rng([self._seed, trial.number]),
            running=running,
            n_pending=n_pending,
            space=known,
        )

    def _running(
        self,
        study: Study,
        trial: FrozenTrial,
        state: StudyState,
        others: Sequence[FrozenTrial],
        space: SearchSpace,
    ) -> tuple[list[Config], int]:
        """Return the known configurations of unfinished trials, and the number of pending ones."""
        configs: list[Config] = []
        silent: list[FrozenTrial] = []
        state.is_shared = False
        for other in others:
            if other.state.is_finished():
                continue
            key = trial_key(study, other)
            with self._lock:
                is_own = key in self._proposals or key in self._suggested
                chosen = self._proposals.get(key) or self._suggested.get(key)
            state.is_shared |= not is_own
            is_waiting = other.state is TrialState.WAITING
            if not is_waiting and (config := unfinished_config(other, space, chosen)):
                configs.append(config)
            elif not other.params:
                silent.append(other)
        last_number = max((other.number for other in others), default=0)
        return configs, state.count_pending(trial, silent, last_number)

    def _model(
        self,
        study: Study,
        trial: FrozenTrial,
        state: StudyState,
        known: SearchSpace,
        *,
        is_revealed: bool = False,
    ) -> TransferModel | None:
        """Return the fitted model; it is replaced if it does not fit the objective's space.

        A first parameter that past studies lack says nothing of the others: only once the space
        ``is_revealed`` by a trial, past studies without a known parameter are of no use.
        """
        if state.model_space is not None and _fits(state.model_space, known):
            return state.model
        past = self._past(study, trial, state)
        related = [other for other in past.studies if other.space.keys() & known.keys()]
        if past.studies and not (related or is_revealed):
            return None
        space = {**_possible_params(replace(past, studies=tuple(related)), known), **known}
        if state.model is not None and state.model.space == space:
            state.model_space = known
            return state.model  # the first trial has shown the space of the past
        model = None
        try:
            if past.studies and not related:
                raise HistoryError(_NOTHING_SHARED.format(", ".join(map(repr, known))))
            with numerical_errors():
                model = TransferModel(replace(past, studies=tuple(related)), space, self._seed)
        except MetaLLMiXError as error:
            self._log_unused(study, trial, error)
        state.model, state.model_space, state.configs = model, known, {}
        return model

    def _log_unknown(
        self, study: Study, state: StudyState, model: TransferModel, known: SearchSpace
    ) -> None:
        """Log what past studies do not have, once per parameter.

        Parameters that may have been renamed are named in a warning of their own.
        """
        logged = state.logged
        unknown = model.exploration.unknown(known)
        if state.past is not None and unknown.keys() - logged:
            logged.update(find_renamed(known, state.past.past_space).values())
        if new := [phrase for name, phrase in unknown.items() if name not in logged]:
            logged.update(unknown)
            _logger.info(
                f"Study {study.study_name!r}: past studies have no trial with {'; '.join(new)}. "
                "Some trials explore this."
            )

    def _warn_renamed(self, study: Study, state: StudyState, known: SearchSpace) -> None:
        """Warn, once, of parameters that past studies may have under other names."""
        if state.is_renaming_logged or state.past is None:
            return
        if aliases := find_renamed(known, state.past.past_space):
            state.is_renaming_logged = True
            _logger.warning(f"Study {study.study_name!r}: {describe_renamed(aliases)}")

    def _offer_past(self, study: Study, trial: FrozenTrial) -> None:
        """Name, once, the past that comes with the package, if no other has the parameters."""
        past = self._state(study).past
        if past is None or not self._is_first(study, "offer"):
            return
        if offer := describe_offer(trial.distributions, past.renamed_for(trial.params).past_space):
            _logger.info(f"Study {study.study_name!r}: {offer}")

    def skip_warning(self, study: Study) -> None:
        """Do not log why past studies are not used if ``warn_without_past`` is false.

        For samplers that have logged it.
        """
        if not self._warns:
            self._is_first(study, "past")

    def _log_unused(self, study: Study, trial: FrozenTrial, error: MetaLLMiXError) -> None:
        """Log, once per study, why past studies are not used, and record it on the trial."""
        if not self._is_first(study, "past"):
            return
        base = type(self._base_sampler).__name__
        name = study.study_name
        message = f"Past studies are not used for study {name!r}; falling back to {base}: {error}"
        _logger.log(logging.WARNING if self._warns else logging.INFO, message)
        self._record_reason(study, trial, error)

    def _is_first(self, study: Study, subject: str) -> bool:
        """Return whether this is the first call for a study and subject."""
        key = study_key(study), subject
        with self._lock:
            is_first = key not in self._logged
            self._logged[key] = None
        return is_first

    def _record_reason(self, study: Study, trial: FrozenTrial, error: MetaLLMiXError) -> None:
        """Add to the reason on a trial why the base sampler samples it."""
        storage = storage_of(study)

        def add(trial_id: int, name: str, reason: str) -> None:
            earlier = storage.get_trial(trial_id).user_attrs.get(name, "")
            if reason not in earlier:
                reason = cut_middle(f"{earlier} {reason}".strip(), MAX_REASON)
                storage.set_trial_user_attr(trial_id, name, reason)

        self._write(study, add, trial_id_of(trial), REASON_ATTR, str(error))

    def _write(self, study: Study, write: Callable[[int, str, Any], None], *args: Any) -> None:
        """Write an attribute of a trial. That it cannot be stored does not stop the study."""
        try:
            write(*args)
        except Exception as error:  # any: it depends on the storage
            if self._is_first(study, "attributes"):
                _logger.warning(
                    f"Attributes of the trials of study {study.study_name!r} could not be "
                    f"written: {describe_error(error)}. Check that the storage is writable."
                )


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

"""Optuna's side: the first trial is the suggestion, the rest is the base sampler's."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix import trial_claim
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history import Source
from optuna_metallmix.llm import LLMSpec
from optuna_metallmix.optuna_access import is_single_objective
from optuna_metallmix.optuna_access import storage_of
from optuna_metallmix.optuna_access import study_key
from optuna_metallmix.optuna_access import trial_id_of
from optuna_metallmix.optuna_access import trial_key
from optuna_metallmix.pipeline import suggest_for_study
from optuna_metallmix.prompt import DEFAULT_VARIANT
from optuna_metallmix.report import StudyReport
from optuna_metallmix.report import SuggestionLog
from optuna_metallmix.report import record_missing
from optuna_metallmix.report import record_projected
from optuna_metallmix.report import write_record
from optuna_metallmix.settings import check_base_sampler
from optuna_metallmix.settings import check_settings
from optuna_metallmix.settings import check_store
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import contains
from optuna_metallmix.transfer import TransferSampler


if TYPE_CHECKING:
    from optuna.artifacts._protocol import ArtifactStore


class MetaLLMiXSampler(BaseSampler):
    """Starts a study with what past studies and a local language model suggest.

    The first trial is one configuration: a CatBoost meta-learner is fitted on the past studies,
    its SHAP values and best candidates are shown to a language model on this machine, and what
    that proposes is checked before it is used (after MetaLLMiX, arXiv 2509.09387). The model is
    asked from inside the objective's first ``suggest_*``. All other trials are the base sampler's.

    Each step down, from the model to the meta-learner's best candidate to the base sampler, is
    told by one warning and written on the trial: the user attributes ``metallmix:source``
    (``"llm"``, ``"meta-learner"`` or ``"base-sampler"``), ``metallmix:model``, ``metallmix:why``,
    ``metallmix:verdict``, ``metallmix:reason``, ``metallmix:projected``, and a full record in the
    system attributes.

    A study that has trials already gets its suggestion at the next one, its own trials counting
    as evidence. Enqueued trials are left alone. A study with several objectives gets none.

    Args:
        source_storage: Where the past studies are: a journal or SQLite file, a database URL or a
            storage object. Default: the study's own storage. It is read, never written.
        source_study_names: Which past studies to use. Default: all that can be learned from.
        search_space: Distributions by parameter name. Needed only where no past study tells them;
            where given, exactly these parameters are suggested.
        meta_features: What is known of the task, as scalars by name; for past studies the scalar
            user attributes of the study count. See :func:`image_meta_features`.
        llm: The language model: ``None`` for a local Ollama with a model, else the embedded
            model, else none; ``"ollama:qwen3:8b"``; ``"openai:http://localhost:8000/v1#model"``;
            ``"path/to/model.gguf"``; any object with ``generate(messages, *, schema) -> str``;
            ``False`` for the meta-learner alone.
        judge: The language model that reviews the proposal: ``None`` for the same one, ``False``
            for none, or as ``llm``.
        base_sampler: Makes all other trials; each study gets a copy of its own. Default:
            :class:`TransferSampler` on the same past, ``TPESampler`` where there is none.
        n_attempts: How often the model may answer, from 1; a refusal goes back with its reasons.
        seed: Seeds the meta-learner, the candidates and the default base sampler.
        cost_aware: Whether the suggestion prefers, among what is predicted equal within its
            uncertainty, the training that took least time in the past; the note tells the trade.
        prompt: How the language model is asked: ``"cot+shap"`` to reason on SHAP evidence before
            it chooses, ``"cot"`` to reason without the evidence, ``"plain"`` to choose at once.
        artifact_store: Where the note's pictures are put, such as
            ``optuna.artifacts.FileSystemArtifactStore("./artifacts")``; start the dashboard with
            ``--artifact-dir ./artifacts``. Default: no pictures; the interactive figures need no
            store.

    Raises:
        HistoryError: ``source_storage`` is no Optuna storage, or lacks ``source_study_names``.
        LLMError: ``llm`` names a model file that cannot be used.
        TypeError, ValueError: An argument is of the wrong kind; the message says what is accepted.
    """

    def __init__(
        self,
        *,
        source_storage: Source | None = None,
        source_study_names: Sequence[str] | None = None,
        search_space: SearchSpace | None = None,
        meta_features: Mapping[str, float | int | str] | None = None,
        llm: LLMSpec = None,
        judge: LLMSpec = None,
        base_sampler: BaseSampler | None = None,
        n_attempts: int = 2,
        seed: int | None = None,
        cost_aware: bool = False,
        prompt: str = DEFAULT_VARIANT.name,
        artifact_store: ArtifactStore | None = None,
    ) -> None:
        self._settings = check_settings(
            source_storage=source_storage,
            source_study_names=source_study_names,
            search_space=search_space,
            meta_features=meta_features,
            llm=llm,
            judge=judge,
            n_attempts=n_attempts,
            seed=seed,
            cost_aware=cost_aware,
            prompt=prompt,
        )
        self._artifact_store = check_store(artifact_store)
        self._base_sampler = check_base_sampler(base_sampler) or TransferSampler(
            source_storage=source_storage,
            source_study_names=source_study_names,
            seed=self._settings.seed,  # the same meta-learner serves both
            warn_without_past=False,  # the suggestion's own warning has said it
        )
        self._bases: dict[tuple[str, str, int], BaseSampler] = {}
        self._settled: set[tuple[str, str, int]] = set()
        self._postponed: set[tuple[str, str, int]] = set()
        self._claimed: set[tuple[str, str, int, int]] = set()
        self._served: dict[tuple[str, str, int, int], StudyReport | None] = {}
        self._teller = SuggestionLog()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_claimed": set(), "_served": {}}  # trials of this process

    def reseed_rng(self) -> None:
        """Reseed the base samplers, as Optuna does in each worker."""
        self._base_sampler.reseed_rng()
        for base in list(self._bases.values()):
            base.reseed_rng()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Claim the suggestion where nobody has; nothing slow, since Optuna cannot catch here."""
        key = study_key(study)
        if trial.number == 0:  # a deleted study's name and id may serve a new one
            self._bases.pop(key, None)
            self._settled.discard(key)
        self._base(study).before_trial(study, trial)
        if key in self._settled:
            return
        if not is_single_objective(study):
            self._settled.add(key)
            self._refuse(study, trial, "it has several objectives, and so no one best trial.")
        elif trial_claim.is_settled(study):
            self._settled.add(key)
        elif trial_claim.claim(study, trial):
            self._claimed.add(trial_key(study, trial))

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Ask the base sampler; a suggestion is served name by name instead."""
        if trial_key(study, trial) in self._claimed:
            return {}
        return self._base(study).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Ask the base sampler; a suggestion is served name by name instead."""
        if trial_key(study, trial) in self._claimed:
            return {}
        return self._base(study).sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Serve the suggestion's value, moved into the objective's range; else ask the base."""
        served = self._serving(study, trial, param_name, param_distribution)
        found = served and served.suggestion.value_for(param_name, param_distribution)
        if not served or not found:
            return self._base(study).sample_independent(
                study, trial, param_name, param_distribution
            )
        used, wanted = found
        if not contains(param_distribution, wanted):
            served.projected[param_name] = (wanted, used)
            record_projected(storage_of(study), trial_id_of(trial), served.projected)
        return used

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Complete the note with what was moved, and forget the trial."""
        place = trial_key(study, trial)
        self._claimed.discard(place)
        served = self._served.pop(place, None)
        if served and served.projected:
            self._admit(trial, served, [served.write_note()])
        self._base(study).after_trial(study, trial, state, values)

    def _base(self, study: Study) -> BaseSampler:
        if isinstance(self._base_sampler, TransferSampler):
            return self._base_sampler  # it serves many studies, and a copy would copy its storage
        key = study_key(study)
        if key not in self._bases:
            self._bases.setdefault(key, copy.deepcopy(self._base_sampler))
        return self._bases[key]

    def _serving(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> StudyReport | None:
        place = trial_key(study, trial)
        if place not in self._claimed:
            return None
        if place not in self._served:
            self._served[place] = self._ask(study, trial, name, distribution)
        return self._served[place]

    def _ask(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> StudyReport | None:
        if not trial_claim.confirm(study, trial):
            return None
        try:
            suggestion = suggest_for_study(study, {name: distribution}, self._settings)
        except HistoryError as nothing:
            self._postpone(study, trial, str(nothing))
            return None
        except Exception:
            trial_claim.settle(study, trial)  # a bug: it shows, once, and not in every later trial
            raise
        trial_claim.settle(study, trial)
        self._settled.add(study_key(study))
        write_record(storage_of(study), trial_id_of(trial), suggestion)
        postponed = study_key(study) in self._postponed
        self._teller.suggestion(study, trial, suggestion, postponed=postponed)
        served = StudyReport(study, trial.number, suggestion)
        self._admit(trial, served, served.write(self._artifact_store))
        return served

    def _postpone(self, study: Study, trial: FrozenTrial, reason: str) -> None:
        """Leave the suggestion to a later trial, once this one has shown the search space."""
        if self._settings.llm is False:
            trial_claim.settle(study, trial)
            self._settled.add(study_key(study))
        else:
            trial_claim.defer(study, trial)
            self._postponed.add(study_key(study))
        self._refuse(study, trial, reason)

    def _refuse(self, study: Study, trial: FrozenTrial, reason: str) -> None:
        record_missing(storage_of(study), trial_id_of(trial), reason)
        self._teller.nothing(study, trial, reason)

    def _admit(
        self, trial: FrozenTrial, served: StudyReport, problems: Sequence[str | None]
    ) -> None:
        """Say what could not be shown, once, and leave it on the trial."""
        if told := [one for one in problems if one]:
            storage = storage_of(served.study)
            record_missing(storage, trial_id_of(trial), " ".join(told), what="note")
            for problem in told:
                self._teller.warn(problem)

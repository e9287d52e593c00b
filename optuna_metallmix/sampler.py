"""The sampler: the first trial is the suggestion, the base sampler makes the others."""

from __future__ import annotations

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
from optuna_metallmix.report import record_missing_note
from optuna_metallmix.report import record_projected
from optuna_metallmix.report import write_record
from optuna_metallmix.settings import Settings
from optuna_metallmix.settings import check_base_sampler
from optuna_metallmix.settings import check_features
from optuna_metallmix.settings import check_seed
from optuna_metallmix.settings import check_source
from optuna_metallmix.settings import check_space
from optuna_metallmix.settings import check_store
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import contains
from optuna_metallmix.transfer import PerStudySampler
from optuna_metallmix.transfer import TransferSampler


if TYPE_CHECKING:
    from optuna_metallmix.optuna_access import ArtifactStore


class MetaLLMiXSampler(PerStudySampler):
    """Sampler whose first trial is suggested from past studies by a local language model.

    A CatBoost meta-learner is fitted on the past studies. Its best candidates and its SHAP values
    are shown to a language model on this machine, and the model's proposal is checked before it
    is used (MetaLLMiX, arXiv 2509.09387). The model is asked inside the objective's first
    ``suggest_*`` call. The base sampler makes all other trials.

    Each fallback, from the model to the meta-learner's best candidate and from there to the base
    sampler, logs one warning and is recorded on the trial: in the user attributes
    ``metallmix:source`` (``"llm"``, ``"meta-learner"`` or ``"base-sampler"``),
    ``metallmix:model``, ``metallmix:why``, ``metallmix:verdict``, ``metallmix:reason`` and
    ``metallmix:projected``, and in a full record among the system attributes, see
    :func:`read_record`.

    A study that already has trials gets the suggestion at its next trial, with its own trials as
    evidence. Enqueued trials are left alone. A study with several objectives gets no suggestion.

    Args:
        source_storage: The past studies: a journal or SQLite file, a database URL or a storage
            object. Default: the study's own storage. It is read, never written.
        source_study_names: The names of the past studies to use. Default: all usable studies.
        search_space: Distributions by parameter name. Needed only if no past study shows them; if
            given, exactly these parameters are suggested.
        meta_features: What is known of the task, as scalars by name. Past studies are described
            by their scalar user attributes. See :func:`image_meta_features`.
        llm: The language model: ``None`` for a local Ollama with a model, else the embedded
            model, else none; ``"ollama:qwen3:8b"``; ``"openai:http://localhost:8000/v1#model"``;
            ``"path/to/model.gguf"``; any object with ``generate(messages, *, schema) -> str``;
            ``False`` for the meta-learner alone.
        judge: The language model that reviews the proposal: ``None`` for the same model, ``False``
            for no review, or a model as for ``llm``.
        base_sampler: Makes all other trials; each study gets its own copy. Default:
            :class:`TransferSampler` on the same past, which uses ``TPESampler`` without a past.
        n_attempts: How many answers the model may give, at least 1. A refused answer is sent back
            with the reasons.
        seed: Seed of the meta-learner, the candidates and the default base sampler.
        cost_aware: Whether, among candidates predicted equal within their uncertainty, the one
            with the shortest training in the past comes first. The note shows the trade-off.
        prompt: ``"cot+shap"`` to let the model reason on SHAP evidence before it chooses,
            ``"cot"`` to reason without the evidence, ``"plain"`` to choose at once.
        artifact_store: Where figures for the note are stored, such as
            ``optuna.artifacts.FileSystemArtifactStore("./artifacts")``; start the dashboard with
            ``--artifact-dir ./artifacts``. Default: none; the interactive figures need no store.

    Raises:
        HistoryError: ``source_storage`` is not an Optuna storage, or has no study of a name in
            ``source_study_names``.
        LLMError: ``llm`` names a model file that cannot be used.
        TypeError, ValueError: An argument is invalid; the message says what is accepted.
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
        self._settings = Settings(
            source_storage=source_storage,
            source_study_names=check_source(source_storage, source_study_names),
            search_space=check_space(search_space),
            meta_features=check_features(meta_features),
            llm=llm,
            judge=judge,
            n_attempts=n_attempts,
            seed=check_seed(seed),
            cost_aware=cost_aware,
            prompt=prompt,
        )
        self._artifact_store = check_store(artifact_store)
        super().__init__(
            check_base_sampler(base_sampler)
            or TransferSampler(
                source_storage=source_storage,
                source_study_names=source_study_names,
                seed=self._settings.seed,  # the same meta-learner serves both
                warn_without_past=False,  # the suggestion already warns
            )
        )
        self._settled: set[tuple[str, str, int]] = set()
        self._postponed: set[tuple[str, str, int]] = set()
        self._claimed: set[tuple[str, str, int, int]] = set()
        self._served: dict[tuple[str, str, int, int], StudyReport | None] = {}
        self._log = SuggestionLog()

    def __getstate__(self) -> dict[str, Any]:
        # Claimed and served trials belong to this process.
        return {**self.__dict__, "_claimed": set(), "_served": {}}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Claim the suggestion unless another trial has it.

        Nothing slow happens here: Optuna does not catch what this method raises.
        """
        key = study_key(study)
        if trial.number == 0:
            self._settled.discard(key)
        super().before_trial(study, trial)
        if key in self._settled:
            return
        if not is_single_objective(study):
            self._settled.add(key)
            self._refuse(study, trial, "studies with several objectives are not supported.")
        elif trial_claim.is_settled(study):
            self._settled.add(key)
        elif trial_claim.claim(study, trial):
            self._claimed.add(trial_key(study, trial))

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the suggested value within the objective's range, else ask the base sampler."""
        place = trial_key(study, trial)
        if place in self._claimed and place not in self._served:
            self._served[place] = self._ask(study, trial, {param_name: param_distribution})
        served = self._served.get(place)
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
        """Add the projected values to the note, and forget the trial."""
        place = trial_key(study, trial)
        self._claimed.discard(place)
        served = self._served.pop(place, None)
        if served and served.projected:
            self._admit(trial, served, served.write_note())
        self._base(study).after_trial(study, trial, state, values)

    def _is_own(self, study: Study, trial: FrozenTrial) -> bool:
        return trial_key(study, trial) in self._claimed

    def _ask(
        self, study: Study, trial: FrozenTrial, first_param: SearchSpace
    ) -> StudyReport | None:
        if not trial_claim.confirm(study, trial):
            return None
        try:
            suggestion = suggest_for_study(study, first_param, self._settings)
        except HistoryError as nothing:
            self._postpone(study, trial, str(nothing))
            return None
        except Exception:
            trial_claim.settle(study, trial)  # a bug must show once, not in every trial
            raise
        trial_claim.settle(study, trial)
        write_record(storage_of(study), trial_id_of(trial), suggestion)
        postponed = study_key(study) in self._postponed
        self._log.log_suggestion(study, trial, suggestion, postponed=postponed)
        served = StudyReport(study, trial.number, suggestion)
        self._admit(trial, served, served.write(self._artifact_store))
        return served

    def _postpone(self, study: Study, trial: FrozenTrial, reason: str) -> None:
        """Leave the suggestion to a later trial, when this trial has shown the search space."""
        if self._settings.llm is False:
            trial_claim.settle(study, trial)
        else:
            trial_claim.defer(study, trial)
            self._postponed.add(study_key(study))
        self._refuse(study, trial, reason)

    def _refuse(self, study: Study, trial: FrozenTrial, reason: str) -> None:
        record_missing(storage_of(study), trial_id_of(trial), reason)
        self._log.warn_missing(study, trial, reason)

    def _admit(self, trial: FrozenTrial, served: StudyReport, problems: Sequence[str]) -> None:
        """Warn once about what could not be shown, and record it on the trial."""
        if problems:
            storage = storage_of(served.study)
            record_missing_note(storage, trial_id_of(trial), " ".join(problems))
        for problem in problems:
            self._log.warn_once(problem)

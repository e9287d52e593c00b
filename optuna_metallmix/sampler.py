"""The sampler: the first trial is suggested, and the base sampler samples all other trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix import trial_claim
from optuna_metallmix.errors import CalculationError
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.errors import MetaLLMiXError
from optuna_metallmix.errors import numerical_errors
from optuna_metallmix.history import History
from optuna_metallmix.history import Source
from optuna_metallmix.history import describe_renamed
from optuna_metallmix.history import find_renamed
from optuna_metallmix.llm import LLMSpec
from optuna_metallmix.optuna_access import is_in_memory
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
from optuna_metallmix.report import record_passed
from optuna_metallmix.report import write_record
from optuna_metallmix.settings import DEFAULT_TIMEOUT
from optuna_metallmix.settings import Settings
from optuna_metallmix.settings import check_base_sampler
from optuna_metallmix.settings import check_features
from optuna_metallmix.settings import check_past_names
from optuna_metallmix.settings import check_seed
from optuna_metallmix.settings import check_source
from optuna_metallmix.settings import check_space
from optuna_metallmix.settings import check_store
from optuna_metallmix.settings import numpy_defaults
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.suggestion import Suggestion
from optuna_metallmix.text import describe_error
from optuna_metallmix.transfer import PerStudySampler
from optuna_metallmix.transfer import TransferSampler
from optuna_metallmix.trial_claim import NotClaimedError
from optuna_metallmix.trial_claim import storage_error


if TYPE_CHECKING:
    from optuna_metallmix.optuna_access import ArtifactStore


MAX_FAILURES = 3
"""Number of times that a suggestion cannot be stored in a study before no more are made for it."""

_NO_PARAMETER = (
    "The trial ended before its first parameter was sampled. The next trial gets the suggestion."
)
_BUG = (
    "The suggestion failed with {}. It is not made again in this study: report this bug of "
    "optuna-metallmix."
)


class MetaLLMiXSampler(PerStudySampler):
    """Sampler whose first trial is suggested from past studies, optionally by a language model.

    A CatBoost meta-learner is fitted on the past studies, of which those with fewer than ten
    finished trials count less. If there is a language model, on this machine unless you name a
    host, it is shown the best candidates and their SHAP values, and its proposal is checked before
    it is used (MetaLLMiX, arXiv 2509.09387); else the best candidate is used. The model is asked
    inside the objective's first ``suggest_*`` call. The base sampler samples all other trials.

    Each fallback, from the model to the meta-learner's best candidate and from there to the base
    sampler, logs one warning and is recorded on the trial. The user attributes are
    ``metallmix:source`` (``"llm"``, ``"meta-learner"`` or ``"base-sampler"``),
    ``metallmix:model``, ``metallmix:why``, ``metallmix:verdict``, ``metallmix:reason`` and
    ``metallmix:projected``, and in a full record among the system attributes, see
    :func:`read_record`.

    If the study already has trials, the next trial gets the suggestion, and the existing trials
    count as evidence, also those copied from a study that had a suggestion. Enqueued trials are
    not modified. Multi-objective studies get no suggestion.

    Args:
        source_storage: The past studies: a journal or SQLite file, a database URL or a storage
            object. Default: the study's own storage. It is read, never written.
        source_study_names: The names of the past studies to use. Default: all usable studies.
            Those that do not exist are named in a warning, and the others are used.
        aliases: The present names of past parameters, by past name, such as
            ``{"lr": "learning_rate"}``. Default: none were renamed. A past study in which two
            parameters would have the same name is left out.
        search_space: Distributions by parameter name. Required only if past studies do not have
            them; if given, exactly these parameters are suggested.
        meta_features: What is known of the task, as scalars by name. Past studies are described
            by their scalar user attributes. See :func:`image_meta_features`.
        llm: The language model: ``None`` for the model that ``OPTUNA_METALLMIX_MODEL`` names, else
            a model of a local Ollama with at least 1.5 billion parameters, else the embedded
            model if it is installed, else none; ``"ollama:qwen3:8b"``;
            ``"openai:http://localhost:8000/v1#model"``; ``"path/to/model.gguf"``; ``"embedded"``
            for the tiny packaged model; any object with ``generate(messages, *, schema) -> str``;
            ``False`` for the meta-learner alone.
        judge: The language model that reviews the proposal: ``None`` for the same model, ``False``
            for no review, or a model as for ``llm``.
        llm_timeout: Seconds, above 0, for the model's entire part: loading it, all answers and
            reviews. When they are over, the meta-learner's best candidate is used. The model is
            called in a thread of its own, which is left behind if it is late. ``None`` for no
            limit, with calls in the objective's thread.
        base_sampler: Samples all other trials; each study gets its own copy, to which the
            suggestion is like an enqueued trial. ``GridSampler`` thus evaluates its entire grid.
            Default: :class:`TransferSampler` on the same past, which uses ``TPESampler`` without
            a past.
        n_attempts: Maximum number of answers, at least 1. A rejected answer is sent back with the
            reasons.
        seed: Seed of the meta-learner, the candidates and the default base sampler.
        cost_aware: Whether to rank first the candidate with the shortest predicted training time
            among those predicted equally good within the uncertainty.
        prompt: ``"cot+shap"`` to let the model reason over SHAP evidence before it chooses,
            ``"cot"`` to reason without the evidence, ``"plain"`` to choose at once. Instead of
            ``"cot+shap"``, a model that is known to have fewer than 1.5 billion parameters (of
            your own object, its ``n_parameters``) is asked a short question, which it answers
            with a candidate and the evidence for it: once, without a review, and only if there is
            evidence.
        artifact_store: Where figures for the note are stored, such as
            ``optuna.artifacts.FileSystemArtifactStore("./artifacts")``; start the dashboard with
            ``--artifact-dir ./artifacts``. Default: none; the interactive figures need no store.

    Raises:
        HistoryError: ``source_storage`` is not an Optuna storage.
        LLMError: ``llm`` names a model file that cannot be loaded.
        TypeError, ValueError: An argument is invalid; the message says what is accepted.
    """

    def __init__(
        self,
        *,
        source_storage: Source | None = None,
        source_study_names: Sequence[str] | None = None,
        aliases: Mapping[str, str] | None = None,
        search_space: SearchSpace | None = None,
        meta_features: Mapping[str, float | int | str] | None = None,
        llm: LLMSpec = None,
        judge: LLMSpec = None,
        llm_timeout: float | None = DEFAULT_TIMEOUT,
        base_sampler: BaseSampler | None = None,
        n_attempts: int = 2,
        seed: int | None = None,
        cost_aware: bool = False,
        prompt: str = DEFAULT_VARIANT.name,
        artifact_store: ArtifactStore | None = None,
    ) -> None:
        names = check_source(source_storage, source_study_names)
        self._settings = Settings(
            source_storage=source_storage,
            source_study_names=names,
            aliases=check_past_names(source_storage, names, aliases),
            search_space=check_space(search_space),
            meta_features=check_features(meta_features),
            llm=llm,
            judge=judge,
            llm_timeout=llm_timeout,
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
                source_study_names=names,
                aliases=aliases,
                meta_features=meta_features,
                seed=self._settings.seed,  # so that both share a cached meta-learner
                warn_without_past=False,  # the suggestion already warns
            )
        )
        self._deferred: set[tuple[str, str, int]] = set()
        # How often the suggestion could not be stored, by study.
        self._failures: Counter[tuple[str, str, int]] = Counter()
        # The trials that received a suggestion without a mark of it on their study.
        self._unmarked: dict[tuple[str, str, int], tuple[FrozenTrial, bool]] = {}
        self._passed: set[tuple[tuple[str, str, int], str]] = set()
        self._claimed: set[tuple[str, str, int, int]] = set()
        self._reports: dict[tuple[str, str, int, int], StudyReport | None] = {}
        # The past studies by study, to find parameters that were renamed.
        self._pasts: dict[tuple[str, str, int], History] = {}
        self._log = SuggestionLog()

    def __getstate__(self) -> dict[str, Any]:
        # Claims, reports and pasts are process-local.
        return {**self.__dict__, "_claimed": set(), "_reports": {}, "_pasts": {}}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Claim the suggestion unless another trial has it.

        This stays fast and must not raise: Optuna does not catch exceptions here.
        """
        super().before_trial(study, trial)
        if trial.number == 0:  # a new study may reuse the name and id of a deleted one
            self._failures.pop(study_key(study), None)
            self._unmarked.pop(study_key(study), None)
        if self._failures[study_key(study)] >= MAX_FAILURES or self._is_unmarked(study):
            return
        try:
            if is_single_objective(study):
                if trial_claim.claim(study, trial):
                    self._claimed.add(trial_key(study, trial))
            elif trial_claim.suggested_number(study) is None:
                reason = "Studies with several objectives are not supported."
                self._record_missing(study, trial, [reason, *self._settle(study, trial)])
        except MetaLLMiXError as error:
            self._pass(study, trial, error)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the suggested value within the objective's range, else ask the base sampler."""
        key = trial_key(study, trial)
        if key in self._claimed and key not in self._reports:
            self._reports[key] = self._ask(study, trial, {param_name: param_distribution})
        report = self._reports.get(key)
        values = report and report.suggestion.value_for(param_name, param_distribution)
        if not report or not values:
            return self._base(study).sample_independent(
                study, trial, param_name, param_distribution
            )
        return values[0]

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Describe the configuration that ran, and discard the trial's state."""
        key = trial_key(study, trial)
        is_left = self._leaves_suggestion(trial, key)
        report = self._reports.pop(key, None)
        if is_left:
            self._write(record_missing, storage_of(study), trial_id_of(trial), _NO_PARAMETER)
        elif report:
            self._report_run(trial, report, is_whole=state is not TrialState.FAIL)
        if key in self._claimed and state is not TrialState.FAIL:
            self._offer_past(study, trial)
        self._claimed.discard(key)
        self._warn_renamed(study, trial, state)
        self._base(study).after_trial(study, trial, state, values)

    def _leaves_suggestion(self, trial: FrozenTrial, key: tuple[str, str, int, int]) -> bool:
        """Return whether an ended trial leaves its suggestion to the next one.

        If there was none to make, the trial says why already.
        """
        if key not in self._claimed or trial.params:
            return False
        report = self._reports.get(key)
        return key not in self._reports or bool(report and report.suggestion.params)

    def _is_own(self, study: Study, trial: FrozenTrial) -> bool:
        return trial_key(study, trial) in self._claimed

    @numpy_defaults()
    def _ask(
        self, study: Study, trial: FrozenTrial, first_param: SearchSpace
    ) -> StudyReport | None:
        try:
            trial_claim.confirm(study, trial)
            without = trial_claim.unused(study, trial)
            with trial_claim.renewed(study, trial), numerical_errors():
                suggestion = suggest_for_study(study, first_param, self._settings, without)
            trial_claim.check(study, trial)
        except HistoryError as error:
            self._defer(study, trial, str(error))
            return None
        except MetaLLMiXError as error:
            self._pass(study, trial, error)
            return None
        except Exception as error:
            self._give_up(study, trial, error)
            raise
        try:  # before the mark: a process that ends in between must not use up the suggestion
            write_record(storage_of(study), trial_id_of(trial), suggestion)
        except Exception as error:  # any: it depends on the storage
            self._pass(study, trial, storage_error(error))
            return None
        if isinstance(self._base_sampler, TransferSampler):
            self._base_sampler.add_suggested(study, trial, suggestion.params)
        return self._report(study, trial, suggestion)

    def _give_up(self, study: Study, trial: FrozenTrial, error: Exception) -> None:
        """Make no suggestion after a bug: it fails one trial, not every trial."""
        self._claimed.discard(trial_key(study, trial))
        problems = self._settle(study, trial)
        reason = " ".join([_BUG.format(describe_error(error)), *problems])
        self._write(record_missing, storage_of(study), trial_id_of(trial), reason)

    def _report(self, study: Study, trial: FrozenTrial, suggestion: Suggestion) -> StudyReport:
        """Report a suggestion that is stored on its trial."""
        problems = self._settle(study, trial, always=not suggestion.params)
        deferred = study_key(study) in self._deferred
        self._log.log_suggestion(study, trial, suggestion, postponed=deferred)
        self._pasts[study_key(study)] = suggestion.history
        if suggestion.learner is None:
            self._skip_base_warning(study)
        report = StudyReport(study, trial.number, suggestion)
        # The note and the figures are attributes of the study, too.
        problems = problems or self._write_report(report)
        self._record_problems(trial, report, problems)
        if not problems and is_in_memory(storage_of(study)):
            self._log.log_note_in_memory(study)
        return report

    @numpy_defaults()
    def _report_run(self, trial: FrozenTrial, report: StudyReport, *, is_whole: bool) -> None:
        """Report the configuration that ran, unless it is the suggested one.

        Parameters that were probably renamed are reported with it: a suggestion cannot know them.
        """
        study, suggested = report.study, report.suggestion
        try:
            with numerical_errors():
                ran = suggested.as_run(trial, is_whole=is_whole)
        except CalculationError as error:
            self._record_problems(trial, report, [str(error)])
            return
        past = suggested.history.renamed_for(trial.distributions)
        aliases = find_renamed(trial.distributions, past.past_space)
        if aliases and is_whole:
            hint = describe_renamed(aliases)
            ran = replace(ran, reasons=(*ran.reasons, f"{hint[0].upper()}{hint[1:]}"))
        if ran is suggested:
            return
        report.suggestion = ran
        self._write(write_record, storage_of(study), trial_id_of(trial), ran)
        self._log.log_run(study, trial, ran)
        if not self._is_unmarked(study):
            self._record_problems(trial, report, self._write_report(report))

    def _write_report(self, report: StudyReport) -> list[str]:
        """Write the note and the figures; return what went wrong."""
        try:
            with numerical_errors():
                return report.write(self._artifact_store)
        except CalculationError as error:
            return [f"The note of study {report.study.study_name!r} is incomplete. {error}"]

    def _settle(self, study: Study, trial: FrozenTrial, always: bool = True) -> list[str]:
        """Settle the suggestion; return why the study has no mark of it.

        Optuna itself writes no attributes of a study with its default sampler.
        """
        try:
            trial_claim.settle(study, trial, always=always)
        except MetaLLMiXError as error:
            self._unmarked[study_key(study)] = trial, always
            return [
                f"The attributes of study {study.study_name!r} could not be written. {error} It "
                "has no note, and each process or sampler makes a suggestion of its own."
            ]
        return []

    def _is_unmarked(self, study: Study) -> bool:
        """Return whether a study has a suggestion, but no mark of it, which is tried again."""
        unmarked = self._unmarked.pop(study_key(study), None)
        return unmarked is not None and bool(self._settle(study, *unmarked))

    def _pass(self, study: Study, trial: FrozenTrial, error: MetaLLMiXError) -> None:
        """Leave the suggestion to another trial, which has claimed it or is the next to try."""
        if not isinstance(error, NotClaimedError):
            self._failures[study_key(study)] += 1
            self._write(trial_claim.defer, study, trial)
            self._record_missing(study, trial, [str(error)])
        elif (key := (study_key(study), str(error))) not in self._passed:
            self._passed.add(key)  # that a trial was killed is said once, not on each later trial
            self._write(record_passed, storage_of(study), trial_id_of(trial), str(error))
            self._log.log_passed(study, trial, str(error))

    def _defer(self, study: Study, trial: FrozenTrial, reason: str) -> None:
        """Leave the suggestion to a later trial, once this trial has revealed the search space."""
        problems: list[str] = []
        if self._settings.llm is False:
            problems = self._settle(study, trial)
        else:
            self._deferred.add(study_key(study))
            self._write(trial_claim.defer, study, trial)
        self._record_missing(study, trial, [reason, *problems])

    def _record_missing(self, study: Study, trial: FrozenTrial, reasons: Sequence[str]) -> None:
        reason = " ".join(reasons)
        self._write(record_missing, storage_of(study), trial_id_of(trial), reason)
        self._log.warn_missing(study, trial, reason)
        self._skip_base_warning(study)

    def _write(self, function: Callable[..., None], *arguments: Any) -> None:
        """Write attributes of a trial that are not worth stopping a study for."""
        try:
            function(*arguments)
        except MetaLLMiXError as error:
            self._log.warn_once(str(error))
        except Exception as error:  # any: it depends on the storage
            self._log.warn_once(str(storage_error(error)))

    def _warn_renamed(self, study: Study, trial: FrozenTrial, state: TrialState) -> None:
        """Warn of parameters that were renamed once a trial has asked for all of its own."""
        past = self._pasts.get(study_key(study))
        if past is None or state is TrialState.FAIL:
            return
        space = past.renamed_for(trial.distributions).past_space
        if self._log.warn_renamed(study, trial.distributions, space):
            self._pasts.pop(study_key(study), None)  # another thread may have

    def _offer_past(self, study: Study, trial: FrozenTrial) -> None:
        """Name the past that comes with the package, if no other has this study's parameters."""
        past = self._pasts.get(study_key(study), History())
        known = past.renamed_for(trial.params).past_space
        self._log.offer_past(study, trial.distributions, known)

    def _skip_base_warning(self, study: Study) -> None:
        """Let the default base sampler not repeat why past studies are not used."""
        if isinstance(self._base_sampler, TransferSampler):
            self._base_sampler.skip_warning(study)

    def _record_problems(
        self, trial: FrozenTrial, report: StudyReport, problems: Sequence[str]
    ) -> None:
        """Warn once per problem with the note or figures, and record it on the trial."""
        for problem in problems:
            self._log.warn_once(problem)
        if problems:
            storage, reason = storage_of(report.study), " ".join(problems)
            self._write(record_missing_note, storage, trial_id_of(trial), reason)

"""study + settings -> the suggestion for its first trial: reads the past, finds the model."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace

from optuna import Study
from optuna.distributions import BaseDistribution

from optuna_metallmix._errors import HistoryError
from optuna_metallmix._errors import LLMError
from optuna_metallmix._history import History
from optuna_metallmix._history import score_study
from optuna_metallmix._meta_features import scalar_features
from optuna_metallmix._optuna_access import all_trials
from optuna_metallmix._optuna_access import storage_of
from optuna_metallmix._optuna_access import study_id_of
from optuna_metallmix._past import read_past
from optuna_metallmix._search_space import SearchSpace
from optuna_metallmix._search_space import merge_spaces
from optuna_metallmix._settings import Settings
from optuna_metallmix._suggested import Suggestion
from optuna_metallmix._suggestion import suggest
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import NO_MODEL_HINT
from optuna_metallmix.llm import LLMSpec
from optuna_metallmix.llm import release
from optuna_metallmix.llm import resolve_llm


_MAX_WHY = 3
"""Most sentences on why there is no past; a storage can have hundreds of unfit studies."""


@dataclass
class _Found:
    """What could be had, and why not more."""

    reasons: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def first_trial(
    study: Study, asked: Mapping[str, BaseDistribution], settings: Settings
) -> Suggestion:
    """Suggest for a study.

    Args:
        study: The study that asks.
        asked: What is known of its objective's own search space: by name, the parameter that it
            has just asked for first; empty where no objective runs.
        settings: What the person has said.

    Raises:
        HistoryError: There is neither a past nor a search space to go by.
    """
    found = _Found()
    start = time.perf_counter()
    history = _past(study, settings, found)
    names = {*asked, *(settings.search_space or ()), *history.target_space}
    history = history.sharing(names) if names else history
    found.seconds["history"] = time.perf_counter() - start
    if not (history.studies or settings.search_space or history.target_space):
        raise HistoryError(_nothing_known(history, found, settings))
    llm = _model(settings.llm, found)
    reviewer = llm if settings.judge is None else _model(settings.judge, found)
    try:
        suggestion = suggest(
            history,
            _space(history, settings.search_space, asked),
            {**own_features(study), **settings.meta_features},
            llm,
            reviewer=reviewer,
            n_attempts=settings.n_attempts,
            seed=settings.seed,
            cost_aware=settings.cost_aware,
            prompt=settings.prompt,
        )
    finally:  # The training that follows needs the memory, an accelerator's above all.
        release(llm)
        release(reviewer)
    return replace(
        suggestion,
        reasons=(*found.reasons, *suggestion.reasons),
        seconds={**found.seconds, **suggestion.seconds},
    )


def _nothing_known(history: History, found: _Found, settings: Settings) -> str:
    why = [*found.reasons] or ["There are no past studies to learn from."]
    why += [f"Study {name!r} is left out: {reason}." for name, reason in history.left_out.items()]
    if settings.llm is False:
        later, otherwise = "", ""
    else:
        later = "The language model is asked once this trial has shown it. "
        otherwise = ", or search_space= to be suggested the first trial"
    return (
        f"{' '.join(why[:_MAX_WHY])} And nothing is known of the objective's search space yet. "
        f"{later}Pass source_storage= with the studies of other tasks{otherwise}."
    )


def _past(study: Study, settings: Settings, found: _Found) -> History:
    try:
        history = read_past(study, settings.source_storage, settings.source_study_names)
    except HistoryError as error:
        found.reasons.append(str(error))
        history = History()
    return with_own_trials(history, study)


def with_own_trials(history: History, study: Study, before: int | None = None) -> History:
    """Add what a study itself has tried; only trials with a number below ``before``, if given."""
    own = [one for one in all_trials(study) if one.state.is_finished()]
    own = [one for one in own if before is None or one.number < before]
    try:
        scored = score_study(
            study.study_name, study.direction, own, own_features(study), is_target=True
        )
    except HistoryError:  # too little to be ranked, but its values are known all the same
        scored = None
    return history.with_target(scored, own)


def _space(
    history: History, given: SearchSpace | None, asked: Mapping[str, BaseDistribution]
) -> SearchSpace:
    """Return the space by name: what is given, else past studies', the study's own before them."""
    if given is not None:
        return given
    past = merge_spaces(one.space for one in history.studies if not one.is_target)
    return {**past, **history.target_space, **asked}


def own_features(study: Study) -> dict[str, float | int | str]:
    """Return the meta-features that a study's own user attributes tell."""
    return scalar_features(storage_of(study).get_study_user_attrs(study_id_of(study)))


def _model(spec: LLMSpec, found: _Found) -> LLM | None:
    if spec is False:
        return None
    try:
        resolved = resolve_llm(spec)
    except LLMError as error:
        found.reasons.append(str(error))
        return None
    if resolved.llm is None:
        found.reasons.append(
            " ".join(["There is no language model:", *resolved.tried, NO_MODEL_HINT])
        )
    return resolved.llm

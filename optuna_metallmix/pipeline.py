"""history + search space + language model -> suggestion: the whole path on one page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution

from optuna_metallmix.candidates import cost_tradeoff
from optuna_metallmix.candidates import propose_candidates
from optuna_metallmix.candidates import spread_candidates
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.errors import LLMError
from optuna_metallmix.explain import explain
from optuna_metallmix.history import History
from optuna_metallmix.history import MetaFeatures
from optuna_metallmix.history import read_past
from optuna_metallmix.history import scalar_features
from optuna_metallmix.history import score_study
from optuna_metallmix.judge import hold_dialogue
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import NO_MODEL_HINT
from optuna_metallmix.llm import LLMSpec
from optuna_metallmix.llm import model_build
from optuna_metallmix.llm import model_name
from optuna_metallmix.llm import release
from optuna_metallmix.llm import resolve_llm
from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.metalearner import fit_cost_model
from optuna_metallmix.metalearner import fit_meta_learner
from optuna_metallmix.optuna_access import all_trials
from optuna_metallmix.optuna_access import storage_of
from optuna_metallmix.optuna_access import study_id_of
from optuna_metallmix.progress import stage
from optuna_metallmix.prompt import DEFAULT_VARIANT
from optuna_metallmix.prompt import Question
from optuna_metallmix.prompt import Variant
from optuna_metallmix.prompt import variant_named
from optuna_metallmix.settings import Settings
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import merge_spaces
from optuna_metallmix.suggestion import SOURCE_BASE_SAMPLER
from optuna_metallmix.suggestion import SOURCE_LLM
from optuna_metallmix.suggestion import SOURCE_META_LEARNER
from optuna_metallmix.suggestion import Suggestion


def suggest(
    history: History,
    search_space: SearchSpace,
    meta_features: MetaFeatures,
    llm: LLM | None,
    *,
    reviewer: LLM | None = None,
    n_attempts: int = 2,
    seed: int = 0,
    cost_aware: bool = False,
    prompt: str = DEFAULT_VARIANT.name,
) -> Suggestion:
    """Suggest a first configuration; never raises for a poor past or a poor model.

    Args:
        history: The past studies.
        search_space: What may be suggested, by name.
        meta_features: What is known of the target task.
        llm: The language model; ``None`` to use the meta-learner alone.
        reviewer: The language model that judges; ``None`` to judge by code and meta-learner.
        n_attempts: How often the model may answer, from 1.
        seed: Seeds the meta-learner and the candidates.
        cost_aware: Whether the cheapest training that may be as good as the best comes first.
        prompt: How the model is asked: ``"plain"``, ``"cot"`` or ``"cot+shap"``.

    Raises:
        ValueError: There is no such ``prompt``.
    """
    variant = variant_named(prompt)
    draft = Suggestion(SOURCE_BASE_SAMPLER, {}, search_space, meta_features, history)
    draft = replace(draft, prompt_version=variant.version)
    try:
        draft = _learn(draft, seed, cost_aware)
    except HistoryError as error:
        candidates = spread_candidates(search_space, np.random.default_rng(seed))
        draft = replace(draft, candidates=candidates, reasons=(str(error),))
    if llm is not None:
        draft = _ask(draft, llm, reviewer, n_attempts, variant)
    if draft.proposal is not None:
        return _explained(replace(draft, source=SOURCE_LLM, params=draft.proposal.params))
    refused = tuple(
        f"{draft.model}, answer {i} was not used: {' '.join(one.failures)}"
        for i, one in enumerate(draft.attempts, start=1)
    )
    draft = replace(draft, reasons=(*draft.reasons, *refused))
    if draft.learner is not None:
        best = draft.candidates[0].params
        return _explained(replace(draft, source=SOURCE_META_LEARNER, params=best))
    return draft


def question_of(suggestion: Suggestion, variant: Variant) -> Question:
    """Return what a language model is asked about a suggestion's candidates."""
    return Question(
        suggestion.space,
        suggestion.meta_features,
        suggestion.candidates,
        suggestion.explanation,
        suggestion.learner,
        suggestion.history.tried,
        variant,
    )


def _learn(draft: Suggestion, seed: int, cost_aware: bool) -> Suggestion:
    """Past -> meta-learner -> candidates -> explanation."""
    seconds: dict[str, float] = {}
    with stage(seconds, "meta-learner", "Fitting the meta-learner"):
        learner = fit_meta_learner(draft.history, draft.space, seed)
    if cost_aware:
        with stage(seconds, "cost", "Fitting the costs"):
            draft = _with_costs(draft, learner)
    with stage(seconds, "candidates", "Looking for candidates"):
        rng = np.random.default_rng(seed)
        candidates = propose_candidates(learner, draft.history, rng, costs=draft.costs)
    with stage(seconds, "explanation", "Explaining them"):
        explanation = explain(learner, candidates, draft.history, draft.meta_features)
    draft = replace(draft, learner=learner, candidates=candidates, explanation=explanation)
    return replace(draft, seconds=seconds)


def _with_costs(draft: Suggestion, learner: MetaLearner) -> Suggestion:
    try:
        return replace(draft, costs=fit_cost_model(learner))
    except HistoryError as error:
        return replace(draft, reasons=(str(error),))


def _ask(
    draft: Suggestion, llm: LLM, reviewer: LLM | None, n_attempts: int, variant: Variant
) -> Suggestion:
    """Have the language model choose; what it was asked and answered is kept."""
    seconds = dict(draft.seconds)
    with stage(seconds, "model", f"Asking {model_name(llm)}"):
        talk = hold_dialogue(question_of(draft, variant), llm, reviewer, n_attempts)
    has_answered = any(one.answer for one in talk.attempts)
    return replace(
        draft,
        model=model_name(llm),
        model_build=model_build(llm) if has_answered else None,
        attempts=talk.attempts,
        proposal=talk.proposal,
        verdict=talk.verdict,
        seconds=seconds,
    )


def _explained(draft: Suggestion) -> Suggestion:
    """Add what the past expects of the configuration, and by how much each value moves that."""
    if draft.learner is None:
        return draft
    values, base = draft.learner.shap_values([draft.params])
    effects = dict(zip(draft.learner.space, values[0].tolist(), strict=True))
    predicted = base + float(values[0].sum())
    return replace(
        draft,
        predicted=predicted,
        effects={name: effects[name] for name in draft.space},
        trade=cost_tradeoff(draft.costs, draft.params, predicted, draft.candidates),
    )


_MAX_WHY = 3
"""Most sentences on why there is no past; a storage can have hundreds of unfit studies."""


@dataclass
class _Found:
    """What could be had, and why not more."""

    reasons: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def suggest_for_study(
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

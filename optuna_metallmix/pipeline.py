"""Suggest a study's first configuration from past studies and a language model.

Start reading at :func:`suggest`: it calls the steps in order, and each step's sub-package has the
details. :func:`suggest_for_study` collects its inputs from a study and the sampler's settings.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import optuna
from optuna import Study
from optuna.distributions import BaseDistribution

from optuna_metallmix.candidates import candidates_without_history
from optuna_metallmix.candidates import propose_candidates
from optuna_metallmix.errors import HistoryError
from optuna_metallmix.errors import LLMError
from optuna_metallmix.explain import explain
from optuna_metallmix.history import History
from optuna_metallmix.history import MetaFeatures
from optuna_metallmix.history import check_aliases
from optuna_metallmix.history import own_features
from optuna_metallmix.history import read_past
from optuna_metallmix.history import rename
from optuna_metallmix.history import with_own_trials
from optuna_metallmix.judge import Dialogue
from optuna_metallmix.judge import hold_dialogue
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import NO_MODEL_HINT
from optuna_metallmix.llm import EmbeddedLLM
from optuna_metallmix.llm import LLMSpec
from optuna_metallmix.llm import TimeBudget
from optuna_metallmix.llm import model_build
from optuna_metallmix.llm import model_name
from optuna_metallmix.llm import resolve_llm
from optuna_metallmix.metalearner import fit_cost_model
from optuna_metallmix.metalearner import fit_meta_learner
from optuna_metallmix.metalearner import limit_studies
from optuna_metallmix.progress import timed_stage
from optuna_metallmix.prompt import DEFAULT_VARIANT
from optuna_metallmix.prompt import Question
from optuna_metallmix.prompt import Variant
from optuna_metallmix.prompt import question_for
from optuna_metallmix.prompt import variant_named
from optuna_metallmix.settings import Settings
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import merge_spaces
from optuna_metallmix.suggestion import SOURCE_BASE_SAMPLER
from optuna_metallmix.suggestion import SOURCE_LLM
from optuna_metallmix.suggestion import SOURCE_META_LEARNER
from optuna_metallmix.suggestion import Suggestion


_logger = optuna.logging.get_logger("optuna.metallmix")


def suggest(
    history: History,
    search_space: SearchSpace,
    meta_features: MetaFeatures,
    llm: LLM | None,
    *,
    reviewer: LLM | None = None,
    budget: TimeBudget | None = None,
    n_attempts: int = 2,
    seed: int = 0,
    cost_aware: bool = False,
    prompt: str = DEFAULT_VARIANT.name,
    aliases: Mapping[str, str] | None = None,
) -> Suggestion:
    """Suggest a first configuration; too little history or a failing model does not raise.

    Uses the model's accepted proposal, otherwise the meta-learner's best candidate. If neither
    exists, ``params`` is empty and the base sampler has to sample the trial.

    Args:
        history: The past studies.
        search_space: The distributions of the parameters to suggest, by name.
        meta_features: Meta-features of the target task, scalars by name.
        llm: The language model; ``None`` to use the meta-learner alone.
        reviewer: The language model that reviews the proposal; ``None`` to check it with code and
            the meta-learner only.
        budget: The time for all answers and reviews; ``None`` for no limit.
        n_attempts: Maximum number of answers, at least 1.
        seed: Seed of the meta-learner and the candidates.
        cost_aware: Whether to rank first the cheapest of the candidates predicted equally good.
        prompt: The prompt variant: ``"plain"``, ``"cot"`` or ``"cot+shap"``. Instead of the last,
            a model that is known to have fewer than 1.5 billion parameters is asked a short
            question, once and without a review.
        aliases: The present names of past parameters, by past name.

    Raises:
        TypeError, ValueError: ``aliases`` are invalid, or ``prompt`` is not a known variant.
    """
    variant = variant_named(prompt)
    history = limit_studies(history.with_aliases(check_aliases(aliases)), search_space)
    suggestion = Suggestion(SOURCE_BASE_SAMPLER, {}, search_space, meta_features, history)
    suggestion = replace(suggestion, prompt_version=variant.version, reasons=history.problems)
    try:
        suggestion = _learn_from_past(suggestion, seed, cost_aware)
    except HistoryError as error:
        candidates = candidates_without_history(search_space, np.random.default_rng(seed))
        reasons = (*suggestion.reasons, str(error))
        suggestion = replace(suggestion, candidates=candidates, reasons=reasons)
    if llm is not None:
        budget = budget or TimeBudget(None)
        limited, reviewing = budget.limit(llm), None
        if reviewer is not None:
            reviewing = limited if reviewer is llm else budget.limit(reviewer)
        suggestion = _ask_model(suggestion, limited, reviewing, n_attempts, variant)
        if budget.is_over and suggestion.proposal is not None:
            suggestion = _without_review(suggestion, budget)
    return _choose(suggestion)


def question_of(suggestion: Suggestion, variant: Variant) -> Question:
    """Build the question for the language model."""
    return Question(
        suggestion.space,
        suggestion.meta_features,
        suggestion.candidates,
        suggestion.explanation,
        suggestion.learner,
        suggestion.history.tried,
        variant,
    )


def _learn_from_past(suggestion: Suggestion, seed: int, cost_aware: bool) -> Suggestion:
    """Fit the meta-learner, propose candidates and explain them."""
    history, space, seconds = suggestion.history, suggestion.space, dict(suggestion.seconds)
    with timed_stage(seconds, "meta-learner", "Fitting the meta-learner"):
        learner = fit_meta_learner(history, space, seed)
    if cost_aware:
        with timed_stage(seconds, "cost", "Fitting the cost model"):
            try:
                suggestion = replace(suggestion, costs=fit_cost_model(learner))
            except HistoryError as error:
                suggestion = replace(suggestion, reasons=(*suggestion.reasons, str(error)))
    with timed_stage(seconds, "candidates", "Proposing candidates"):
        rng = np.random.default_rng(seed)
        candidates = propose_candidates(learner, history, rng, costs=suggestion.costs)
    with timed_stage(seconds, "explanation", "Explaining the candidates"):
        explanation = explain(learner, candidates, history, suggestion.meta_features)
    known = {name for study in history.studies for name in study.space}
    return replace(
        suggestion,
        new=tuple(name for name in learner.space if name not in known),
        learner=learner,
        candidates=candidates,
        explanation=explanation,
        seconds=seconds,
    )


def _ask_model(
    suggestion: Suggestion, llm: LLM, reviewer: LLM | None, n_attempts: int, variant: Variant
) -> Suggestion:
    """Let the language model choose, and record its answers."""
    seconds = dict(suggestion.seconds)
    with timed_stage(seconds, "model", f"Asking {model_name(llm)}"):
        question = question_for(llm, question_of(suggestion, variant))
        dialogue = hold_dialogue(question, llm, reviewer, n_attempts)
    has_answered = any(attempt.answer for attempt in dialogue.attempts)
    left_out = _left_out(llm, reviewer, dialogue) if question.variant.is_short else ()
    return replace(
        suggestion,
        model=model_name(llm) if dialogue.attempts else None,
        model_build=model_build(llm) if has_answered else None,
        prompt_version=question.variant.version,
        attempts=dialogue.attempts,
        proposal=dialogue.proposal,
        verdict=dialogue.verdict,
        reasons=(*suggestion.reasons, *left_out),
        seconds=seconds,
    )


def _left_out(llm: LLM, reviewer: LLM | None, dialogue: Dialogue) -> tuple[str, ...]:
    """Return what was not done because the model is small, a sentence each."""
    small = model_name(llm)
    if not dialogue.attempts:
        return (
            f"{small} was not asked: a model of its size can only compare evidence, and past "
            "studies give none.",
        )
    if dialogue.proposal is None or reviewer is None or reviewer is llm:
        return ()
    return (
        f"{model_name(reviewer)} did not review the answer of {small}: a model of its size is "
        "asked a short question, and code checks the answer.",
    )


def _without_review(suggestion: Suggestion, budget: TimeBudget) -> Suggestion:
    """Reject the proposal, because its review did not finish in time."""
    failures = (f"Its review did not finish in time. {budget.message}",)
    *before, latest = suggestion.attempts
    verdict = suggestion.verdict and replace(
        suggestion.verdict, accepted=False, failures=failures, refused_by="time limit"
    )
    attempts = (*before, replace(latest, failures=failures))
    return replace(suggestion, proposal=None, attempts=attempts, verdict=verdict)


def _choose(suggestion: Suggestion) -> Suggestion:
    """Use the accepted proposal, or else the meta-learner's best candidate."""
    learner = suggestion.learner
    if suggestion.proposal is not None:
        suggestion = replace(suggestion, source=SOURCE_LLM, params=suggestion.proposal.params)
    else:
        refusals = tuple(
            f"Answer {i} of {suggestion.model} was not used: {' '.join(attempt.failures)}"
            for i, attempt in enumerate(suggestion.attempts, start=1)
        )
        suggestion = replace(suggestion, reasons=(*suggestion.reasons, *refusals))
        if learner is not None:
            best = suggestion.candidates[0].params
            suggestion = replace(suggestion, source=SOURCE_META_LEARNER, params=best)
    return suggestion.with_effects()


def suggest_for_study(
    study: Study,
    asked: Mapping[str, BaseDistribution],
    settings: Settings,
    without: Collection[int] = (),
) -> Suggestion:
    """Read the past studies, find the language model and suggest.

    Args:
        study: The study that needs a suggestion.
        asked: The parameter just requested by the objective, by name; empty outside an objective.
        settings: The sampler's settings.
        without: The numbers of running trials whose configurations may be suggested again.

    Raises:
        HistoryError: Neither usable past studies nor a search space is available.
    """
    reasons: list[str] = []
    start = time.perf_counter()
    features = {**own_features(study), **settings.meta_features}
    history = _read_past(study, settings, reasons, is_sampling=bool(asked)).of_task(features)
    history = with_own_trials(history, study, without=without)
    history = history.renamed_for({*(settings.search_space or ()), *history.target_space})
    asked = rename(asked, history.other_names(asked, history.past_space))
    names = {*asked, *(settings.search_space or ()), *history.target_space}
    history = history.sharing(names) if names else history
    seconds = {"history": time.perf_counter() - start}
    if not (history.studies or settings.search_space or history.target_space):
        raise HistoryError(_why_nothing_is_known(history, reasons, settings))
    budget = TimeBudget(settings.llm_timeout)
    llm = _find_model(settings.llm, budget, reasons)
    if settings.llm is None and isinstance(llm, EmbeddedLLM) and not history.studies:
        llm = None  # it can only compare evidence, and nobody named it
    # A second object for the same model would reload it, with the context that it needs.
    is_own_judge = settings.judge is None or _are_same(settings.judge, settings.llm)
    reviewer = llm if is_own_judge else _find_model(settings.judge, budget, reasons)
    try:
        suggestion = suggest(
            history,
            _search_space(history, settings.search_space, asked),
            features,
            llm,
            reviewer=reviewer,
            budget=budget,
            n_attempts=settings.n_attempts,
            seed=settings.seed,
            cost_aware=settings.cost_aware,
            prompt=settings.prompt,
        )
    finally:  # free memory, especially GPU memory, for the training run that follows
        budget.release(llm)
        if reviewer is not llm:
            budget.release(reviewer)
    return replace(
        suggestion,
        reasons=(*reasons, *suggestion.reasons),
        seconds={**seconds, **suggestion.seconds},
    )


def _read_past(
    study: Study, settings: Settings, reasons: list[str], *, is_sampling: bool
) -> History:
    try:
        return read_past(
            study,
            settings.source_storage,
            settings.source_study_names,
            settings.aliases,
            is_sampling=is_sampling,
        )
    except HistoryError as error:
        reasons.append(str(error))
        return History()


def _search_space(
    history: History, given: SearchSpace | None, asked: Mapping[str, BaseDistribution]
) -> SearchSpace:
    """Return the given space, or else the past studies', overridden by what the study has used.

    A parameter that the past does not have is left to the base sampler, whether it is asked for
    first or later.
    """
    if given is not None:
        return given
    past = merge_spaces(study.space for study in history.studies if not study.is_target)
    known = {**past, **history.target_space}
    return {**known, **{name: d for name, d in asked.items() if name in known or not known}}


def _are_same(spec: LLMSpec, other: LLMSpec) -> bool:
    """Return whether two specifications name the same model, or are the same object."""
    is_name = isinstance(spec, str | os.PathLike) and isinstance(other, str | os.PathLike)
    return spec is other or (is_name and spec == other)  # objects may compare in any way


def _find_model(spec: LLMSpec, budget: TimeBudget, reasons: list[str]) -> LLM | None:
    if spec is False:
        return None
    try:
        resolved = budget.run(partial(resolve_llm, spec), "The search for a language model")
    except LLMError as error:
        reasons.append(str(error))
        return None
    if resolved.tried and resolved.llm is None:  # not a warning, because nobody asked for a model
        _logger.info(" ".join(["No language model is asked.", *resolved.tried, NO_MODEL_HINT]))
    return resolved.llm


def _why_nothing_is_known(history: History, reasons: list[str], settings: Settings) -> str:
    why = [*reasons, *history.problems] or ["There are no past studies to learn from."]
    why += [f"Study {name!r} is left out: {reason}." for name, reason in history.left_out.items()]
    later, otherwise = "", ""
    if settings.llm is not False:
        later = (
            "If there is a language model with at least 1.5 billion parameters, it is asked once "
            "this trial has revealed the search space. "
        )
        otherwise = ", or search_space= to have the first trial suggested"
    return (  # three reasons are enough: a storage can have hundreds of unusable studies
        f"{' '.join(why[:3])} The objective's search space is not known yet either. "
        f"{later}Pass source_storage= with studies of other tasks{otherwise}."
    )

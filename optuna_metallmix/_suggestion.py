"""history + search space + language model -> suggestion: the whole path on one page."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from optuna_metallmix._attempt import model_build
from optuna_metallmix._attempt import model_name
from optuna_metallmix._candidates import propose_candidates
from optuna_metallmix._candidates import spread_candidates
from optuna_metallmix._conversation import converse
from optuna_metallmix._errors import HistoryError
from optuna_metallmix._explanation import explain
from optuna_metallmix._history import History
from optuna_metallmix._learned import learned_costs
from optuna_metallmix._learned import learned_scores
from optuna_metallmix._meta_features import MetaFeatures
from optuna_metallmix._meta_learner import MetaLearner
from optuna_metallmix._progress import stage
from optuna_metallmix._question import Question
from optuna_metallmix._search_space import SearchSpace
from optuna_metallmix._suggested import SOURCE_BASE_SAMPLER
from optuna_metallmix._suggested import SOURCE_LLM
from optuna_metallmix._suggested import SOURCE_META_LEARNER
from optuna_metallmix._suggested import Suggestion
from optuna_metallmix._trade import weigh
from optuna_metallmix._variant import DEFAULT_VARIANT
from optuna_metallmix._variant import Variant
from optuna_metallmix._variant import variant_named
from optuna_metallmix.llm import LLM


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
        learner = learned_scores(draft.history, draft.space, seed)
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
        return replace(draft, costs=learned_costs(learner))
    except HistoryError as error:
        return replace(draft, reasons=(str(error),))


def _ask(
    draft: Suggestion, llm: LLM, reviewer: LLM | None, n_attempts: int, variant: Variant
) -> Suggestion:
    """Have the language model choose; what it was asked and answered is kept."""
    seconds = dict(draft.seconds)
    with stage(seconds, "model", f"Asking {model_name(llm)}"):
        talk = converse(question_of(draft, variant), llm, reviewer, n_attempts)
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
        trade=weigh(draft.costs, draft.params, predicted, draft.candidates),
    )

"""history + search space + language model -> suggestion: the whole path on one page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution

from optuna_metallmix._attempt import Attempt
from optuna_metallmix._attempt import model_name
from optuna_metallmix._candidates import Candidate
from optuna_metallmix._candidates import propose_candidates
from optuna_metallmix._candidates import spread_candidates
from optuna_metallmix._conversation import converse
from optuna_metallmix._cost import CostModel
from optuna_metallmix._errors import HistoryError
from optuna_metallmix._explanation import Evidence
from optuna_metallmix._explanation import Explanation
from optuna_metallmix._explanation import explain
from optuna_metallmix._history import History
from optuna_metallmix._judge import Verdict
from optuna_metallmix._learned import learned_costs
from optuna_metallmix._learned import learned_scores
from optuna_metallmix._meta_dataset import Config
from optuna_metallmix._meta_features import MetaFeatures
from optuna_metallmix._meta_learner import MetaLearner
from optuna_metallmix._progress import stage
from optuna_metallmix._proposal import Proposal
from optuna_metallmix._question import Question
from optuna_metallmix._search_space import SearchSpace
from optuna_metallmix._search_space import choices_of
from optuna_metallmix._search_space import contains
from optuna_metallmix._search_space import is_ordered
from optuna_metallmix._search_space import project
from optuna_metallmix._trade import Trade
from optuna_metallmix._trade import weigh
from optuna_metallmix._variant import DEFAULT_VARIANT
from optuna_metallmix._variant import Variant
from optuna_metallmix._variant import variant_named
from optuna_metallmix.llm import LLM


SOURCE_LLM = "llm"
SOURCE_META_LEARNER = "meta-learner"
SOURCE_BASE_SAMPLER = "base-sampler"


@dataclass(frozen=True, repr=False)
class Suggestion:
    """A first configuration, and everything that led to it.

    Attributes:
        source: ``"llm"``, ``"meta-learner"`` or ``"base-sampler"``: the step of the ladder.
        params: The configuration; empty where the base sampler has to make it.
        space: The search space it was made for.
        meta_features: Those of the target, as the model was told.
        history: The past studies used, and why others were left out.
        candidates: What the model chose from.
        explanation: Why the past favours them; ``None`` without a past.
        learner: The fitted meta-learner; ``None`` without a past.
        costs: What tells how long a training takes; ``None`` where not asked, or nothing does.
        model: The language model's name; ``None`` where none was asked.
        prompt_version: Which wording was used: version and variant, such as ``"2 cot+shap"``.
        proposal: The accepted proposal; ``None`` where none was.
        verdict: The judge's verdict on it.
        attempts: All answers, in order.
        predicted: The score the past expects of ``params``, about [0, 1]; ``None`` without a past.
        effects: The SHAP value of each of ``params``, in score units; with
            ``explanation.base`` they add up to ``predicted``.
        trade: What ``params`` cost, and what score that gives up; ``None`` without ``costs``.
        reasons: Why it is not better founded, in words: each step down the ladder, a past that
            could not be used. Empty where all went as it should.
        seconds: Wall seconds by stage.
    """

    source: str
    params: Config
    space: SearchSpace
    meta_features: MetaFeatures
    history: History
    candidates: tuple[Candidate, ...] = ()
    explanation: Explanation | None = None
    learner: MetaLearner | None = None
    costs: CostModel | None = None
    model: str | None = None
    prompt_version: str = DEFAULT_VARIANT.version
    proposal: Proposal | None = None
    verdict: Verdict | None = None
    attempts: tuple[Attempt, ...] = ()
    predicted: float | None = None
    effects: Mapping[str, float] = field(default_factory=dict)
    trade: Trade | None = None
    reasons: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def why(self) -> str:
        """One sentence for people: what was chosen, what the past expects, what is cited."""
        if not self.params:
            return "nothing is known yet"
        chosen = self.candidates[0]
        if self.proposal is not None:
            chosen = self.candidates[self.proposal.candidate - 1]
        changed = " with changes" if self.proposal and self.proposal.changes else ""
        expected = "" if self.predicted is None else f", expected score {self.predicted:.2f} of 1"
        cited = "; ".join(one.sentence for one in self.cited)
        return f"{chosen.origin}{changed}{expected}" + (f"; cited: {cited}" if cited else "")

    @property
    def cited(self) -> tuple[Evidence, ...]:
        """The evidence that the accepted proposal cites."""
        if self.proposal is None or self.explanation is None:
            return ()
        ids = self.proposal.evidence
        return tuple(one for one in self.explanation.evidence if one.id in ids)

    def value_for(self, name: str, distribution: BaseDistribution) -> tuple[Any, Any] | None:
        """Return the value for a parameter as the objective declares it, and as it was suggested.

        A parameter that the configuration lacks (a condition has changed) takes the value of the
        best candidate that has it. ``None`` where no candidate does.
        """
        configs = [self.params, *(one.params for one in self.candidates)] if self.params else []
        for config in configs:
            if name in config:
                wanted = config[name]
                return self._projected(name, wanted, distribution), wanted
        return None

    def _projected(self, name: str, wanted: Any, distribution: BaseDistribution) -> Any:
        otherwise = None
        if not is_ordered(distribution) and not contains(distribution, wanted):
            otherwise = self._best_choice(name, choices_of(distribution))
        return project(distribution, wanted, otherwise)

    def _best_choice(self, name: str, choices: list[Any]) -> Any:
        """Return the choice that the meta-learner expects most of, the rest as suggested."""
        if self.learner is None or name not in self.learner.space:
            return None
        means = self.learner.predict([{**self.params, name: one} for one in choices]).mean
        return choices[int(means.argmax())]


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
    question = Question(
        draft.space,
        draft.meta_features,
        draft.candidates,
        draft.explanation,
        draft.learner,
        draft.history.tried,
        variant,
    )
    seconds = dict(draft.seconds)
    with stage(seconds, "model", f"Asking {model_name(llm)}"):
        talk = converse(question, llm, reviewer, n_attempts)
    return replace(
        draft,
        model=model_name(llm),
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

"""The record of a suggestion: a first configuration and everything that led to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution

from optuna_metallmix.candidates import RANDOM
from optuna_metallmix.candidates import Candidate
from optuna_metallmix.candidates import CostTradeoff
from optuna_metallmix.candidates import known_choices
from optuna_metallmix.explain import Evidence
from optuna_metallmix.explain import Explanation
from optuna_metallmix.explain import shap_view
from optuna_metallmix.history import History
from optuna_metallmix.history import MetaFeatures
from optuna_metallmix.judge import Proposal
from optuna_metallmix.judge import Verdict
from optuna_metallmix.llm import Attempt
from optuna_metallmix.metalearner import CostModel
from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.prompt import DEFAULT_VARIANT
from optuna_metallmix.prompt import SHORT
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import contains
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import label_of
from optuna_metallmix.space import project
from optuna_metallmix.text import escape_markdown
from optuna_metallmix.text import markdown_table
from optuna_metallmix.text import markdown_to_html


if TYPE_CHECKING:
    import shap

SOURCE_LLM = "llm"
SOURCE_META_LEARNER = "meta-learner"
SOURCE_BASE_SAMPLER = "base-sampler"


@dataclass(frozen=True, repr=False)
class Suggestion:
    """A first configuration, and everything that led to it.

    Attributes:
        source: ``"llm"``, ``"meta-learner"`` or ``"base-sampler"``: who made the choice.
        params: The configuration; empty where the base sampler has to make it.
        space: The search space it was made for.
        meta_features: The target's meta-features, as shown to the model.
        history: The past studies that were used, and why others were left out.
        candidates: What the model chose from.
        explanation: Why the past favours them; ``None`` without a past.
        learner: The fitted meta-learner; ``None`` without a past.
        costs: The fitted cost model; ``None`` where not asked for, or durations are unknown.
        model: The language model's name; ``None`` if no model was asked.
        model_build: Which build of the model answered, such as
            ``"ollama 0.32.15, fd5f44c0b5af"``; ``None`` if unknown.
        prompt_version: Version and variant of the prompt, such as ``"4 cot+shap"``, or
            ``"4 short"`` for the short question, which small models are asked.
        proposal: The accepted proposal; ``None`` if no answer was accepted.
        verdict: The judge's verdict on the last answer that could be parsed.
        attempts: All answers, in order.
        predicted: The expected score of ``params``, about [0, 1]; ``None`` without a past.
        effects: The SHAP value of each of ``params``, in score units; with
            ``explanation.base`` they add up to ``predicted``.
        trade: The training cost of ``params`` and the expected score given up for it; ``None``
            without ``costs``.
        reasons: What went wrong, in sentences: each fallback, a past that could not be used.
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
    model_build: str | None = None
    prompt_version: str = DEFAULT_VARIANT.version
    proposal: Proposal | None = None
    verdict: Verdict | None = None
    attempts: tuple[Attempt, ...] = ()
    predicted: float | None = None
    effects: Mapping[str, float] = field(default_factory=dict)
    trade: CostTradeoff | None = None
    reasons: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_short(self) -> bool:
        """Whether the model was asked the short question, and so gave no reasons of its own."""
        return self.prompt_version.endswith(f" {SHORT.name}")

    @property
    def why(self) -> str:
        """The choice in one sentence: its origin, its expected score, the cited evidence.

        Code writes it; it says so where the model gave no reasons of its own.
        """
        if not self.params:
            return "nothing is known yet"
        chosen = self.candidates[0]
        if self.proposal is not None:
            chosen = self.candidates[self.proposal.candidate - 1]
        changed = " with changes" if self.proposal and self.proposal.changes else ""
        expected = "" if self.predicted is None else f", expected score {self.predicted:.2f} of 1"
        cited = "; ".join(self.citations.values())
        author = " (written by code from the evidence that the model cited)" * self.is_short
        reason = f"; cited: {cited}{author}" if cited else ""
        return f"{self._basis_of(chosen)}{changed}{expected}{reason}"

    def _basis_of(self, candidate: Candidate) -> str:
        """Say what speaks for a candidate: that it was drawn at random is no reason."""
        if candidate.origin != RANDOM:
            return candidate.origin
        if self.predicted is None:
            return "chosen by the model from a sample of the space"
        n = self.history.n_trials
        return f"predicted to be good from the results of {n} past trials"

    @property
    def shap_values(self) -> shap.Explanation | None:
        """The effects as one row of a :class:`shap.Explanation`; ``None`` without a past.

        For ``shap.plots.waterfall``: in score units; base value and values add up to
        ``predicted``. Raises ImportError if shap is not installed.
        """
        if self.explanation is None or not self.effects:
            return None
        values = np.array([list(self.effects.values())])
        space = {name: self.space[name] for name in self.effects}
        return shap_view(space, [self.params], values, self.explanation.base)[0]

    def _repr_html_(self) -> str:
        """Show the suggestion and the reasons for it in a notebook."""
        rows = [
            (
                name,
                label_of(self.space[name], self.params[name]) if name in self.params else "",
                f"{self.effects[name]:+.3f}" if name in self.effects else "",
            )
            for name in {**self.params, **self.effects}
        ]
        head = ("parameter", "value", "SHAP effect (score units)")
        source = escape_markdown(self.model or self.source)
        shown = f"**Suggested by {source}**: {escape_markdown(self.why)}\n\n"
        past = self.explanation._repr_html_() if self.explanation else ""
        return markdown_to_html(shown + markdown_table(head, rows) if rows else shown) + past

    @property
    def cited(self) -> tuple[Evidence, ...]:
        """The evidence that the accepted proposal cites."""
        if self.proposal is None or self.explanation is None:
            return ()
        ids = self.proposal.evidence
        return tuple(item for item in self.explanation.evidence if item.id in ids)

    @property
    def citations(self) -> dict[str, str]:
        """The sentences of the cited evidence by id; accepted citations support the choice."""
        return {
            item.id: item.sentence + ", avoided here" * (item.effect < 0) for item in self.cited
        }

    def value_for(self, name: str, distribution: BaseDistribution) -> tuple[Any, Any] | None:
        """Return a parameter's value within ``distribution``, and the value as suggested.

        A parameter that the configuration lacks, because a condition has changed, takes the value
        of the best candidate that has it. ``None`` if no candidate has it.
        """
        configs = (
            [self.params, *(candidate.params for candidate in self.candidates)]
            if self.params
            else []
        )
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
        """Return the choice with the best expected score, all other values as suggested."""
        if self.learner is None or name not in self.learner.space:
            return None
        known = known_choices(self.learner, name, choices)
        means = self.learner.predict_mean([{**self.params, name: choice} for choice in known])
        return known[int(means.argmax())]

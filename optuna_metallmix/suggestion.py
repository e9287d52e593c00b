"""The record of a suggestion: a first configuration and everything that led to it."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from optuna_metallmix.candidates import RANDOM
from optuna_metallmix.candidates import Candidate
from optuna_metallmix.candidates import CostTradeoff
from optuna_metallmix.candidates import cost_tradeoff
from optuna_metallmix.candidates import known_choices
from optuna_metallmix.explain import Evidence
from optuna_metallmix.explain import Explanation
from optuna_metallmix.explain import evidence_sign
from optuna_metallmix.explain import shap_view
from optuna_metallmix.history import History
from optuna_metallmix.history import MetaFeatures
from optuna_metallmix.history import rename
from optuna_metallmix.judge import Proposal
from optuna_metallmix.judge import Verdict
from optuna_metallmix.llm import Attempt
from optuna_metallmix.metalearner import CostModel
from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.metalearner import evenly_spaced
from optuna_metallmix.prompt import DEFAULT_VARIANT
from optuna_metallmix.prompt import SHORT
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import config_key
from optuna_metallmix.space import contains
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import label_of
from optuna_metallmix.space import merge_spaces
from optuna_metallmix.space import project
from optuna_metallmix.space import value_key
from optuna_metallmix.text import escape_markdown
from optuna_metallmix.text import join_words
from optuna_metallmix.text import markdown_table
from optuna_metallmix.text import markdown_to_html


if TYPE_CHECKING:
    import shap

SOURCE_LLM = "llm"
SOURCE_META_LEARNER = "meta-learner"
SOURCE_BASE_SAMPLER = "base-sampler"

_MAX_NAMES = 5
_N_BACKGROUND = 30
"""Number of past trials over which the values of parameters that did not run are averaged."""


@dataclass(frozen=True, repr=False)
class Suggestion:
    """A first configuration, and everything that led to it.

    It is first made as suggested. :meth:`as_run` returns it with the configuration of its trial,
    and with what is expected of that.

    Attributes:
        source: ``"llm"``, ``"meta-learner"`` or ``"base-sampler"``: who made the choice.
        params: The configuration; empty where the base sampler has to make it.
        space: The search space it was made for.
        moved: The suggested values that the objective does not allow, by name: (suggested, used).
        new: The parameters of the candidates that no past study has; empty without a past.
        meta_features: The target's meta-features, as shown to the model.
        history: The past studies that were used, and why others were left out.
        candidates: What the model chose from.
        explanation: Why the past favours them; ``None`` without a past.
        learner: The fitted meta-learner; ``None`` without a past.
        costs: The fitted cost model; ``None`` where not asked for, or durations are unknown.
        model: The language model's name; ``None`` if no model was asked.
        model_build: Which build of the model answered, such as
            ``"ollama 0.32.15, fd5f44c0b5af"``; ``None`` if unknown.
        prompt_version: Version and variant of the prompt, such as ``"5 cot+shap"``, or
            ``"5 short"`` for the short question, which small models are asked.
        proposal: The accepted proposal; ``None`` if no answer was accepted.
        verdict: The judge's verdict on the last answer that could be parsed.
        attempts: All answers, in order.
        predicted: The expected score of ``params``, about [0, 1]; ``None`` without a past.
        effects: The SHAP value of each parameter of the past, in score units; with
            ``explanation.base`` they add up to ``predicted``.
        trade: The training cost of ``params`` and the expected score given up for it; ``None``
            without ``costs``.
        other_names: The parameters that the objective asks for by another name than a shipped
            past: the past's name, which is used here, by the objective's.
        reasons: What went wrong, in sentences: each fallback, a past that could not be used.
        seconds: Wall seconds by stage.
    """

    source: str
    params: Config
    space: SearchSpace
    meta_features: MetaFeatures
    history: History
    moved: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    new: tuple[str, ...] = ()
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
    other_names: Mapping[str, str] = field(default_factory=dict)
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
            return "no value is from past studies" if self.explanation else "nothing is known yet"
        expected = "" if self.predicted is None else f", expected score {self.predicted:.2f} of 1"
        return f"{self.basis}{expected}{self.cited_reason}"

    @property
    def basis(self) -> str:
        """Where the configuration comes from, or the part of it that past studies have."""
        if not (names := self.part_from_past):
            return self.origin
        verb = "is" if len(names) == 1 else "are"
        return f"only {join_names(names)} {verb} from past studies: {self.origin}"

    @property
    def part_from_past(self) -> list[str]:
        """The parameters with a value from the past; empty if all have one, or without a past."""
        names = self._from_past(self.params)
        return names if self.explanation and len(names) < len(self.params) else []

    def _from_past(self, names: Iterable[str]) -> list[str]:
        """Return the parameters that both the suggestion and a past study have.

        The model's changes count: it has to cite evidence of the past for each.
        """
        configs = (self.suggested, *(candidate.params for candidate in self.candidates))
        known = set().union(*configs).difference(self.new)
        return [name for name in names if name in known]

    @property
    def origin(self) -> str:
        """Where the candidate comes from, and how it was changed."""
        changes = ["changes"] if self.proposal and self.proposal.changes else []
        if n := len(self.moved):
            changes.append(f"{n} value{'s' * (n > 1)} moved into the objective's space")
        changed = f" with {' and '.join(changes)}" if changes else ""
        return f"{self._basis_of(self.chosen)}{changed}"

    @property
    def chosen(self) -> Candidate:
        """The candidate that the configuration is made from."""
        return self.candidates[self.proposal.candidate - 1 if self.proposal else 0]

    @property
    def suggested(self) -> Config:
        """The configuration as suggested, whatever the objective made of it."""
        return self.proposal.params if self.proposal else self.chosen.params

    @property
    def cited_reason(self) -> str:
        """The cited evidence that supports the configuration, to end a sentence with."""
        cited = "; ".join(self.citations.values())
        author = " (written by code from the evidence that the model cited)" * self.is_short
        return f"; cited: {cited}{author}" if cited else ""

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
        """The sentences of the cited evidence by id, without evidence about moved values.

        Accepted citations support the choice.
        """
        return {
            item.id: item.sentence + ", avoided here" * (item.effect < 0)
            for item in self.cited
            if not self._was_changed(item)
        }

    def _was_changed(self, item: Evidence) -> bool:
        """Return whether the trial ran another value, or none, than the one cited for."""
        if item.parameter in self.moved:
            return evidence_sign(item, self.space, self.params) <= 0
        return item.parameter in self.suggested and item.parameter not in self.params

    def with_effects(self) -> Suggestion:
        """Add the expected score of the configuration and the SHAP effect of each value."""
        if self.learner is None or not self.params:
            return self
        rows, base = self.learner.shap_values(_explained_configs(self.learner, self.params))
        values = rows.mean(axis=0)
        predicted, trade = base + float(values.sum()), self.trade
        if self.costs is not None:
            trade = cost_tradeoff(self.costs, self.params, predicted, self.candidates)
        effects = dict(zip(self.learner.space, values.tolist(), strict=True))
        return replace(self, predicted=predicted, effects=effects, trade=trade)

    def as_run(self, trial: FrozenTrial, *, is_whole: bool) -> Suggestion:
        """Return the suggestion with the configuration that its trial ran.

        The objective may not allow a value, may not ask for a parameter, and may ask for others,
        which the base sampler samples. All that is expected of the configuration changes with it.

        Args:
            trial: The trial.
            is_whole: Whether the trial has asked for all of its parameters.
        """
        other_names = self.history.other_names(trial.params, self.space)
        ran = rename(trial.params, other_names)
        params = {**({} if is_whole else self.params), **ran}
        is_same = config_key(params) == config_key(self.params) and not other_names
        if not self.params or is_same:
            return self
        if self.explanation and not self._from_past(params):
            return self._unused()
        moved: dict[str, tuple[Any, Any]] = {}
        distributions = rename(trial.distributions, other_names)
        for name, distribution in distributions.items():
            found = self.value_for(name, distribution)
            if found and not contains(distribution, found[1]):
                moved[name] = found[1], ran[name]
        new = {name: d for name, d in distributions.items() if name not in self.space}
        choices = {n: distributions[n] for n in moved if choices_of(self.space[n])}
        choices = {name: d for name, d in choices.items() if choices_of(d)}
        space = {**merge_spaces([self.space, choices]), **new}
        ran_as = {**self.other_names, **other_names}
        suggestion = replace(self, params=params, space=space, moved=moved, other_names=ran_as)
        return suggestion.with_effects()

    def _unused(self) -> Suggestion:
        """Return the suggestion of a trial to which the past has contributed no value."""
        return replace(
            self,
            source=SOURCE_BASE_SAMPLER,
            params={},
            predicted=None,
            effects={},
            trade=None,
            reasons=(*self.reasons, self.fallback),
        )

    @property
    def fallback(self) -> str:
        """Why no value of a trial is from past studies, in a sentence."""
        names = join_names(self._from_past(self.suggested))
        return f"No value is from past studies: the objective did not ask for {names}."

    def value_for(self, name: str, distribution: BaseDistribution) -> tuple[Any, Any] | None:
        """Return a parameter's value within ``distribution``, and the value as suggested.

        A parameter that the configuration lacks, because a condition has changed, takes the value
        of the best candidate that has it. ``None`` if no candidate has it. A shipped past knows
        the parameters of its library by other names, too.
        """
        name = self.history.other_names([name], self.space).get(name, name)
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


def join_names(names: Sequence[str]) -> str:
    """Join names as in ``"a, b and c"``; of more than five, the others are counted."""
    more = len(names) - _MAX_NAMES
    return join_words([*names[:_MAX_NAMES], *([f"{more} more"] if more > 0 else [])])


def _explained_configs(learner: MetaLearner, params: Config) -> list[Config]:
    """Return the configuration, with past values of parameters that only the objective lacks.

    Trees would take their absence for that of another branch of a conditional space, or for an
    extreme value; so the effects are averaged over values in past trials.
    """
    lacking = _lacking(learner, params)
    if not lacking:
        return [params]
    is_lacking = np.array([name in lacking for name in learner.dataset.space])
    having = np.flatnonzero(learner.dataset.is_active[:, is_lacking].all(axis=1))
    if not len(having):
        return [params]
    kept = having[evenly_spaced(len(having), _N_BACKGROUND)]
    background = [learner.dataset.configs[i] for i in kept]
    return [{**params, **{name: config[name] for name in lacking}} for config in background]


def _lacking(learner: MetaLearner, params: Config) -> set[str]:
    """Return the absent parameters that all past trials have, or all with one of the choices."""
    dataset = learner.dataset
    absent = learner.space.keys() - params.keys()
    if not absent:
        return set()
    groups = [np.ones(len(dataset.configs), bool)]
    for name, value in params.items():
        if name in learner.space and not is_ordered(learner.space[name]):
            key = value_key(value)
            has_it = (name in c and value_key(c[name]) == key for c in dataset.configs)
            groups.append(np.fromiter(has_it, bool))
    always = np.any([dataset.is_active[rows].all(axis=0) for rows in groups if rows.any()], axis=0)
    return absent.intersection(np.array([*dataset.space], object)[always])

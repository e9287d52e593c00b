"""Define the question to a language model, and select the part that fits into its prompt.

The variants ``plain`` and ``cot`` omit the SHAP evidence; they are the controls that measure the
value of the evidence.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from math import ceil

from optuna_metallmix.candidates import Candidate
from optuna_metallmix.explain import Explanation
from optuna_metallmix.history import MetaFeatures
from optuna_metallmix.llm import LLM
from optuna_metallmix.llm import is_small
from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import json_schema
from optuna_metallmix.space import label_of
from optuna_metallmix.text import MAX_TEXT
from optuna_metallmix.text import is_verbatim


PROMPT_VERSION = "5"
"""Increases with every change to the prompts, so that recorded answers stay comparable."""


@dataclass(frozen=True)
class Variant:
    """A prompt style.

    Attributes:
        name: Its name in the public interface.
        with_reasoning: Whether the answer includes reasoning before its choice (chain of thought).
        evidence: Whether SHAP evidence is shown and has to be cited.
        is_short: Whether it is the short question, whose answer is only citations and a choice.
    """

    name: str
    with_reasoning: bool
    evidence: bool
    is_short: bool = False

    @property
    def version(self) -> str:
        """Prompt version and variant, as recorded on the trial."""
        return f"{PROMPT_VERSION} {self.name}"


DEFAULT_VARIANT = Variant("cot+shap", with_reasoning=True, evidence=True)
VARIANTS = (Variant("plain", False, False), Variant("cot", True, False), DEFAULT_VARIANT)
SHORT = Variant("short", with_reasoning=False, evidence=True, is_short=True)
"""The question for models that are too small to read the others; it needs evidence."""


def variant_named(name: str) -> Variant:
    """Return the variant with a name.

    Raises:
        ValueError: The name is unknown; the message lists the known names.
    """
    for variant in VARIANTS:
        if variant.name == name:
            return variant
    known = ", ".join(repr(variant.name) for variant in VARIANTS)
    raise ValueError(f"prompt={name!r} must be one of {known}.")


MAX_TOKENS = 3_000
"""Maximum of a conversation: the question and, after a rejection, the answer and the reasons."""
ANSWER_TOKENS = 250
REJECTION_TOKENS = 200
WORDING_TOKENS = 250
"""Reserved for the fixed wording around the sections and of a rejection (at most 195 measured)."""
SECTION_TOKENS = MAX_TOKENS - ANSWER_TOKENS - REJECTION_TOKENS - WORDING_TOKENS

_PIECES = re.compile(r"([A-Za-z]+)|\s(?=[A-Za-z])|(.)", re.DOTALL)
_UNLIKE_WORDS = re.compile(r"[^aeiouy]{4}|[aeiouy]{4}|.{15}", re.IGNORECASE)
_COMMON_WORDS = frozenset(
    re.findall(
        "[a-z]+",
        "activation adam adamw alpha and augmentation batch beta best bs choice class classes "
        "configuration cosine data decay depth dim distance dropout each effect effects embed "
        "epoch epochs evidence expected false features from gamma had height helped hidden hurt "
        "image in instances is kernel lambda layer layers learning less linear little log lr max "
        "mean min model momentum more name network none norm null num number of on one optimizer "
        "parameter parameters past rate ratio relu scale schedule scheduler score seed sets sgd "
        "size smoothing step steps studies study task that the time to training trials true type "
        "units up usual value warmup wd weight whole width",
    )
)
"""Words for which, or for whose halves, every tokenizer has tokens."""


def estimate_tokens(text: str) -> int:
    """Return an upper bound on the number of tokens that holds for common tokenizers."""
    return sum(_cost(piece.group(1), piece.group(2)) for piece in _PIECES.finditer(text))


def _cost(word: str | None, other: str | None) -> int:
    if other:
        return len(other.encode("utf-8", "replace"))
    if not word:
        return 0
    if word in _COMMON_WORDS:
        return ceil(len(word) / 5)
    if not (word.islower() or word.istitle()):
        return ceil(len(word) / 1.25)
    return ceil(len(word) / (1.5 if _UNLIKE_WORDS.search(word) else 2))


@dataclass(frozen=True)
class Question:
    """Everything that a language model could be asked about.

    Attributes:
        space: The search space by parameter name.
        meta_features: Known properties of the target task.
        candidates: Configurations to choose from, the one that is expected to do best first.
        explanation: Why past studies favor them; ``None`` without past studies.
        learner: The fitted meta-learner; ``None`` without past studies.
        tried: Configurations and objective values of the study's own trials, oldest first; the
            value of an infeasible trial is ``None``.
        variant: The prompt style.
        ranked: Whether the first candidate is the best and the prompt states that.
    """

    space: SearchSpace
    meta_features: MetaFeatures
    candidates: Sequence[Candidate]
    explanation: Explanation | None = None
    learner: MetaLearner | None = None
    tried: Sequence[tuple[Config, float | None]] = ()
    variant: Variant = DEFAULT_VARIANT
    ranked: bool = True


@dataclass(frozen=True)
class Caps:
    """Maximum number of items that a prompt shows of each kind.

    Attributes:
        parameters: Parameters, the most important first. All 32 of Quick-Tune cost 3,900 tokens
            (SmolLM2-135M: 95 CPU seconds and degenerate text, measured 2026-11).
        parameters_without_past: The same without past studies, when their order is arbitrary.
        features: Meta-features.
        nearest: Nearest past studies.
        tried: Latest trials of the study itself.
        evidence: Lines of evidence.
        candidates: Candidates.
        choices: Choices of each categorical parameter.
        text: Characters of each name, label or other text that users wrote.
    """

    parameters: int = 12
    parameters_without_past: int = 40
    features: int = 20
    nearest: int = 5
    tried: int = 5
    evidence: int = 12
    candidates: int = 10
    choices: int = 12
    text: int = MAX_TEXT


REDUCED_CAPS = Caps(8, 14, 8, nearest=2, tried=1, evidence=6, candidates=6, choices=5, text=40)
"""Fits ``SECTION_TOKENS`` for any number of items with names of ordinary length."""
MINIMAL_CAPS = Caps(4, 4, 2, nearest=0, tried=0, evidence=3, candidates=3, choices=3, text=12)
"""Fits even if every text is long and each of its characters costs four tokens."""


@dataclass(frozen=True)
class PromptView:
    """The part of a question that a model is shown.

    Attributes:
        question: The whole question.
        caps: The limits that were applied.
        space: The shown parameters, in the order of the search space.
        explanation: The explanation, reduced to the shown evidence and past studies; ``None``
            without past studies.
        candidates: The shown candidates.
        left_out: Number of parameters that are not shown.
    """

    question: Question
    caps: Caps
    space: SearchSpace
    explanation: Explanation | None
    candidates: tuple[Candidate, ...]
    left_out: int

    @property
    def writable(self) -> Mapping[str, list[str] | None]:
        """Parameters that the model may change, with the labels it may choose from.

        The labels of numerical parameters are ``None``. Names and labels that were shortened
        cannot be written by the model. With past studies, changes need evidence that the model can
        cite, so only parameters with evidence are writable.
        """
        evident = self.space if self.explanation is None else _parameters(self.explanation)
        writable: dict[str, list[str] | None] = {}
        for name in (name for name in self.space if name in evident):
            labels = [label for label in self.labels(name) if is_verbatim(label, self.caps.text)]
            is_number = not choices_of(self.space[name])
            if is_verbatim(name, self.caps.text) and (labels or is_number):
                writable[name] = labels or None
        return writable

    def labels(self, name: str) -> list[str]:
        """Return the shown choice labels of a parameter; empty for a numerical parameter.

        Choices that candidates or evidence mention take precedence.
        """
        distribution = self.space[name]
        labels: list[str] = json_schema(distribution).get("enum", [])
        mentioned: set[str | None] = {
            label_of(distribution, candidate.params[name])
            for candidate in self.candidates
            if name in candidate.params
        }
        if self.explanation is not None:
            evidence = self.explanation.evidence
            mentioned |= {item.choice for item in evidence if item.parameter == name}
        ranked = sorted(labels, key=lambda label: label not in mentioned)
        kept = set(ranked[: self.caps.choices])
        return [label for label in labels if label in kept]


def question_for(llm: LLM, question: Question) -> Question:
    """Return the question in a form that the model can read: small ones are asked ``SHORT``.

    The other variants are controls, which are asked as they are.
    """
    if question.variant == DEFAULT_VARIANT and is_small(llm):
        return replace(question, variant=SHORT)
    return question


def fit_view(question: Question, write: Callable[[PromptView], str]) -> PromptView:
    """Return the most complete view whose text stays within ``SECTION_TOKENS``.

    Args:
        question: The question.
        write: Writes the text of a view.
    """
    for caps in (Caps(), REDUCED_CAPS, MINIMAL_CAPS):
        view = apply_caps(question, caps)
        if estimate_tokens(write(view)) <= SECTION_TOKENS:
            break
    return view


def apply_caps(question: Question, caps: Caps) -> PromptView:
    """Select the part of a question that is shown under given limits."""
    explanation = question.explanation
    candidates = tuple(question.candidates[: caps.candidates])
    offered = [name for name in question.space if any(name in c.params for c in candidates)]
    if explanation is None:
        shown = offered[: caps.parameters_without_past]
    else:
        shown = _by_importance(offered, explanation)[: caps.parameters]
        evidence = explanation.evidence if question.variant.evidence else ()
        relevant = [item for item in evidence if item.parameter in shown]
        explanation = replace(
            explanation,
            evidence=tuple(relevant[: caps.evidence]),
            nearest=explanation.nearest[: caps.nearest],
        )
    space = {name: question.space[name] for name in offered if name in shown}
    return PromptView(question, caps, space, explanation, candidates, len(offered) - len(shown))


def _by_importance(names: Sequence[str], explanation: Explanation) -> list[str]:
    """Sort parameters: those with evidence in its order, then the others by importance."""
    places = {name: place for place, name in enumerate(_parameters(explanation))}
    effects = explanation.importance
    return sorted(names, key=lambda name: (places.get(name, len(places)), -effects.get(name, 0.0)))


def _parameters(explanation: Explanation) -> dict[str, None]:
    return dict.fromkeys(item.parameter for item in explanation.evidence)

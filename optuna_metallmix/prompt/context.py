"""a name -> the variant of the prompt: whether a model reasons first, and on what.

The two controls tell what each part is worth: `plain` and `cot` see all but the SHAP evidence.
Without evidence no change can be given a reason that code could check, so none is offered.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from math import ceil
from typing import TypeVar

from optuna_metallmix.candidates import Candidate
from optuna_metallmix.explain import Evidence
from optuna_metallmix.explain import Explanation
from optuna_metallmix.history import MetaFeatures
from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import json_schema
from optuna_metallmix.space import label_of
from optuna_metallmix.text import MAX_TEXT
from optuna_metallmix.text import is_verbatim


PROMPT_VERSION = "2"
"""Counts up with every change of the wording, so that recorded answers can be told apart."""


@dataclass(frozen=True)
class Variant:
    """One way of asking.

    Attributes:
        name: What a person calls it.
        reasons: Whether the answer has a reasoning before its choice (chain of thought).
        evidence: Whether SHAP evidence is shown, to be cited.
    """

    name: str
    reasons: bool
    evidence: bool

    @property
    def version(self) -> str:
        """What is recorded of a prompt: version and variant."""
        return f"{PROMPT_VERSION} {self.name}"


DEFAULT_VARIANT = Variant("cot+shap", reasons=True, evidence=True)
VARIANTS = (Variant("plain", False, False), Variant("cot", True, False), DEFAULT_VARIANT)


def variant_named(name: str) -> Variant:
    """Return the variant with a name.

    Raises:
        ValueError: There is none; the message says which there are.
    """
    for variant in VARIANTS:
        if variant.name == name:
            return variant
    known = ", ".join(repr(one.name) for one in VARIANTS)
    raise ValueError(f"prompt={name!r} must be one of {known}.")


MAX_TOKENS = 3_000
"""Most tokens of a conversation: a question, its answer where it was refused, and why."""
ANSWER_TOKENS = 250
REFUSAL_TOKENS = 200
WORDING_TOKENS = 250
"""Of what frames the sections and a refusal: our own words, so measured, 195 at most."""
SECTION_TOKENS = MAX_TOKENS - ANSWER_TOKENS - REFUSAL_TOKENS - WORDING_TOKENS

_PIECES = re.compile(r"([A-Za-z]+)|\s(?=[A-Za-z])|(.)", re.DOTALL)
_UNLIKE_WORDS = re.compile(r"[^aeiouy]{4}|[aeiouy]{4}|.{15}", re.IGNORECASE)
_ORDINARY = frozenset(
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
"""Words so common that every model has tokens for them, or for their halves."""

T = TypeVar("T")


def estimate_tokens(text: str) -> int:
    """Return how many tokens a text costs at most, as far as can be told without a tokenizer."""
    return sum(_cost(found.group(1), found.group(2)) for found in _PIECES.finditer(text))


def first_fitting(drafts: Iterable[T], cost: Callable[[T], int], most: int) -> T:
    """Return the first draft that costs no more than ``most``, else the last; there is one."""
    for draft in drafts:
        if cost(draft) <= most:
            break
    return draft


def whole_lines(lines: Sequence[str], most: int) -> list[str]:
    """Return the first lines that fit, at least one of any, and how many were left out."""
    counts = range(len(lines), 0, -1) if lines else (0,)
    drafts = ([*lines[:n], *([f"- and {len(lines) - n} more"] * (n < len(lines)))] for n in counts)
    return first_fitting(drafts, lambda draft: estimate_tokens("\n".join(draft)), most)


def _cost(word: str | None, other: str | None) -> int:
    if other:
        return len(other.encode("utf-8", "replace"))
    if not word:
        return 0
    if word in _ORDINARY:
        return ceil(len(word) / 5)
    if not (word.islower() or word.istitle()):
        return ceil(len(word) / 1.25)
    return ceil(len(word) / (1.5 if _UNLIKE_WORDS.search(word) else 2))


@dataclass(frozen=True)
class Question:
    """What a language model is asked about.

    Attributes:
        space: What may be suggested, by name.
        meta_features: What is known of the target task.
        candidates: What it chooses from, best first.
        explanation: Why the past favours them; ``None`` without a past.
        learner: The fitted meta-learner; ``None`` without a past.
        tried: What the asking study has tried, with its values.
        variant: How it is asked.
        ranked: Whether the candidates stand best first, and the model is told so.
    """

    space: SearchSpace
    meta_features: MetaFeatures
    candidates: Sequence[Candidate]
    explanation: Explanation | None = None
    learner: MetaLearner | None = None
    tried: Sequence[tuple[Config, float]] = ()
    variant: Variant = DEFAULT_VARIANT
    ranked: bool = True


@dataclass(frozen=True)
class Caps:
    """How much of each part is shown at most.

    Attributes:
        parameters: Parameters, where a past tells which matter. With all 32 of Quick-Tune a
            question took 3,900 tokens (SmolLM2-135M: 95 CPU seconds, and nothing but "1.1.1." for
            reasons, 2026-11).
        past_parameters: Those of them told of past studies and of what was tried.
        features: Meta-features.
        nearest: Past studies.
        tried: What was tried on this task, the latest.
        evidence: Lines of evidence.
        candidates: Candidates.
        choices: Choices of one parameter.
        text: Characters of other people's texts.
    """

    parameters: int = 12
    past_parameters: int = 12
    features: int = 20
    nearest: int = 5
    tried: int = 5
    evidence: int = 12
    candidates: int = 10
    choices: int = 12
    text: int = MAX_TEXT


_GIVEN_UP: tuple[tuple[str, int], ...] = (
    *(("parameters", 24), ("past_parameters", 8), ("nearest", 3), ("features", 12)),
    *(("choices", 8), ("tried", 3), ("parameters", 16), ("past_parameters", 5), ("evidence", 8)),
    *(("features", 8), ("choices", 5), ("nearest", 2), ("parameters", 12), ("text", 40)),
    *(("parameters", 10), ("evidence", 6), ("candidates", 5), ("nearest", 1), ("parameters", 8)),
    *(("past_parameters", 3), ("candidates", 4), ("text", 28), ("tried", 1), ("parameters", 6)),
    *(("features", 4), ("evidence", 4), ("candidates", 3), ("choices", 3), ("nearest", 0)),
    *(("parameters", 4), ("text", 20), ("candidates", 2), ("evidence", 2), ("parameters", 3)),
    *(("features", 2), ("tried", 0), ("choices", 2), ("candidates", 1), ("parameters", 2)),
    *(("text", 12), ("evidence", 1)),
)
"""What is cut where there is no room, and to what, least relevant first."""
_WITHOUT_PAST = 40
"""Parameters shown where no past tells which matter: the model may know."""


@dataclass(frozen=True)
class PromptView:
    """What a model is shown of a question.

    Attributes:
        question: All that is known.
        extent: How much there is room for.
        space: The parameters shown, in the order of the space.
        past_space: Those of them told of past studies and of what was tried.
        explanation: The explanation with only the evidence and past studies that are shown;
            ``None`` without a past.
        candidates: The candidates shown.
        left_out: How many parameters are not shown.
    """

    question: Question
    extent: Caps
    space: SearchSpace = field(default_factory=dict)
    past_space: SearchSpace = field(default_factory=dict)
    explanation: Explanation | None = None
    candidates: tuple[Candidate, ...] = ()
    left_out: int = 0

    @property
    def writable(self) -> Mapping[str, list[str] | None]:
        """What a model may change, by name: the labels of the choices shown, ``None`` for numbers.

        A name or choice that is not shown as it stands cannot be written. And only parameters
        with evidence can be changed where there is a past, since a change without is refused.
        """
        names = None if self.explanation is None else _evident(self.explanation.evidence)
        found: dict[str, list[str] | None] = {}
        for name in [one for one in self.space if names is None or one in names]:
            labels = [one for one in self.labels(name) if is_verbatim(one, self.extent.text)]
            if is_verbatim(name, self.extent.text) and (labels or self._is_number(name)):
                found[name] = labels or None
        return found

    def labels(self, name: str) -> list[str]:
        """Return the labels of a parameter's choices that are shown, none for a number.

        What candidates and evidence speak of comes before the rest.
        """
        distribution = self.space[name]
        labels: list[str] = json_schema(distribution).get("enum", [])
        spoken = [
            label_of(distribution, one.params[name])
            for one in self.candidates
            if name in one.params
        ]
        if self.explanation is not None:
            about = [one for one in self.explanation.evidence if one.parameter == name]
            spoken += [one.choice for one in about if one.choice is not None]
        ranked = sorted(labels, key=lambda label: label not in spoken)
        kept = set(ranked[: self.extent.choices])
        return [label for label in labels if label in kept]

    def _is_number(self, name: str) -> bool:
        return not choices_of(self.space[name])


def extents(question: Question) -> Iterator[Caps]:
    """Yield ever smaller extents, from all that is worth telling to the least."""
    extent = Caps() if question.explanation else Caps(parameters=_WITHOUT_PAST)
    yield extent
    for part, most in _GIVEN_UP:
        if most < getattr(extent, part):
            extent = replace(extent, **{part: most})
            yield extent


def narrow(question: Question, extent: Caps) -> PromptView:
    """Return what of a question there is room for."""
    candidates = tuple(question.candidates[: extent.candidates])
    offered = [name for name in question.space if any(name in one.params for one in candidates)]
    ranked = _ranked(offered, question.explanation)
    shown = ranked[: extent.parameters]
    return PromptView(
        question,
        extent,
        space=_only(question.space, shown),
        past_space=_only(question.space, shown[: extent.past_parameters]),
        explanation=_cut(question, set(shown), extent),
        candidates=candidates,
        left_out=len(offered) - len(shown),
    )


def _ranked(offered: Sequence[str], explanation: Explanation | None) -> list[str]:
    """Put the parameters with evidence first, as it ranks them, then those of most effect."""
    if explanation is None:
        return list(offered)
    evident = list(_evident(explanation.evidence))
    places = {name: place for place, name in enumerate(evident)}
    return sorted(
        offered,
        key=lambda name: (places.get(name, len(places)), -explanation.importance.get(name, 0.0)),
    )


def _cut(question: Question, names: Collection[str], extent: Caps) -> Explanation | None:
    if question.explanation is None:
        return None
    evidence = question.explanation.evidence if question.variant.evidence else ()
    about = [one for one in evidence if one.parameter in names]
    return replace(
        question.explanation,
        evidence=tuple(about[: extent.evidence]),
        nearest=question.explanation.nearest[: extent.nearest],
    )


def _evident(evidence: Sequence[Evidence]) -> dict[str, None]:
    return dict.fromkeys(one.parameter for one in evidence)


def _only(space: SearchSpace, names: Collection[str]) -> SearchSpace:
    return {name: one for name, one in space.items() if name in names}

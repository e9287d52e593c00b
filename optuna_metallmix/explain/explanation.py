"""Explain the meta-learner's predictions by evidence, parameter importance and nearest studies.

Evidence is the mean SHAP value of past trials that share a range or choice of a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from optuna_metallmix.candidates import Candidate
from optuna_metallmix.explain.shap_adapter import shap_view
from optuna_metallmix.history import BY_FEATURES
from optuna_metallmix.history import History
from optuna_metallmix.history import MetaFeatures
from optuna_metallmix.history import study_distances
from optuna_metallmix.metalearner import MIN_TRUST
from optuna_metallmix.metalearner import Floats
from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import is_number
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import label_of
from optuna_metallmix.space import labels_of
from optuna_metallmix.text import escape_markdown
from optuna_metallmix.text import format_number
from optuna_metallmix.text import markdown_table
from optuna_metallmix.text import markdown_to_html


if TYPE_CHECKING:
    import shap

N_BINS = 5
"""Number of quantile bins of a number's past values."""
MIN_EFFECT = 0.01
"""Minimum absolute effect of evidence, in score units."""
N_EVIDENCE = 10
N_NEAREST = 3
_MAX_ROWS = 20
"""Maximum number of parameters shown in notebooks."""


@dataclass(frozen=True)
class Evidence:
    """Effect of a range or choice of a parameter in past trials.

    Attributes:
        id: ``"E1"``, ``"E2"``, ...: the id to cite.
        parameter: Name of the parameter.
        values: Description of the range or choice.
        low, high: Inclusive bounds of the range; ``None`` for a choice.
        choice: Label of the choice; ``None`` for a range.
        effect: Mean SHAP value of the past trials with such a value, in score units.
        n_trials: Number of these trials.
        n_studies: Number of their studies.
    """

    id: str
    parameter: str
    values: str
    low: float | None
    high: float | None
    choice: str | None
    effect: float
    n_trials: int
    n_studies: int

    def covers(self, label: str, value: Any) -> bool:
        """Return whether the evidence is about a value with this label."""
        if self.low is None or self.high is None:
            return label == self.choice
        return is_number(value) and self.low <= value <= self.high

    @property
    def sentence(self) -> str:
        """The evidence as a sentence."""
        return f"{self.parameter} {self.values} {self.outcome}"

    @property
    def outcome(self) -> str:
        """The effect in words, without the parameter and its values."""
        verb = "helped" if self.effect > 0 else "hurt"
        return f"{verb}: {self.effect:+.2f} ({self.n_trials} trials, {self.n_studies} studies)"


@dataclass(frozen=True)
class NearestStudy:
    """A past study, if possible similar to the current one, with its best configuration.

    Attributes:
        name: Name of the study.
        distance: Its distance, see :class:`StudyDistances`; ``None`` if unknown.
        best: Best configuration of the study.
        n_trials: Number of its trials that the meta-learner was given.
        study_id: Its id if it is in the current study's storage, else ``None``.
    """

    name: str
    distance: float | None
    best: Config
    n_trials: int
    study_id: int | None = None


@dataclass(frozen=True)
class Explanation:
    """Explanation of the meta-learner's predictions.

    Attributes:
        base: Base value of the SHAP values, in score units.
        values: SHAP values of past trials, shape (n_rows, n_parameters), in score units.
        configs: Configurations of these trials, shape (n_rows,).
        space: Search space, in the order of the columns of ``values``.
        importance: Mean absolute SHAP value by parameter, in descending order.
        evidence: Evidence in the prompt, most relevant first.
        nearest: Most similar past studies, nearest first, then those with the most trials.
        quality: See :attr:`MetaLearner.quality`.
        parts: All evidence, without ids, including what is not in the prompt.
        distance_basis: What the distances of ``nearest`` compare, see :class:`StudyDistances`.
    """

    base: float
    values: Floats
    configs: tuple[Config, ...]
    space: Mapping[str, Any]
    importance: Mapping[str, float]
    evidence: tuple[Evidence, ...]
    nearest: tuple[NearestStudy, ...]
    quality: float | None
    parts: tuple[Evidence, ...] = ()
    distance_basis: str = BY_FEATURES

    @property
    def ranked_by(self) -> str:
        """What the order of ``nearest`` is, as the head of a list without a colon."""
        if all(study.distance is None for study in self.nearest[:1]):
            return "Past studies with the most trials"
        if self.distance_basis == BY_FEATURES:
            return "Nearest past studies"
        return "Past studies whose results are most like this study's own trials"

    @property
    def shap_values(self) -> shap.Explanation:
        """The SHAP values as a :class:`shap.Explanation`, for the plots of ``shap``.

        See :func:`shap_view`. Raises ImportError if shap is not installed.
        """
        return shap_view(self.space, self.configs, self.values, self.base)

    @property
    def trust(self) -> str:
        """How far to trust the explanation, in a sentence of Markdown."""
        if self.quality is None:
            return "Reliability: unknown, since no other past study is large enough to check it."
        only = " Therefore only the best configurations of past studies were offered."
        return (
            "Reliability: on held-out past studies, predicted and true scores have a rank "
            f"correlation of **{self.quality:.2f}** (1 is perfect, 0 is useless)."
            f"{only * (self.quality <= MIN_TRUST)}"
        )

    def _repr_html_(self) -> str:
        """Render the explanation in notebooks."""
        rows = [(name, f"{mean:.3f}") for name, mean in self.importance.items()][:_MAX_ROWS]
        names = [escape_markdown(study.name) for study in self.nearest]
        shown = [
            "**What mattered in the past**",
            markdown_table(("parameter", "mean absolute SHAP effect (score units)"), rows),
            "\n".join(f"- {item.id}: {escape_markdown(item.sentence)}" for item in self.evidence),
            f"{self.ranked_by}: {', '.join(names)}",
            self.trust,
        ]
        return markdown_to_html("\n\n".join(shown))


def explain(
    learner: MetaLearner,
    candidates: Sequence[Candidate],
    history: History,
    meta_features: MetaFeatures,
) -> Explanation:
    """Explain the meta-learner, with the evidence for ``candidates[0]`` first."""
    configs = tuple(learner.dataset.configs[i] for i in learner.explained_rows)
    values, base = learner.past_shap_values
    means = dict(zip(learner.space, np.abs(values).mean(axis=0).tolist(), strict=True))
    parts = _find_evidence(learner, configs)
    nearest, basis = _nearest(history, meta_features)
    return Explanation(
        base=base,
        values=values,
        configs=configs,
        space=learner.space,
        importance=dict(sorted(means.items(), key=lambda item: -item[1])),
        evidence=_rank(parts, learner.space, candidates[0].params),
        nearest=nearest,
        quality=learner.quality,
        parts=parts,
        distance_basis=basis,
    )


def evidence_sign(evidence: Evidence, space: Mapping[str, Any], params: Config) -> int:
    """Return 1 if evidence supports a configuration, -1 if it contradicts it, else 0.

    Evidence of a positive effect supports configurations with such a value and contradicts
    those without; evidence of a negative effect does the opposite.
    """
    if evidence.parameter not in params or evidence.parameter not in space:
        return 0
    value = params[evidence.parameter]
    is_covered = evidence.covers(label_of(space[evidence.parameter], value), value)
    return 1 if is_covered == (evidence.effect > 0) else -1


def _find_evidence(learner: MetaLearner, configs: Sequence[Config]) -> tuple[Evidence, ...]:
    """Return all evidence of at least :data:`MIN_EFFECT`, by parameter, without ids."""
    values, groups = learner.past_shap_values[0], learner.dataset.groups[learner.explained_rows]
    evidence: list[Evidence] = []
    for column, (name, distribution) in enumerate(learner.space.items()):
        if name not in learner.columns:  # no effect
            continue
        active = np.array([name in config for config in configs])
        raw = [config[name] for config in configs if name in config]
        for part, mask in _split(distribution, raw):
            effect = float(values[active, column][mask].mean())
            n_studies = len(np.unique(groups[active][mask]))
            if abs(effect) >= MIN_EFFECT:
                evidence.append(Evidence("", name, *part, effect, int(mask.sum()), n_studies))
    return tuple(evidence)


_Part: TypeAlias = tuple[str, float | None, float | None, str | None]
"""The fields ``values``, ``low``, ``high`` and ``choice`` of an :class:`Evidence`."""


def _split(distribution: Any, raw: Sequence[Any]) -> list[tuple[_Part, NDArray[np.bool_]]]:
    """Split past values into ranges or choices, each with the mask of its values."""
    labels = np.array(labels_of(distribution, raw), object)
    ordered = is_ordered(distribution)
    numbers = np.array(raw if ordered else [], float)
    if not ordered or len(set(labels)) <= N_BINS:
        masks = {label: labels == label for label in dict.fromkeys(labels)}
        return [
            (_range(numbers[mask]) if ordered else (f"= {label}", None, None, label), mask)
            for label, mask in masks.items()
        ]
    cuts = np.unique(np.quantile(numbers, np.linspace(0, 1, N_BINS + 1)))
    bins = np.digitize(numbers, cuts[1:-1], right=True)
    return [(_range(numbers[bins == i]), bins == i) for i in np.unique(bins)]


def _range(numbers: Floats) -> _Part:
    low, high = float(numbers.min()), float(numbers.max())
    first, last = format_number(low), format_number(high)
    return f"= {first}" if first == last else f"from {first} to {last}", low, high, None


def _rank(evidence: Sequence[Evidence], space: SearchSpace, best: Config) -> tuple[Evidence, ...]:
    """Return the top evidence with ids: what supports ``best`` first, then by absolute effect."""

    def key(item: Evidence) -> tuple[int, float]:
        return -evidence_sign(item, space, best), -abs(item.effect)

    top = sorted(evidence, key=key)[:N_EVIDENCE]
    return tuple(replace(item, id=f"E{i}") for i, item in enumerate(top, start=1))


def _nearest(
    history: History, meta_features: MetaFeatures
) -> tuple[tuple[NearestStudy, ...], str]:
    """Return the nearest past studies and what their distances compare."""
    distances = study_distances(history, meta_features)
    nearest = []
    for i in distances.order[:N_NEAREST]:
        study, distance = distances.studies[i], distances.to_target[i]
        study_id = study.study_id if history.is_own_storage else None
        best, n_trials = study.trials[0].params, len(study.trials)
        nearest.append(NearestStudy(study.name, distance, best, n_trials, study_id))
    return tuple(nearest), distances.basis

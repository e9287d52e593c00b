"""SHAP values of past trials -> what some values of one parameter did to the score."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optuna_metallmix.candidates import Candidate
from optuna_metallmix.explain.shap_adapter import shap_view
from optuna_metallmix.history import History
from optuna_metallmix.history import MetaFeatures
from optuna_metallmix.history import distances
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
"""Parts of equal weight that the past values of a number are cut into."""
MIN_EFFECT = 0.01
"""Smallest effect worth a line, in score units."""


@dataclass(frozen=True)
class Evidence:
    """What some values of one parameter did to the score in the past.

    Attributes:
        id: ``"E1"``, ``"E2"``, ...: how it is cited.
        parameter: The parameter's name.
        values: The values in words.
        low, high: The range for a number, bounds included; ``None`` for a choice.
        choice: The label of the choice; ``None`` for a number.
        effect: Mean SHAP value over the past trials with such a value, in score units.
        n_trials: How many past trials had such a value.
        n_studies: In how many past studies.
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
        """Tell whether a value (and how it is written) is one this evidence is about."""
        if self.low is None or self.high is None:
            return label == self.choice
        return is_number(value) and self.low <= value <= self.high

    @property
    def sentence(self) -> str:
        """The evidence in words."""
        return f"{self.parameter} {self.values} {self.outcome}"

    @property
    def outcome(self) -> str:
        """What such values did, in words."""
        verb = "helped" if self.effect > 0 else "hurt"
        return f"{verb}: {self.effect:+.2f} ({self.n_trials} trials, {self.n_studies} studies)"


def bearing(evidence: Evidence, space: Mapping[str, Any], params: Config) -> int:
    """Return 1 where evidence speaks for a configuration, -1 where against, 0 where not at all.

    Evidence of what helped speaks for a configuration with such a value and against one without;
    evidence of what hurt the other way round.
    """
    if evidence.parameter not in params or evidence.parameter not in space:
        return 0
    value = params[evidence.parameter]
    inside = evidence.covers(label_of(space[evidence.parameter], value), value)
    return 1 if inside == (evidence.effect > 0) else -1


def find_evidence(
    space: SearchSpace, configs: Sequence[Config], values: Floats, groups: NDArray[np.int64]
) -> tuple[Evidence, ...]:
    """Return all evidence of at least :data:`MIN_EFFECT`, by parameter, without ids.

    Args:
        space: The parameters, in the order of the columns of ``values``.
        configs: Past trials' configurations, shape (n_rows,).
        values: Their SHAP values, shape (n_rows, n_parameters), in score units.
        groups: The number of each one's study, shape (n_rows,).
    """
    found: list[Evidence] = []
    for column, name in enumerate(space):
        active = np.array([name in config for config in configs])
        raw = [config[name] for config in configs if name in config]
        for part, where in _parts(space[name], raw):
            effect = float(values[active, column][where].mean())
            n_studies = len(np.unique(groups[active][where]))
            found.append(Evidence("", name, *part, effect, int(where.sum()), n_studies))
    return tuple(one for one in found if abs(one.effect) >= MIN_EFFECT)


_Part = tuple[str, float | None, float | None, str | None]


def _parts(distribution: Any, raw: Sequence[Any]) -> list[tuple[_Part, NDArray[np.bool_]]]:
    """Cut past values into parts, each with the mask of the trials in it."""
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
    places = np.digitize(numbers, cuts[1:-1], right=True)
    return [(_range(numbers[places == i]), places == i) for i in np.unique(places)]


def _range(numbers: Floats) -> _Part:
    low, high = float(numbers.min()), float(numbers.max())
    first, last = format_number(low), format_number(high)
    return f"= {first}" if first == last else f"from {first} to {last}", low, high, None


N_EVIDENCE = 10
N_NEAREST = 3
_MAX_ROWS = 20


@dataclass(frozen=True)
class NearestStudy:
    """A past study and what worked there.

    Attributes:
        name: The study's name.
        distance: From the target by meta-features, 0 is alike; ``None`` where unknown.
        best: Its best configuration.
        n_trials: How many of its trials were learned from.
        study_id: Its id in the asking study's own storage; ``None`` where it is elsewhere.
    """

    name: str
    distance: float | None
    best: Config
    n_trials: int
    study_id: int | None = None


@dataclass(frozen=True)
class Explanation:
    """Why the meta-learner expects what it expects.

    Attributes:
        base: What it expects of the average past trial, in score units.
        values: SHAP values of past trials, shape (n_rows, n_parameters), in score units.
        configs: Those trials' configurations, shape (n_rows,).
        space: The search space, in the order of the columns of ``values``.
        importance: Mean absolute SHAP value by parameter, falling.
        evidence: What is told to the language model, most relevant first.
        nearest: The past studies most like the target, nearest first.
        quality: How far to trust this, see :attr:`MetaLearner.quality`.
        parts: All evidence, without ids, also what the language model was not told.
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

    @property
    def shap_values(self) -> shap.Explanation:
        """The same as a :class:`shap.Explanation`, for every plot of ``shap``.

        Shape (n_rows, n_parameters), in score units; each row's values and its base value add up
        to what the meta-learner predicts. A choice is its place in the list of choices in
        ``data``, its text in ``display_data``; raises ImportError where shap is not installed.
        """
        return shap_view(self.space, self.configs, self.values, self.base)

    @property
    def trust(self) -> str:
        """How far to trust this, in a sentence of Markdown."""
        if self.quality is None:
            return "How far to trust it: unknown, since there is only one past study."
        kept = " So only what was best in a past study was offered."
        return (
            "How far to trust it: on past studies held out, predicted and true order of the "
            f"trials agree with a rank correlation of **{self.quality:.2f}** (1 perfect, 0 "
            f"useless).{kept * (self.quality <= MIN_TRUST)}"
        )

    def _repr_html_(self) -> str:
        """Show what mattered in the past, as notebooks do."""
        rows = [(name, f"{mean:.3f}") for name, mean in self.importance.items()][:_MAX_ROWS]
        shown = [
            "**What mattered in the past**",
            markdown_table(("parameter", "mean absolute SHAP effect (score units)"), rows),
            "\n".join(f"- {one.id}: {escape_markdown(one.sentence)}" for one in self.evidence),
            "Nearest past studies: "
            + ", ".join(escape_markdown(one.name) for one in self.nearest),
            self.trust,
        ]
        return markdown_to_html("\n\n".join(shown))


def explain(
    learner: MetaLearner,
    candidates: Sequence[Candidate],
    history: History,
    meta_features: MetaFeatures,
) -> Explanation:
    """Explain the past and the candidates by the meta-learner's SHAP values."""
    rows = learner.explained_rows
    configs = tuple(learner.dataset.configs[i] for i in rows)
    values, base = learner.past_shap_values
    names = list(learner.space)
    importance = dict(zip(names, np.abs(values).mean(axis=0).tolist(), strict=True))
    parts = find_evidence(learner.space, configs, values, learner.dataset.groups[rows])
    return Explanation(
        base=base,
        values=values,
        configs=configs,
        space=learner.space,
        importance=dict(sorted(importance.items(), key=lambda item: -item[1])),
        evidence=_rank(parts, learner, candidates),
        nearest=_nearest(history, meta_features),
        quality=learner.quality,
        parts=parts,
    )


def _rank(
    found: Sequence[Evidence], learner: MetaLearner, candidates: Sequence[Candidate]
) -> tuple[Evidence, ...]:
    """Put first what speaks for the best candidate, then by size; keep the top, and number it."""
    best = candidates[0].params
    ordered = sorted(found, key=lambda one: (-bearing(one, learner.space, best), -abs(one.effect)))
    return tuple(replace(one, id=f"E{i}") for i, one in enumerate(ordered[:N_EVIDENCE], start=1))


def _nearest(history: History, meta_features: MetaFeatures) -> tuple[NearestStudy, ...]:
    past = [study for study in history.studies if not study.is_target]
    away = distances(meta_features, [study.meta_features for study in past])
    found = [
        NearestStudy(
            study.name,
            distance,
            study.trials[0].params,
            len(study.trials),
            study.study_id if history.is_own_storage else None,
        )
        for study, distance in zip(past, away, strict=True)
    ]
    found.sort(key=lambda one: (one.distance is None, one.distance or 0.0, -one.n_trials))
    return tuple(found[:N_NEAREST])

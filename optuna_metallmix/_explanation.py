"""model of the past + candidates -> what each parameter did, as numbered evidence.

All effects are SHAP values of the meta-learner in score units: +0.10 means ten hundredths of the
way from the worst to the best trial of a study.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import numpy as np

from optuna_metallmix._candidates import Candidate
from optuna_metallmix._evidence import Evidence
from optuna_metallmix._evidence import bearing
from optuna_metallmix._evidence import find_evidence
from optuna_metallmix._history import History
from optuna_metallmix._html import to_html
from optuna_metallmix._markdown import plain
from optuna_metallmix._markdown import table
from optuna_metallmix._meta_dataset import Config
from optuna_metallmix._meta_features import MetaFeatures
from optuna_metallmix._meta_features import distances
from optuna_metallmix._meta_learner import LEAST_TRUST
from optuna_metallmix._meta_learner import Floats
from optuna_metallmix._meta_learner import MetaLearner
from optuna_metallmix._shap_view import shap_view


if TYPE_CHECKING:
    import shap

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
            f"useless).{kept * (self.quality <= LEAST_TRUST)}"
        )

    def _repr_html_(self) -> str:
        """Show what mattered in the past, as notebooks do."""
        rows = [(name, f"{mean:.3f}") for name, mean in self.importance.items()][:_MAX_ROWS]
        shown = [
            "**What mattered in the past**",
            table(("parameter", "mean absolute SHAP effect (score units)"), rows),
            "\n".join(f"- {one.id}: {plain(one.sentence)}" for one in self.evidence),
            "Nearest past studies: " + ", ".join(plain(one.name) for one in self.nearest),
            self.trust,
        ]
        return to_html("\n\n".join(shown))


def explain(
    learner: MetaLearner,
    candidates: Sequence[Candidate],
    history: History,
    meta_features: MetaFeatures,
) -> Explanation:
    """Explain the past and the candidates by the meta-learner's SHAP values."""
    rows = learner.explained
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

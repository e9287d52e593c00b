"""candidates + the suggested configuration -> what it costs, and what score that gives up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optuna_metallmix._candidates import Candidate
from optuna_metallmix._cost import CostModel
from optuna_metallmix._meta_dataset import Config


@dataclass(frozen=True)
class Trade:
    """The suggested configuration beside the candidate with the best predicted score.

    Attributes:
        cost: Its training, in middling past trainings: 1.0 is the middle of a study.
        best_cost: The training of that candidate.
        given_up: The score expected of that candidate beyond the suggested configuration's, in
            score units; below 0 where less is expected of it.
        uncertainty: Standard deviation of that candidate's score, in score units.
    """

    cost: float
    best_cost: float
    given_up: float
    uncertainty: float


def best_predicted(candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate of which most is expected; the first, where nothing is known."""
    return max(candidates, key=lambda one: one.predicted or 0.0)


def weigh(
    costs: CostModel | None, params: Config, predicted: float, candidates: Sequence[Candidate]
) -> Trade | None:
    """Hold a configuration against the best predicted candidate; ``None`` without costs."""
    if costs is None:
        return None
    best = best_predicted(candidates)
    cost, best_cost = costs.predict([params, best.params]).tolist()
    given_up = round((best.predicted or 0.0) - predicted, 9)  # sums of SHAP values end in noise
    return Trade(cost, best_cost, given_up, best.spread or 0.0)

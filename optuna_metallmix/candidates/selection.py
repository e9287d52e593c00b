"""pool + model of the past -> a few valid, diverse candidates, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optuna_metallmix.candidates.pool import RANDOM
from optuna_metallmix.candidates.pool import PoolMember
from optuna_metallmix.candidates.pool import build_pool
from optuna_metallmix.candidates.pool import fit_into
from optuna_metallmix.history import History
from optuna_metallmix.metalearner import MIN_TRUST
from optuna_metallmix.metalearner import CostModel
from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.metalearner import Prediction
from optuna_metallmix.metalearner import cheapest_equal
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import config_key
from optuna_metallmix.space import contains
from optuna_metallmix.space import is_number
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import middle
from optuna_metallmix.space import sample
from optuna_metallmix.space import to_unit


N_CANDIDATES = 6
MIN_DISTANCE = 0.08
"""Least mean difference between two candidates, in unit space."""
CAUTION = 2.0
"""By how many standard deviations between the members a configuration that nobody has tried must
be expected to beat a past study's best one, where the past tells nothing of unseen studies; none
where it tells all. (LCBench, mean and median regret of the first pick .37 and .20, without .39 and
.26; HPOBench no change; 12 and 16 searches, 2026-11.)"""


@dataclass(frozen=True)
class Candidate:
    """One configuration offered to the language model.

    Attributes:
        number: Its place in the list, from 1; 1 is predicted best, or as good and cheaper.
        params: Its values by name.
        origin: Where it comes from, in words.
        predicted: Expected score, about [0, 1]; ``None`` without a past.
        spread: Standard deviation between the meta-learner's members, in score units.
        cost: What its training takes, in middling past trainings; ``None`` where not asked.
    """

    number: int
    params: Config
    origin: str
    predicted: float | None = None
    spread: float | None = None
    cost: float | None = None


def propose_candidates(
    learner: MetaLearner,
    history: History,
    rng: np.random.Generator,
    n: int = N_CANDIDATES,
    costs: CostModel | None = None,
) -> tuple[Candidate, ...]:
    """Return ``n`` candidates (fewer where the space has fewer), best predicted score first.

    The less the past tells of unseen studies, the less they depart from what was best in one, see
    :data:`CAUTION`; not at all where it tells nothing. With ``costs`` the cheapest of the whole
    pool that may be as good stands before them. Configurations that the asking study itself has
    tried are not offered again.
    """
    space = learner.space
    tried = _tried(history, space)
    pool = build_pool(learner, history, rng)
    drafts = [draft for key, draft in pool.items() if key not in tried] or list(pool.values())
    configs = [draft.params for draft in drafts]
    prediction = learner.predict(configs)
    order = np.argsort(-_cautious(drafts, prediction, learner), kind="stable")
    chosen = diverse([int(i) for i in order], configs, space, n)
    taken = None if costs is None else costs.predict(configs)
    if taken is not None:
        first = cheapest_equal(prediction, taken)
        chosen = [first, *(i for i in chosen if i != first)][:n]
    return tuple(
        Candidate(
            place,
            drafts[i].params,
            drafts[i].origin,
            float(prediction.mean[i]),
            float(prediction.spread[i]),
            None if taken is None else float(taken[i]),
        )
        for place, i in enumerate(chosen, start=1)
    )


def _cautious(
    drafts: Sequence[PoolMember], prediction: Prediction, learner: MetaLearner
) -> NDArray[np.float64]:
    """Return the expected scores that candidates are ordered by."""
    doubt = CAUTION * (1.0 - learner.trust) if learner.trust > MIN_TRUST else np.inf
    new = np.array([not draft.is_past_best for draft in drafts])
    if doubt == 0.0 or new.all():
        return prediction.mean
    return prediction.mean - np.where(new, doubt * np.maximum(prediction.spread, 1e-9), 0.0)


def spread_candidates(
    space: SearchSpace, rng: np.random.Generator, n: int = N_CANDIDATES
) -> tuple[Candidate, ...]:
    """Return the middle of the space and ``n - 1`` random draws: candidates without a past."""
    drafts = [
        PoolMember({name: middle(one) for name, one in space.items()}, "middle of the space")
    ]
    for _ in range(4 * n):
        drafts.append(PoolMember({name: sample(one, rng) for name, one in space.items()}, RANDOM))
    unlike: dict[str, PoolMember] = {}
    for draft in drafts:
        unlike.setdefault(config_key(draft.params), draft)
    drafts = list(unlike.values())
    chosen = diverse(range(len(drafts)), [draft.params for draft in drafts], space, n)
    return tuple(
        Candidate(place, drafts[i].params, drafts[i].origin)
        for place, i in enumerate(chosen, start=1)
    )


def _tried(history: History, space: SearchSpace) -> set[str]:
    """Return what the asking study has tried, as far as ``space`` has it."""
    own = [trial.params for study in history.studies if study.is_target for trial in study.trials]
    return {
        config_key(fit_into(params, space, {}))
        for params in own + [params for params, _ in history.tried]
        if all(contains(space[name], params[name]) for name in params if name in space)
    }


def diverse(
    order: Sequence[int], configs: Sequence[Config], space: SearchSpace, n: int
) -> list[int]:
    """Return ``n`` of ``order``: the first, then each next that differs enough from all taken.

    Where there are not enough such ones, the first of the others fill up. Sorted as ``order``.
    """
    chosen: list[int] = []
    for i in order:
        if len(chosen) == n:
            break
        if all(_distance(configs[i], configs[j], space) >= MIN_DISTANCE for j in chosen):
            chosen.append(i)
    rest = [i for i in order if i not in chosen]
    return sorted(chosen + rest[: n - len(chosen)], key=list(order).index)


def _distance(first: Config, second: Config, space: SearchSpace) -> float:
    names = set(first) | set(second)
    return sum(_difference(first, second, name, space) for name in names) / max(len(names), 1)


def _difference(first: Config, second: Config, name: str, space: SearchSpace) -> float:
    if name not in first or name not in second:
        return 1.0
    a, b = first[name], second[name]
    if is_ordered(space[name]) and is_number(a) and is_number(b):
        return abs(to_unit(space[name], a) - to_unit(space[name], b))
    return float(a != b)


@dataclass(frozen=True)
class CostTradeoff:
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


def cost_tradeoff(
    costs: CostModel | None, params: Config, predicted: float, candidates: Sequence[Candidate]
) -> CostTradeoff | None:
    """Hold a configuration against the best predicted candidate; ``None`` without costs."""
    if costs is None:
        return None
    best = best_predicted(candidates)
    cost, best_cost = costs.predict([params, best.params]).tolist()
    given_up = round((best.predicted or 0.0) - predicted, 9)  # sums of SHAP values end in noise
    return CostTradeoff(cost, best_cost, given_up, best.spread or 0.0)

"""Select a portfolio of candidates from the pool: each is good where those before it are not."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Hashable
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optuna_metallmix.candidates.pool import RANDOM
from optuna_metallmix.candidates.pool import PoolMember
from optuna_metallmix.candidates.pool import build_pool
from optuna_metallmix.candidates.pool import distinct
from optuna_metallmix.candidates.pool import fit_into
from optuna_metallmix.candidates.pool import unfinished_config
from optuna_metallmix.history import History
from optuna_metallmix.metalearner import MIN_TRUST
from optuna_metallmix.metalearner import CostModel
from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.metalearner import cheapest_equal
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import config_key
from optuna_metallmix.space import contains
from optuna_metallmix.space import is_continuous
from optuna_metallmix.space import is_number
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import middle
from optuna_metallmix.space import sample
from optuna_metallmix.space import to_unit


N_CANDIDATES = 6
MIN_DISTANCE = 0.08
"""Minimum distance of two candidates: the mean difference of their parameters in unit space."""


@dataclass(frozen=True)
class Candidate:
    """A configuration offered to the language model.

    Attributes:
        number: Position in the portfolio, from 1; candidate 1 is predicted to be the best, or to
            be as good and cheaper.
        params: Values by parameter name.
        origin: Where the configuration comes from, for display.
        predicted: Predicted score, about [0, 1]; ``None`` without past studies.
        spread: Standard error of the predicted score, see :class:`Prediction`.
        cost: Predicted training cost, 1 is a median training run; ``None`` unless requested.
    """

    number: int
    params: Config
    origin: str
    predicted: float | None = None
    spread: float | None = None
    cost: float | None = None


@dataclass(frozen=True)
class CostTradeoff:
    """The suggested configuration compared with the best predicted candidate.

    Attributes:
        cost: Training cost of the suggested configuration; 1 is a median training run.
        best_cost: Training cost of the best predicted candidate.
        given_up: Predicted score of that candidate minus that of the suggested configuration, in
            score units; may be negative.
        uncertainty: Standard error of that candidate's predicted score.
    """

    cost: float
    best_cost: float
    given_up: float
    uncertainty: float


def propose_candidates(
    learner: MetaLearner,
    history: History,
    rng: np.random.Generator,
    n: int = N_CANDIDATES,
    costs: CostModel | None = None,
) -> tuple[Candidate, ...]:
    """Return a portfolio of up to ``n`` candidates.

    Candidate 1 has the best predicted score. Each further candidate adds most to the mean, over
    past studies, of the best predicted score of the candidates so far. (Regret of the best of five
    candidates: .20 on XGBoost and .10 on LCBench; of the bests of five past studies .25 and .30;
    measured 2026-11.)

    If trust is at most :data:`MIN_TRUST`, configurations that are not among a past study's best
    come last. (Penalizing them more the fewer studies there are made the first pick worse: from
    three studies .33 without and .41 with it on LCBench, .39 and .43 on XGBoost; measured
    2026-11.) With ``costs``, candidate 1 is the cheapest of the pool that may be as good as the
    best. Configurations that the current study has already tried are left out, also those of
    running and enqueued trials.
    """
    space = learner.space
    pool = build_pool(learner, history, rng)
    members = _untried(pool, history, space) or pool
    configs = [member.params for member in members]
    scores = learner.predict_by_study(configs)
    prediction = learner.summarize(scores)
    if learner.trust <= MIN_TRUST:
        scores = scores - np.array([0.0 if member.is_past_best else 10.0 for member in members])
    chosen = select_portfolio(scores, learner.study_weights_, configs, space, n)
    predicted_costs = None if costs is None else costs.predict(configs)
    if predicted_costs is not None:
        first = cheapest_equal(prediction, predicted_costs)
        chosen = [first, *(i for i in chosen if i != first)][:n]
    return tuple(
        Candidate(
            number,
            configs[i],
            members[i].origin,
            float(prediction.mean[i]),
            float(prediction.spread[i]),
            None if predicted_costs is None else float(predicted_costs[i]),
        )
        for number, i in enumerate(chosen, start=1)
    )


def candidates_without_history(
    space: SearchSpace, rng: np.random.Generator, n: int = N_CANDIDATES
) -> tuple[Candidate, ...]:
    """Return the middle of the space and up to ``n - 1`` diverse random draws."""
    members = [PoolMember({name: middle(space[name]) for name in space}, "middle of the space")]
    for _ in range(4 * n):
        members.append(PoolMember({name: sample(space[name], rng) for name in space}, RANDOM))
    members = distinct(members)
    chosen = select_diverse(range(len(members)), [m.params for m in members], space, n)
    return tuple(
        Candidate(number, members[i].params, members[i].origin)
        for number, i in enumerate(chosen, start=1)
    )


def select_diverse(
    order: Sequence[int], configs: Sequence[Config], space: SearchSpace, n: int
) -> list[int]:
    """Return up to ``n`` indices of ``configs`` that differ from each other, in the given order.

    An index is skipped if its configuration is closer than :data:`MIN_DISTANCE` to an earlier
    selection. If too few remain, the first skipped indices are added.
    """
    chosen: list[int] = []
    for i in order:
        if len(chosen) == n:
            break
        if _is_distinct(configs[i], chosen, configs, space):
            chosen.append(i)
    skipped = [i for i in order if i not in chosen]
    return sorted(chosen + skipped[: n - len(chosen)], key=list(order).index)


def select_portfolio(
    scores: NDArray[np.float64],
    weights: NDArray[np.float64],
    configs: Sequence[Config],
    space: SearchSpace,
    n: int,
) -> list[int]:
    """Return up to ``n`` indices of ``configs`` that cover all studies, greedily.

    Args:
        scores: Predicted scores by study, shape (n_studies, len(configs)).
        weights: Weights of the studies, shape (n_studies,); they sum to 1.
        configs: Configurations to choose from.
        space: Their search space.
        n: Number of indices. Configurations closer than :data:`MIN_DISTANCE` to those already
            chosen are used only if there are not enough others.
    """
    means = weights @ scores
    best = np.full((len(scores), 1), -np.inf)
    chosen: list[int] = []
    for _ in range(min(n, len(configs))):
        # The mean decides between configurations that add nothing.
        values = weights @ np.maximum(best, scores) + 1e-3 * means
        order = [i for i in np.argsort(-values, kind="stable").tolist() if i not in chosen]
        added = next(
            (i for i in order if _is_distinct(configs[i], chosen, configs, space)), order[0]
        )
        chosen.append(added)
        best = np.maximum(best, scores[:, [added]])
    return chosen


def _is_distinct(
    config: Config, chosen: Sequence[int], configs: Sequence[Config], space: SearchSpace
) -> bool:
    return all(_distance(config, configs[i], space) >= MIN_DISTANCE for i in chosen)


def best_predicted(candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate with the best predicted score, or the first without predictions."""
    return max(candidates, key=lambda candidate: candidate.predicted or 0.0)


def cost_tradeoff(
    costs: CostModel | None, params: Config, predicted: float, candidates: Sequence[Candidate]
) -> CostTradeoff | None:
    """Compare a configuration with the best predicted candidate; ``None`` without ``costs``."""
    if costs is None:
        return None
    best = best_predicted(candidates)
    cost, best_cost = costs.predict([params, best.params]).tolist()
    given_up = round((best.predicted or 0.0) - predicted, 9)  # drop the rounding error of sums
    return CostTradeoff(cost, best_cost, given_up, best.spread or 0.0)


def _untried(
    members: Sequence[PoolMember], history: History, space: SearchSpace
) -> list[PoolMember]:
    """Return the members that no trial of the current study has tried.

    A running trial may not have asked for all of its parameters yet. If those it has include a
    continuous one, a configuration with all of them is that trial's.
    """
    tried, partial = _tried(history, space), set()
    for trial in history.unfinished:
        config = unfinished_config(trial, space)
        tried.add(config_key(config))
        if any(is_continuous(space[name]) for name in config):
            partial.add((frozenset(config), config_key(config)))
    return [
        member
        for member in members
        if config_key(member.params) not in tried
        and not any(_part_key(member.params, names) == key for names, key in partial)
    ]


def _part_key(config: Config, names: Collection[str]) -> Hashable:
    return config_key({name: value for name, value in config.items() if name in names})


def _tried(history: History, space: SearchSpace) -> set[Hashable]:
    """Return the keys of the configurations that the current study has tried in ``space``."""
    own = [trial.params for study in history.studies if study.is_target for trial in study.trials]
    return {
        config_key(fit_into(params, space, {}))
        for params in own + [params for params, _ in history.tried]
        if all(contains(space[name], params[name]) for name in params if name in space)
    }


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

"""Build the pool of configurations that candidates are chosen from.

The pool holds the best configurations of each past study, perturbations of them, and random draws
(mean regret of the first pick on LCBench: .37 instead of .42; measured 2026-11). Each member has
the active parameters of a past trial, since the conditions of a space are unknown. Choices are
resampled only from those seen with the same set of active parameters. Integers that may control
that set (``n_layers=3``) stay within the range seen with it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import TypeAlias

import numpy as np
from numpy.random import Generator
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from optuna_metallmix.history import History
from optuna_metallmix.history import PastStudy
from optuna_metallmix.metalearner import MAX_COLUMNS
from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.metalearner import evenly_spaced
from optuna_metallmix.metalearner import limit_studies
from optuna_metallmix.metalearner import max_trials
from optuna_metallmix.optuna_access import enqueued_params
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import choices_of
from optuna_metallmix.space import config_key
from optuna_metallmix.space import contains
from optuna_metallmix.space import from_record
from optuna_metallmix.space import is_number
from optuna_metallmix.space import is_ordered
from optuna_metallmix.space import label_of
from optuna_metallmix.space import labels_of
from optuna_metallmix.space import middle
from optuna_metallmix.space import perturb
from optuna_metallmix.space import project
from optuna_metallmix.space import sample
from optuna_metallmix.space import value_key


N_BEST = 3
"""Number of best trials taken from each past study."""
MAX_BEST = 200
"""Maximum number of them in total; each study has at least one."""
N_PERTURBED = 8
"""Number of perturbations of each of them. It and :data:`N_RANDOM` are lower in proportion if
there are more parameters than :data:`MAX_COLUMNS`: the time to draw a member grows with them."""
N_RANDOM = 500
WIDTH = 0.1
"""Standard deviation of perturbed numbers, in unit space."""

PROPOSAL_ATTR = "metallmix:proposal"
"""System attribute of a trial: the configuration proposed for it, if another process runs trials,
too; values as JSON can hold them. Like ``tpe:relative_params`` of ``TPESampler``."""

RANDOM = "drawn at random"
PAST_BEST = "one of the best of "

_SeenValues: TypeAlias = dict[tuple[str, frozenset[str]], tuple[float, float] | frozenset[str]]
"""Past values by parameter and active parameters: a range of integers, or labels of choices."""


@dataclass(frozen=True)
class PoolMember:
    """A configuration that candidates are chosen from.

    Attributes:
        params: Values by parameter name.
        origin: Where the configuration comes from, for display.
        is_past_best: Whether it is among the best of a past study, unperturbed.
    """

    params: dict[str, Any]
    origin: str
    is_past_best: bool = False


def build_pool(learner: MetaLearner, history: History, rng: Generator) -> list[PoolMember]:
    """Return the distinct members of the pool."""
    return distinct(_members(learner, history, rng))


def distinct(members: Iterable[PoolMember]) -> list[PoolMember]:
    """Return the first member with each configuration."""
    pool: dict[Hashable, PoolMember] = {}
    for member in members:
        pool.setdefault(config_key(member.params), member)
    return list(pool.values())


def best_choices(learner: MetaLearner, names: Iterable[str]) -> dict[str, Any]:
    """Return the choice that has the best predictions, for each of some unordered parameters.

    The predictions are averaged over the best past configurations with that choice inserted.
    Choices that no past trial has count only if there are no others. Without an effect, it is
    the first choice.
    """
    by_score = np.argsort(-learner.dataset.scores, kind="stable")[:20]
    tops = [learner.dataset.configs[int(i)] for i in by_score]
    best: dict[str, Any] = {}
    for name in names:
        choices = known_choices(learner, name, choices_of(learner.space[name]))
        if name not in learner.columns:
            best[name] = choices[0]
            continue
        configs = [{**top, name: choice} for choice in choices for top in tops]
        means = learner.predict_mean(configs).reshape(len(choices), len(tops)).mean(axis=1)
        best[name] = choices[int(means.argmax())]
    return best


def known_choices(learner: MetaLearner, name: str, choices: Sequence[Any]) -> Sequence[Any]:
    """Return the choices of a parameter that a past trial has, or all if none has any of them.

    The prediction for a choice that the meta-learner was not fitted on says nothing about it.
    """
    distribution = learner.space[name]
    if is_ordered(distribution):  # the choices are numbers to the meta-learner
        return choices
    past = [config[name] for config in learner.dataset.configs if name in config]
    known = set(labels_of(distribution, past))
    labels = labels_of(distribution, choices)
    pairs = zip(choices, labels, strict=True)
    return [choice for choice, label in pairs if label in known] or choices


def fit_into(params: Config, space: SearchSpace, fallback: Config) -> dict[str, Any]:
    """Project a past configuration onto ``space``; absent choices become ``fallback``'s."""
    return {
        name: project(space[name], value, fallback.get(name))
        for name, value in params.items()
        if name in space
    }


def unfinished_config(
    trial: FrozenTrial, space: SearchSpace, proposed: Config | None = None
) -> dict[str, Any]:
    """Return what is known of the configuration of an unfinished trial, projected onto ``space``.

    These are the parameters it has asked for, and those it will get: they were enqueued, or
    ``proposed`` by this process or another one.
    """
    if not proposed:
        record = trial.system_attrs.get(PROPOSAL_ATTR)
        record = record if isinstance(record, dict) else {}
        proposed = {n: from_record(space[n], record[n]) for n in record if n in space}
    return fit_into({**proposed, **enqueued_params(trial), **trial.params}, space, {})


def _members(learner: MetaLearner, history: History, rng: Generator) -> Iterator[PoolMember]:
    space, studies = learner.space, limit_studies(history, learner.space).studies
    share = min(1.0, MAX_COLUMNS / max(len(space), 1))
    n_best = min(N_BEST, max(1, MAX_BEST // len(studies)))
    known = {name for study in studies for name in study.space}
    new = {name: middle(dist) for name, dist in space.items() if name not in known}
    fallback = best_choices(learner, _with_lost_choices(studies, space))
    usable = [_usable_configs(study, space, len(studies)) for study in studies]
    templates = [params for configs in usable for params in configs]
    seen = _seen_values(templates, new, space, fallback)
    for study, configs in zip(studies, usable, strict=True):
        for params in configs[:n_best]:
            best = {**new, **fit_into(params, space, fallback)}
            yield PoolMember(best, f"{PAST_BEST}{study.name!r}", is_past_best=True)
            for _ in range(math.ceil(share * N_PERTURBED)):
                perturbed = _vary(best, space, seen, rng, WIDTH)
                yield PoolMember(perturbed, f"near one of the best of {study.name!r}")
    for _ in range(math.ceil(share * N_RANDOM)):
        template = templates[int(rng.integers(len(templates)))]
        fitted = {**new, **fit_into(template, space, fallback)}
        yield PoolMember(_vary(fitted, space, seen, rng, None), RANDOM)


def _with_lost_choices(studies: Sequence[PastStudy], space: SearchSpace) -> list[str]:
    """Return the unordered parameters whose past values may not be among their choices."""

    def is_lost(name: str, distribution: BaseDistribution) -> bool:
        past = (choices_of(study.space[name]) for study in studies if name in study.space)
        distinct = {tuple(map(value_key, choices)): choices for choices in past}
        return not all(
            choices and all(contains(distribution, choice) for choice in choices)
            for choices in distinct.values()
        )

    return [name for name, d in space.items() if not is_ordered(d) and is_lost(name, d)]


def _usable_configs(study: PastStudy, space: SearchSpace, n_studies: int) -> list[Config]:
    """Return past configurations with a parameter of ``space``, best first."""
    usable = [t.params for t in study.trials if not space.keys().isdisjoint(t.params)]
    return [usable[i] for i in evenly_spaced(len(usable), max_trials(n_studies, space))]


def _vary(
    params: Config, space: SearchSpace, seen: _SeenValues, rng: Generator, width: float | None
) -> dict[str, Any]:
    """Redraw all values, or perturb half of them by ``width``, unless that might be invalid."""
    varied, active = dict(params), frozenset(params)
    for name in params:
        if width is not None and rng.random() < 0.5:
            continue
        if width is None or not is_ordered(space[name]):
            value = sample(space[name], rng)
        else:
            value = perturb(space[name], params[name], width, rng)
        allowed = seen.get((name, active))
        if isinstance(allowed, tuple):
            is_safe = allowed[0] <= value <= allowed[1]
        else:
            is_safe = allowed is None or label_of(space[name], value) in allowed
        varied[name] = value if is_safe else params[name]
    return varied


def _seen_values(
    configs: Iterable[Config], new: Config, space: SearchSpace, fallback: Config
) -> _SeenValues:
    """Return the past values that each parameter is restricted to.

    These are the choices, and the integers that were used with different active parameters. All
    other numbers are free: the optima of LCBench are at the ends of its ranges (regret of the best
    of five picks: .20 if restricted to past values, .04 if not; measured 2026-11).
    """
    by_names: dict[tuple[str, ...], list[Config]] = {}
    for config in configs:
        by_names.setdefault(tuple(config), []).append(config)
    values: dict[tuple[str, frozenset[str]], list[Any]] = {}
    for names, group in by_names.items():
        known = [name for name in names if name in space]
        active = frozenset([*new, *known])
        for name in known:
            distinct = _distinct(space[name], [config[name] for config in group])
            fitted = (project(space[name], value, fallback.get(name)) for value in distinct)
            values.setdefault((name, active), []).extend(fitted)
    n_active_sets = Counter(name for name, _ in values)
    seen: _SeenValues = {}
    for (name, active), used in values.items():
        if not is_ordered(space[name]):
            seen[name, active] = frozenset(label_of(space[name], value) for value in used)
        elif n_active_sets[name] > 1 and all(value == int(value) for value in used):
            seen[name, active] = min(used), max(used)
    return seen


def _distinct(distribution: BaseDistribution, values: Sequence[Any]) -> Iterable[Any]:
    """Return the distinct values, or only the minimum and the maximum of numbers."""
    if is_ordered(distribution) and all(map(is_number, values)):
        return min(values), max(values)
    return {value_key(value): value for value in values}.values()

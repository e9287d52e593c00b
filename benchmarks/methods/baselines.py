"""a setting -> a search by others: what this library is compared with."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from optuna.samplers import BaseSampler
from optuna.samplers import GPSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler

from benchmarks.families.family import SkippedError
from benchmarks.families.past import Config
from benchmarks.families.past import Past
from benchmarks.families.past import Task
from benchmarks.families.past import best_mean_rank
from benchmarks.families.past import random_configs
from optuna_metallmix.history import read_history
from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.metalearner import build_meta_dataset


N_POOL = 2_000
"""Random configurations that `argmax` chooses from."""


@dataclass(frozen=True)
class Setting:
    """What a method may use.

    Attributes:
        task: The task left out.
        seed: The search's own seed.
        past: The past of all tasks.
        others: The names of the tasks whose past may be read.
        default: What people who know nothing start from.
        best: Past studies' best configurations, the nearest study's first; asked for.
        past_with: Trials a study -> a past of another size.
    """

    task: Task
    seed: int
    past: Past
    others: Sequence[str]
    default: Config
    best: Callable[[], Sequence[Config]]
    past_with: Callable[[int], Past]


@dataclass(frozen=True)
class Search:
    """A sampler and the configurations that are tried before it is asked."""

    sampler: BaseSampler
    first: Sequence[Config] = ()


Method: TypeAlias = Callable[[Setting], Search]


def random(setting: Setting) -> Search:
    """Draw at random."""
    return Search(RandomSampler(seed=setting.seed))


def tpe(setting: Setting) -> Search:
    """Optuna's default."""
    return Search(TPESampler(seed=setting.seed))


def gp(setting: Setting) -> Search:
    """Optuna's Gaussian process."""
    _need_torch()
    return Search(GPSampler(seed=setting.seed))


def auto(setting: Setting) -> Search:
    """OptunaHub's AutoSampler, where it can be had."""
    import optunahub

    _need_torch()
    try:
        module = optunahub.load_module("samplers/auto_sampler")
    except Exception as error:  # it is other people's code, fetched through a network
        raise SkippedError(f"OptunaHub's AutoSampler cannot be had here: {error}") from error
    return Search(module.AutoSampler(seed=setting.seed))


def tpe_after_default(setting: Setting) -> Search:
    """TPE after the default of the library that trains."""
    return Search(TPESampler(seed=setting.seed), [setting.default])


def tpe_after_past(n: int) -> Method:
    """TPE after ``n`` past studies' best configurations."""
    return lambda setting: Search(TPESampler(seed=setting.seed), setting.best()[:n])


def tpe_after_best_mean_rank(setting: Setting) -> Search:
    """TPE after the best configuration over all past tasks."""
    return Search(TPESampler(seed=setting.seed), [best_mean_rank(setting.past, setting.task)])


def tpe_after_argmax(setting: Setting) -> Search:
    """TPE after what the meta-learner expects most of, without candidates of any wit."""
    history = read_history(setting.past.storage, names=list(setting.others))
    dataset = build_meta_dataset(history, setting.past.space)
    learner = MetaLearner(seed=setting.seed % 2**31).fit(dataset)
    pool = random_configs(setting.past.space, N_POOL, "argmax", setting.seed)
    best = pool[int(learner.predict(pool).mean.argmax())]
    return Search(TPESampler(seed=setting.seed), [best])


def _need_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise SkippedError("GPSampler needs torch, which is not installed") from error

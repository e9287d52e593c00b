"""Define the baselines: samplers of Optuna, alone or after enqueued configurations."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from optuna.samplers import BaseSampler
from optuna.samplers import GPSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler

from benchmarks.tasks.family import SkippedError
from benchmarks.tasks.past import Config
from benchmarks.tasks.past import Past
from benchmarks.tasks.past import Task
from benchmarks.tasks.past import best_mean_rank
from benchmarks.tasks.past import random_configs
from optuna_metallmix.history import read_history
from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.metalearner import build_meta_dataset


N_POOL = 2_000
"""Number of random configurations that `argmax` chooses from."""


@dataclass(frozen=True)
class Setting:
    """The information a method may use.

    Attributes:
        task: The held-out task.
        seed: Seed of the search.
        past: The past of all tasks.
        others: Names of the tasks whose past may be read.
        default: The configuration to start from without any knowledge.
        best: Returns the best configuration of each past study, nearest study first.
        past_with: Maps a number of trials per study to a past of that size.
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
    """A sampler and the configurations enqueued before its first trial."""

    sampler: BaseSampler
    first: Sequence[Config] = ()


Method: TypeAlias = Callable[[Setting], Search]


def random(setting: Setting) -> Search:
    """Return Optuna's random search."""
    return Search(RandomSampler(seed=setting.seed))


def tpe(setting: Setting) -> Search:
    """Return Optuna's default sampler."""
    return Search(TPESampler(seed=setting.seed))


def gp(setting: Setting) -> Search:
    """Return Optuna's Gaussian process sampler."""
    _need_torch()
    return Search(GPSampler(seed=setting.seed))


def auto(setting: Setting) -> Search:
    """Return OptunaHub's AutoSampler.

    Raises:
        SkippedError: It cannot be downloaded.
    """
    import optunahub

    _need_torch()
    try:
        module = optunahub.load_module("samplers/auto_sampler")
    except Exception as error:  # third-party code, downloaded here
        raise SkippedError(f"OptunaHub's AutoSampler cannot be loaded: {error}") from error
    return Search(module.AutoSampler(seed=setting.seed))


def tpe_after_default(setting: Setting) -> Search:
    """Return TPE after the training library's default configuration."""
    return Search(TPESampler(seed=setting.seed), [setting.default])


def tpe_after_past(n: int) -> Method:
    """Return TPE after the best configurations of the ``n`` nearest past studies."""
    return lambda setting: Search(TPESampler(seed=setting.seed), setting.best()[:n])


def tpe_after_best_mean_rank(setting: Setting) -> Search:
    """Return TPE after the configuration with the best mean rank over all past tasks."""
    return Search(TPESampler(seed=setting.seed), [best_mean_rank(setting.past, setting.task)])


def tpe_after_argmax(setting: Setting) -> Search:
    """Return TPE after the random configuration that the meta-learner predicts to be best."""
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

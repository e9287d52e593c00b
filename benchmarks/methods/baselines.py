"""Define the baselines: samplers of Optuna, alone or after enqueued configurations."""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import TypeAlias

import optuna
from optuna.samplers import BaseSampler
from optuna.samplers import GPSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from packaging.version import Version

from benchmarks.tasks.family import SkippedError
from benchmarks.tasks.past import Past
from benchmarks.tasks.past import Task
from benchmarks.tasks.past import best_mean_rank
from benchmarks.tasks.past import random_configs
from benchmarks.tasks.space import Config
from benchmarks.tasks.space import Space
from optuna_metallmix.history import read_history
from optuna_metallmix.metalearner import MetaLearner
from optuna_metallmix.metalearner import build_meta_dataset


N_POOL = 2_000
"""Number of random configurations that `argmax` chooses from."""
N_BESTS = 5
"""Number of past studies whose best configuration is enqueued."""


@dataclass(frozen=True)
class Setting:
    """The information a method may use.

    Attributes:
        task: The held-out task.
        space: Its search space.
        seed: Seed of the search.
        past: The past of all tasks.
        others: Names of the tasks whose past may be read.
        default: The configuration to start from without any knowledge.
        best: Returns the best configuration of each past study, nearest study first.
    """

    task: Task
    space: Space
    seed: int
    past: Past
    others: Sequence[str]
    default: Config
    best: Callable[[], Sequence[Config]]


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
    """Return OptunaHub's AutoSampler."""
    _need_torch()
    return Search(_from_hub("samplers/auto_sampler").AutoSampler(seed=setting.seed))


def meta_learn_tpe(setting: Setting) -> Search:
    """Return OptunaHub's MetaLearnTPESampler, which mixes TPE's densities over past studies."""
    if Version(optuna.__version__).major > 4:
        raise SkippedError(f"MetaLearnTPESampler needs Optuna 4, not {optuna.__version__}")
    storage = setting.past.storage
    studies = [optuna.load_study(study_name=name, storage=storage) for name in setting.others]
    sampler = _from_hub("samplers/meta_learn_tpe").MetaLearnTPESampler
    return Search(sampler(source_studies=studies, seed=setting.seed % 2**31))


def _from_hub(package: str) -> Any:
    """Load a package from OptunaHub's registry, or from the folder ``OPTUNAHUB_REGISTRY``.

    Raises:
        SkippedError: It cannot be loaded.
    """
    import optunahub

    folder = os.environ.get("OPTUNAHUB_REGISTRY")
    try:
        if folder:
            return optunahub.load_local_module(package, registry_root=folder)
        return optunahub.load_module(package)
    except Exception as error:  # third-party code, downloaded here
        raise SkippedError(
            f"{package} cannot be loaded from OptunaHub ({type(error).__name__}); without a "
            "network, set OPTUNAHUB_REGISTRY to a copy of the registry's folder `package`"
        ) from error


def tpe_after_default(setting: Setting) -> Search:
    """Return TPE after the training library's default configuration."""
    return Search(TPESampler(seed=setting.seed), [setting.default])


def past_bests(setting: Setting) -> Search:
    """Return TPE after the best configurations of the nearest past studies."""
    return Search(TPESampler(seed=setting.seed), setting.best()[:N_BESTS])


def tpe_after_best_mean_rank(setting: Setting) -> Search:
    """Return TPE after the configuration with the best mean rank over all past tasks."""
    return Search(TPESampler(seed=setting.seed), [best_mean_rank(setting.past, setting.task)])


def tpe_after_argmax(setting: Setting) -> Search:
    """Return TPE after the random configuration that the meta-learner predicts to be best."""
    history = read_history(setting.past.storage, names=list(setting.others))
    dataset = build_meta_dataset(history, setting.space.parameters)
    learner = MetaLearner(seed=setting.seed % 2**31).fit(dataset)
    pool = random_configs(setting.space, N_POOL, "argmax", setting.seed)
    best = pool[int(learner.predict(pool).mean.argmax())]
    return Search(TPESampler(seed=setting.seed), [best])


def _need_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise SkippedError("GPSampler needs torch, which is not installed") from error

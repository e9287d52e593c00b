"""Run trials on Ray with Tune's `OptunaSearch`.

    pip install "ray[tune]"
    python examples/frameworks/ray_tune.py

`OptunaSearch` makes the study, so give it `storage=` (an object, not a URL) and `study_name=`:
without a storage the study is in memory, and its note is lost; without a name every study is
called "optuna", and a second search continues the first. Writes `hpo.db` and Ray's own results in
`~/ray_results`; look at the study with `optuna-dashboard sqlite:///hpo.db`.
"""

from __future__ import annotations

import math
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.storages import RDBStorage
from ray import tune
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

from optuna_metallmix import MetaLLMiXSampler


SPACE = {"lr": FloatDistribution(1e-5, 1e-1, log=True), "n_layers": IntDistribution(1, 8)}


def train(config: dict[str, Any]) -> None:
    """Report the loss of a training run."""
    tune.report({"loss": loss(**config)})


def loss(lr: float, n_layers: int) -> float:
    return (math.log10(lr) + 3) ** 2 + 0.1 * abs(n_layers - 4)


def main() -> None:
    """Make a past, and continue with Ray."""
    storage = RDBStorage("sqlite:///hpo.db")
    past = optuna.create_study(study_name="past", storage=storage, load_if_exists=True)
    for _ in range(20):
        trial = past.ask(SPACE)
        past.tell(trial, loss(**trial.params))
    search = OptunaSearch(
        SPACE,
        metric="loss",
        mode="min",
        sampler=MetaLLMiXSampler(),
        study_name="ray",
        storage=storage,
    )
    config = tune.TuneConfig(search_alg=ConcurrencyLimiter(search, 2), num_samples=5)
    tune.Tuner(train, tune_config=config).fit()
    study = optuna.load_study(study_name="ray", storage=storage)
    suggested = [trial.number for trial in study.trials if "metallmix:source" in trial.user_attrs]
    print(f"{len(study.trials)} trials, suggested: {suggested}, best: {study.best_value:.3f}")


if __name__ == "__main__":
    main()

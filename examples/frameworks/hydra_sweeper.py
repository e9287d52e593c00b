"""Sweep with Hydra 1.4 and its Optuna sweeper, first without a past and then from it.

    pip install --pre "hydra-optuna-sweeper>=1.4.0rc3"
    python examples/frameworks/hydra_sweeper.py -m hydra/sweeper/sampler=tpe \
        hydra.sweeper.study_name=past
    python examples/frameworks/hydra_sweeper.py -m

Hydra 1.4 creates objects only from names in `execution_whitelist`; the sweeper adds Optuna's
samplers, and `@hydra.main` has to add this one. Writes `hpo.db` and `multirun/`; look at it with
`optuna-dashboard sqlite:///hpo.db`. With `n_jobs` above 1 the trials of a batch start together:
the first of them has the suggestion.
"""

from __future__ import annotations

import math
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig


SAMPLER = {"_target_": "optuna_metallmix.MetaLLMiXSampler", "seed": 0}
CONFIG: dict[str, Any] = {
    "defaults": [
        "_self_",
        {"override hydra/sweeper": "optuna"},
        {"override hydra/sweeper/sampler": "metallmix"},
    ],
    "lr": 1e-3,
    "n_layers": 4,
    "hydra": {
        "sweeper": {
            "storage": "sqlite:///hpo.db",
            "study_name": "hydra",
            "n_trials": 20,
            "n_jobs": 1,
            "params": {"lr": "tag(log, interval(1e-5, 1e-1))", "n_layers": "range(1, 8)"},
        }
    },
}
store = ConfigStore.instance()
store.store(group="hydra/sweeper/sampler", name="metallmix", node=SAMPLER)
store.store(name="config", node=CONFIG)


@hydra.main(
    config_path=None,
    config_name="config",
    execution_whitelist=["optuna_metallmix.MetaLLMiXSampler"],
)
def main(config: DictConfig) -> float:
    """Return the loss of a training run."""
    return float((math.log10(config.lr) + 3) ** 2 + 0.1 * abs(config.n_layers - 4))


if __name__ == "__main__":
    main()

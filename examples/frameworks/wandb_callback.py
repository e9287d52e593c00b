"""Log a study's trials to Weights & Biases with optuna-integration's callback.

    pip install wandb optuna-integration
    WANDB_MODE=offline python examples/frameworks/wandb_callback.py

Each trial becomes a run, with the sampler's reason for the suggested one in its summary. Without
`WANDB_MODE=offline` (then `wandb sync` uploads the runs later) log in first: `wandb login`. Writes
`hpo.db` and `wandb/`; look at the study with `optuna-dashboard sqlite:///hpo.db`. From Optuna 6 on
the class is `optunahub.load_module("callbacks/wandb").WeightsAndBiasesCallback`, with the same
arguments.
"""

from __future__ import annotations

import math

import optuna
import wandb
from optuna_integration.wandb import WeightsAndBiasesCallback

from optuna_metallmix import MetaLLMiXSampler


STORAGE = "sqlite:///hpo.db"


def objective(trial: optuna.Trial) -> float:
    """Return the loss of a training run."""
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    n_layers = trial.suggest_int("n_layers", 1, 8)
    return (math.log10(lr) + 3) ** 2 + 0.1 * abs(n_layers - 4)


def log_reason(_: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    """Add the sampler's attributes to the trial's run, before the callback ends it."""
    wandb.run.summary.update(trial.user_attrs)


def main() -> None:
    """Make a past, and log a study that learns from it."""
    past = optuna.create_study(study_name="past", storage=STORAGE, load_if_exists=True)
    past.optimize(objective, n_trials=20)
    study = optuna.create_study(
        study_name="wandb", storage=STORAGE, sampler=MetaLLMiXSampler(), load_if_exists=True
    )
    callback = WeightsAndBiasesCallback(
        metric_name="loss", wandb_kwargs={"project": "hpo"}, as_multirun=True
    )
    tracked = callback.track_in_wandb()(objective)
    study.optimize(tracked, n_trials=5, callbacks=[log_reason, callback])
    suggested = [trial.number for trial in study.trials if "metallmix:source" in trial.user_attrs]
    print(f"{len(study.trials)} trials, suggested: {suggested}, best: {study.best_value:.3f}")


if __name__ == "__main__":
    main()

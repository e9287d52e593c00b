"""Train with Lightning, and prune with optuna-integration's `PyTorchLightningPruningCallback`.

    pip install lightning optuna-integration
    python examples/frameworks/lightning_pruning.py

The past was pruned, too: pruned trials count as worse than finished ones. Writes `hpo.db`; look at
it with `optuna-dashboard sqlite:///hpo.db`.
"""

from __future__ import annotations

import logging

import lightning
import optuna
import torch
from optuna.pruners import MedianPruner
from optuna_integration.pytorch_lightning import PyTorchLightningPruningCallback
from torch.utils.data import DataLoader
from torch.utils.data import TensorDataset

from optuna_metallmix import MetaLLMiXSampler


STORAGE = "sqlite:///hpo.db"


class Classifier(lightning.LightningModule):
    """A small network; it logs `val_loss` after each epoch."""

    def __init__(self, lr: float, n_hidden: int) -> None:
        super().__init__()
        self.lr = lr
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(8, n_hidden), torch.nn.ReLU(), torch.nn.Linear(n_hidden, 2)
        )

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        """Return the loss of a batch."""
        x, y = batch
        return torch.nn.functional.cross_entropy(self.layers(x), y)

    def validation_step(self, batch: list[torch.Tensor], i: int) -> None:
        """Log the loss of a batch."""
        self.log("val_loss", self.training_step(batch, i))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def make_loader(seed: int) -> DataLoader[tuple[torch.Tensor, ...]]:
    x = torch.randn(256, 8, generator=torch.Generator().manual_seed(seed))
    y = (x[:, 0] * x[:, 1] > 0).long()
    return DataLoader(TensorDataset(x, y), batch_size=128)


def objective(trial: optuna.Trial) -> float:
    """Return the validation loss of a training run."""
    model = Classifier(
        lr=trial.suggest_float("lr", 1e-4, 1e-1, log=True),
        n_hidden=trial.suggest_int("n_hidden", 4, 64, log=True),
    )
    trainer = lightning.Trainer(
        max_epochs=4,
        accelerator="cpu",
        callbacks=[PyTorchLightningPruningCallback(trial, monitor="val_loss")],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, make_loader(seed=0), make_loader(seed=1))
    return float(trainer.callback_metrics["val_loss"])


def main() -> None:
    """Make a past, and run a study that learns from it."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    pruner = MedianPruner(n_startup_trials=3, n_warmup_steps=1)
    past = optuna.create_study(
        study_name="past", storage=STORAGE, pruner=pruner, load_if_exists=True
    )
    past.optimize(objective, n_trials=10)
    study = optuna.create_study(
        study_name="lightning",
        storage=STORAGE,
        sampler=MetaLLMiXSampler(),
        pruner=pruner,
        load_if_exists=True,
    )
    study.optimize(objective, n_trials=5)
    suggested = [trial.number for trial in study.trials if "metallmix:source" in trial.user_attrs]
    print(f"{len(study.trials)} trials, suggested: {suggested}, best: {study.best_value:.3f}")


if __name__ == "__main__":
    main()

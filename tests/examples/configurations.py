"""Configurations of the example's space, and one trial of each."""

import optuna

from timm_objective import Space


GOOD = {
    "network": "tf_efficientnet_lite0",
    "image_size": 64,
    "pooling": "avg",
    "head": "linear",
    "dropout": 0.1,
    "optimizer": "adamw",
    "learning_rate": 3e-3,
    "schedule": "constant",
    "weight_decay": 1e-4,
    "batch_size": 16,
    "label_smoothing": 0.0,
    "class_weight": "none",
    "epochs": 12,
}
UNFROZEN = GOOD | {"trained": "all", "augment": "flip", "backbone_lr_factor": 0.1, "epochs": 3}
SCRATCH = {k: v for k, v in GOOD.items() if k != "image_size"} | {
    "network": "test_resnet",
    "augment": "flip",
    "class_weight": "balanced",
    "schedule": "cosine",
}
LITE0 = Space(networks=("tf_efficientnet_lite0",), max_image_size=64)


def run(objective, params=GOOD, pruner=None):
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
        pruner=pruner or optuna.pruners.NopPruner(),
    )
    study.enqueue_trial(params)
    study.optimize(objective, n_trials=1)
    return study.trials[0]

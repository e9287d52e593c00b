"""Compare MetaLLMiX with TPE on scikit-learn's digits, after searches on three other data sets.

    python3 run.py compare               # sets everything up first
    python examples/compare_with_tpe.py --llm ollama:qwen3:8b

A support vector machine is tuned on scikit-learn's own data sets: wine, breast cancer and iris are
the past, the handwritten digits are new. Both samplers have the same budget and objective, and
several seeds, because a single seed says little. The example takes about a minute, and writes
`compare.db` and a figure in `compare.html`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.samplers import TPESampler
from sklearn import datasets
from sklearn.model_selection import StratifiedKFold
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import compare


PAST = {
    "wine": datasets.load_wine,
    "breast-cancer": datasets.load_breast_cancer,
    "iris": datasets.load_iris,
}
Load = Callable[..., tuple[np.ndarray, np.ndarray]]


def main() -> None:
    """Run the missing past studies and both samplers, and print how much the past saved."""
    args = parse()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for seed, (name, load) in enumerate(PAST.items()):
        search(f"past-{name}", load, TPESampler(seed=seed), 20, args.storage)
    names = list(map("past-{}".format, PAST))
    sides: dict[str, list[optuna.Study]] = {"metallmix": [], "tpe": []}
    for seed in range(args.n_seeds):
        samplers: dict[str, BaseSampler] = {
            "metallmix": MetaLLMiXSampler(source_study_names=names, llm=args.llm, seed=seed),
            "tpe": TPESampler(seed=seed),
        }
        for side, sampler in samplers.items():
            name = f"digits-{side}-{seed}"
            study = search(name, datasets.load_digits, sampler, args.n_trials, args.storage)
            sides[side].append(study)
    comparison = compare(sides)
    print(f"{comparison.to_markdown()}\n\n{comparison}")
    page = Path("compare.html")
    comparison.plot().write_html(page)
    command = os.path.relpath(Path(sys.executable).with_name("optuna-dashboard"))
    print(f"\nFigure: {page.resolve()}\nDashboard: {command} {args.storage}")
    print(f"then open http://127.0.0.1:8080{comparison.dashboard_path}")


def search(
    name: str, load: Load, sampler: BaseSampler, n_trials: int, storage: str
) -> optuna.Study:
    """Run a study, or resume it if an earlier run of this example was interrupted."""
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        sampler=sampler,
        direction="maximize",
        load_if_exists=True,
    )
    missing = n_trials - len(study.trials)
    if missing > 0:
        study.optimize(make_objective(load), n_trials=missing)
        print(f"{name}: {study.best_value:.4f} after {n_trials} trials", flush=True)
    return study


def make_objective(load: Load) -> Callable[[optuna.Trial], float]:
    """Return an objective: a classifier's cross-validated accuracy in [0, 1], to maximize."""
    features, labels = load(return_X_y=True)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)

    def objective(trial: optuna.Trial) -> float:
        classifier = SVC(
            C=trial.suggest_float("C", 1e-3, 1e3, log=True),
            gamma=trial.suggest_float("gamma", 1e-6, 1e1, log=True),
            class_weight=trial.suggest_categorical("class_weight", [None, "balanced"]),
        )
        model = make_pipeline(StandardScaler(), classifier)
        return float(cross_val_score(model, features, labels, cv=folds).mean())

    return objective


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare MetaLLMiX with TPE over several seeds.")
    parser.add_argument("--n-trials", type=int, default=15)
    parser.add_argument("--n-seeds", type=int, default=3)
    parser.add_argument("--storage", default="sqlite:///compare.db")
    parser.add_argument("--llm", help='for example "ollama:qwen3:8b" (default: as in the sampler)')
    return parser.parse_args()


if __name__ == "__main__":
    main()

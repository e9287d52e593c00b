"""Compare MetaLLMiX with TPE on handwritten digits, after the shipped medical studies.

    python3 run.py demo                  # sets everything up first
    python examples/demo.py --llm ollama:qwen3:8b

The past is eight studies on medical images, shipped in `studies/medical.jsonl`, none of which has
seen the new task. Both samplers have the same budget and objective. Writes `demo.db`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import torch
from optuna_dashboard import get_note
from optuna_dashboard import save_plotly_graph_object

from image_data import load_images
from image_data import meta_features
from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import compare
from optuna_metallmix import read_record
from timm_objective import Space
from timm_objective import make_objective


ROOT = Path(__file__).resolve().parent.parent
PAST = ROOT / "studies" / "medical.jsonl"
OURS, TPE = "digits-metallmix", "digits-tpe"


def main() -> None:
    """Run the comparison and print its results."""
    args = parse()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)  # faster than two on a busy machine
    data = load_images("digits", seed=args.seed)
    described = meta_features(data, "handwriting")
    objective = make_objective(data, Space(max_image_size=96), seed=args.seed)
    ours = MetaLLMiXSampler(
        source_storage=PAST,
        meta_features=described,
        llm=args.llm,
        llm_timeout=args.llm_timeout,
        seed=args.seed,
    )
    samplers: dict[str, optuna.samplers.BaseSampler] = {
        OURS: ours,
        TPE: optuna.samplers.TPESampler(seed=args.seed),
    }
    studies = [
        search(args.storage, name, sampler, objective, args.n_trials)
        for name, sampler in samplers.items()
    ]
    print(f"\n{get_note(studies[0])}\n")
    comparison = compare(*studies)
    save_plotly_graph_object(studies[0], comparison.plot(), graph_object_id="metallmix-compare")
    print(comparison.to_markdown())
    print(source(studies[0]))
    print(f"\nDashboard: .venv/bin/optuna-dashboard {args.storage}")
    print(f"then open http://127.0.0.1:8080{comparison.dashboard_path}")


def search(
    storage: str,
    name: str,
    sampler: optuna.samplers.BaseSampler,
    objective: Callable[[optuna.Trial], float],
    n_trials: int,
) -> optuna.Study:
    """Run a new study, replacing one of the same name, and print each trial."""
    if name in optuna.get_all_study_names(storage):
        optuna.delete_study(study_name=name, storage=storage)
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        sampler=sampler,
        # The default pruner would stop half of the trials after a good start: the median is high.
        pruner=optuna.pruners.NopPruner(),
        direction="maximize",
    )
    start = time.perf_counter()

    def print_trial(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        seconds = time.perf_counter() - start
        print(f"{name} trial {trial.number:2d}: {trial.value:.4f} ({seconds:.0f} s)", flush=True)

    study.optimize(objective, n_trials=n_trials, callbacks=[print_trial])
    return study


def source(study: optuna.Study) -> str:
    """Describe where the first trial came from."""
    record = read_record(study.trials[0])
    if record is None:
        return "\nThe first trial was not suggested."
    model = record["model"] or "none, choose one with --llm"
    lines = [f"\nThe first trial's source: {record['source']} (model: {model})"]
    return "\n  ".join([*lines, *record["reasons"]])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare MetaLLMiX with TPE on a new task.")
    parser.add_argument("--n-trials", type=int, default=15)
    parser.add_argument("--storage", default="sqlite:///demo.db")
    parser.add_argument(
        "--llm",
        help='for example "ollama:qwen3:8b" or "embedded" (default: a model of a local Ollama '
        "server with at least 1.5 billion parameters, else none)",
    )
    parser.add_argument(
        "--llm-timeout",
        type=float,
        default=60.0,
        help="seconds for the language model's entire part of the suggestion (default: 60)",
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()

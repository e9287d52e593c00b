"""Compare MetaLLMiX with TPE on handwritten digits, after the shipped medical studies.

    python3 run.py demo                  # sets everything up first
    python examples/demo.py --llm ollama:qwen3:8b

The past is eight studies on medical images, shipped in `studies/medical.jsonl`. Both samplers have
the same objective, budget and seeds, and no trial is pruned. Neither task nor seeds were chosen by
their results: the digits are the only labelled images that the installed packages contain, and the
seeds are the first three. For comparison, on the benchmark's eight medical sets the best of ten
trainings is .058 above TPE's on average, from .007 below to .129 above
(`benchmarks/results/medical.md`).

Each trial trains the head of a pretrained network, on features that are computed once, as most
trials of the past did. To keep it short there are 1,000 of the 1,797 digits, and images of up to
96 pixels where the past had 128. Writes `demo.db` and `demo.png`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from tqdm import tqdm


if TYPE_CHECKING:
    from optuna import Study
    from optuna import Trial
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from image_data import ImageData
    from optuna_metallmix import Comparison

ROOT = Path(__file__).resolve().parent.parent
PAST = ROOT / "studies" / "medical.jsonl"
OURS, TPE = "MetaLLMiX", "TPE"
COLORS = {OURS: "#0072B2", TPE: "#D55E00"}  # Okabe and Ito's, for color-blind readers
N_IMAGES = 1_000
START = time.perf_counter()


def main() -> None:
    """Run both samplers with each seed, and print and draw their best values."""
    args = parse()
    say("loading torch and timm")  # a few seconds, and so inside functions
    import optuna
    import torch

    from image_data import load_images
    from optuna_metallmix import compare

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)  # faster than two on a busy machine
    images = load_images("digits", limit=N_IMAGES)
    say(f"learning from studies on eight medical image sets, then training on {N_IMAGES:,} digits")
    studies: dict[str, list[Study]] = {OURS: [], TPE: []}
    with tqdm(total=2 * args.n_seeds * args.n_trials, leave=False, disable=None) as bar:
        for seed in range(args.n_seeds):
            for name, study in run(images.split_anew(seed), seed, args, bar).items():
                studies[name].append(study)
    comparison = compare(studies)
    draw(comparison, args.picture)
    report(comparison, studies[OURS][0], args)


def say(text: str) -> None:
    """Print a line of progress with the seconds since the start."""
    tqdm.write(f"{time.perf_counter() - START:4.0f} s  {text}", file=sys.stdout)
    sys.stdout.flush()


def run(data: ImageData, seed: int, args: argparse.Namespace, bar: tqdm[Any]) -> dict[str, Study]:
    """Run both samplers on the same split of the images."""
    from optuna.samplers import TPESampler

    from image_data import meta_features
    from optuna_metallmix import MetaLLMiXSampler
    from timm_objective import Space
    from timm_objective import make_objective

    objective = make_objective(data, Space(max_image_size=96, max_epochs=16), seed=seed)
    ours = MetaLLMiXSampler(
        source_storage=PAST,
        meta_features=meta_features(data, "handwriting"),
        llm=args.llm,
        llm_timeout=args.llm_timeout,
        seed=seed,
    )
    samplers = {OURS: ours, TPE: TPESampler(seed=seed)}
    return {
        name: search(f"digits-{name}-{seed}".lower(), sampler, objective, args, bar)
        for name, sampler in samplers.items()
    }


def search(
    name: str,
    sampler: BaseSampler,
    objective: Callable[[Trial], float],
    args: argparse.Namespace,
    bar: tqdm[Any],
) -> Study:
    """Run a new study, replacing one of the same name."""
    import optuna

    def show(study: Study, trial: FrozenTrial) -> None:
        bar.update()
        if trial.number + 1 in shown(args.n_trials):
            say(f"{name}: best {study.best_value:.3f} after {trial.number + 1} of {args.n_trials}")

    bar.set_description(name)
    if name in optuna.get_all_study_names(args.storage):
        optuna.delete_study(study_name=name, storage=args.storage)
    study = optuna.create_study(
        storage=args.storage,
        study_name=name,
        sampler=sampler,
        # The default pruner would stop half of the trials after a good start: the median is high.
        pruner=optuna.pruners.NopPruner(),
        direction="maximize",
    )
    study.optimize(objective, n_trials=args.n_trials, callbacks=[show])
    return study


def shown(n_trials: int) -> list[int]:
    """Return after how many trials the best value is printed."""
    return sorted({n for n in (1, 5) if n < n_trials} | {n_trials})


def draw(comparison: Comparison, path: Path) -> None:
    """Draw the best value over trials: a thin line for each seed, a thick one for the median."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for side in comparison.sides:
        trials, color = range(1, side.n_trials + 1), COLORS[side.name]
        axes.step(trials, side.best.T, where="mid", color=color, alpha=0.3, linewidth=1)
        median = [side.after(n)[0] for n in trials]
        axes.step(trials, median, where="mid", color=color, linewidth=3, label=side.name)
    axes.set_title("Handwritten digits, after studies on eight medical image sets", loc="left")
    axes.set_xlabel("trials")
    axes.set_ylabel("best balanced accuracy so far (validation images)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#dddddd")
    figure.legend(
        title="median of all seeds (thin: each seed)", loc="outside lower center", ncols=2
    )
    figure.savefig(path, dpi=120)


def report(comparison: Comparison, study: Study, args: argparse.Namespace) -> None:
    """Print the result, the suggestion, and where to see more."""
    from optuna_dashboard import save_plotly_graph_object

    save_plotly_graph_object(study, comparison.plot(), graph_object_id="metallmix-compare")
    counts = shown(args.n_trials)
    print(f"\nBest balanced accuracy, median of {args.n_seeds} seeds, after n trials")
    for side in comparison.sides:
        values = ", ".join(f"{side.after(n)[0]:.3f} after {n}" for n in counts)
        print(f"{side.name:<9}  {values}")
    print(comparison)
    print(f"\n{suggestion(study)}")
    print(f"\nPicture: {args.picture.resolve()}")
    command = os.path.relpath(Path(sys.executable).with_name("optuna-dashboard"))
    print(f"Dashboard: {command} {args.storage}")
    print(f"then open http://127.0.0.1:8080{comparison.dashboard_path}")


def suggestion(study: Study) -> str:
    """Say in a sentence what the first trial was, and why."""
    from optuna_metallmix import read_record

    trial = study.trials[0]
    record = read_record(trial)
    if record is None or record["source"] == "base-sampler":
        return f"Nothing was suggested: {trial.user_attrs.get('metallmix:reason')}"
    names = sorted(trial.params, key=lambda name: -abs(record["effects"].get(name, 0.0)))
    values = [f"{name} {short(trial.params[name])}" for name in names[:4]]
    chosen_by = record["model"] if record["source"] == "llm" else "the meta-learner"
    sentence = (
        f"Suggestion for {study.study_name}: {', '.join(values)} and {len(names) - 4} more, "
        f"{trial.user_attrs['metallmix:why']} (chosen by {chosen_by})."
    )
    return "\n  ".join([sentence, *record["reasons"]])


def short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare MetaLLMiX with TPE on a new task.")
    parser.add_argument("--n-trials", type=int, default=15)
    parser.add_argument("--n-seeds", type=int, default=3)
    parser.add_argument("--storage", default="sqlite:///demo.db")
    parser.add_argument("--picture", type=Path, default=Path("demo.png"))
    parser.add_argument(
        "--llm",
        help='for example "ollama:qwen3:8b" or "embedded" (default: a model of a local Ollama '
        "server with at least 1.5 billion parameters, else the embedded model if installed)",
    )
    parser.add_argument(
        "--llm-timeout",
        type=float,
        default=60.0,
        help="seconds for the language model's entire part of a suggestion (default: 60)",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()

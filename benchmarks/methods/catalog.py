"""List the methods by name, with a description, which run by default, and how many trials."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.methods import baselines
from benchmarks.methods import ours
from benchmarks.methods.baselines import Method


METHODS: dict[str, tuple[Method, str]] = {
    "random": (baselines.random, "random search"),
    "tpe": (baselines.tpe, "Optuna's TPESampler"),
    "gp": (baselines.gp, "Optuna's GPSampler"),
    "auto": (baselines.auto, "OptunaHub's AutoSampler"),
    "tpe+default": (
        baselines.tpe_after_default,
        "TPE, the library's default configuration enqueued",
    ),
    "tpe+past1": (
        baselines.tpe_after_past(1),
        "TPE, the best of the past study with the nearest meta-features enqueued",
    ),
    "tpe+past5": (
        baselines.tpe_after_past(5),
        "TPE, the five nearest past studies' best enqueued",
    ),
    "tpe+best-mean-rank": (
        baselines.tpe_after_best_mean_rank,
        "TPE, the configuration with the best mean rank over all past tasks enqueued",
    ),
    "argmax": (
        baselines.tpe_after_argmax,
        f"TPE, the best predicted of {baselines.N_POOL:,} random configurations enqueued (the "
        "seconds of the prediction are not counted)",
    ),
    "ours-no-llm": (ours.ours, "MetaLLMiXSampler(llm=False)"),
    "ours+tpe": (ours.ours_then_tpe, "the same with base_sampler=TPESampler()"),
    "ours-hostile-random": (
        ours.ours_hostile(False),
        "a model that picks a random candidate",
    ),
    "ours-hostile-worst": (
        ours.ours_hostile(True),
        "a model that always picks the last candidate",
    ),
    "ours-reader": (ours.ours_reader, "a scripted model that sums the evidence in the prompt"),
    "ours-reader-permuted-shap": (
        ours.ours_reader_shuffled,
        "control: the same with shuffled effects in its prompt",
    ),
    "ours-embedded": (ours.ours_embedded, "MetaLLMiXSampler with the embedded model"),
    "ours-embedded-permuted-shap": (
        ours.ours_embedded_shuffled,
        "control: the same with shuffled effects in its prompt",
    ),
    "ours-permuted": (ours.ours_permuted, "control: past scores permuted within each study"),
    "ours-inverted": (ours.ours_inverted, "control: past scores negated"),
    "ours-unrelated": (
        ours.ours_unrelated,
        "control: past scores replaced by a random quadratic function, similar in all studies",
    ),
    "no-past": (
        ours.ours_without_past,
        "control: MetaLLMiXSampler(llm=False) without a past",
    ),
    "transfer": (ours.transfer, "TransferSampler from the first trial on"),
    **{
        f"ours-{n}-{'study' if n == 1 else 'studies'}": (
            ours.ours_with_studies(n),
            f"a past of {n} random studies" if n > 1 else "a past of one random study",
        )
        for n in (1, 3, 10, 30)
    },
    **{
        f"ours-{n}-trials": (ours.ours_with_trials(n), f"a past of {n} random trials per study")
        for n in (10, 30, 100)
    },
}
SIZES = tuple(name for name in METHODS if name.endswith(("-study", "-studies", "-trials")))
ON_REQUEST = ("auto", "transfer", "ours-embedded", "ours-embedded-permuted-shap", *SIZES)
"""Run only if requested: they need a network, 30 s per suggestion, or an hour in total."""
USUAL = tuple(name for name in METHODS if name not in ON_REQUEST)
QUICK = ("random", "tpe", "tpe+past1", "ours-no-llm", "ours-hostile-worst")

_MODELS = tuple(
    name for name in METHODS if name.startswith(("ours-hostile", "ours-reader", "ours-embedded"))
)
TRIALS: Mapping[str, int] = {
    **dict.fromkeys(("ours-permuted", "ours-inverted", "ours-unrelated"), 25),
    **dict.fromkeys((*_MODELS, *SIZES), 10),
}
"""Their bars are at early trials, or they differ in the first trial only."""

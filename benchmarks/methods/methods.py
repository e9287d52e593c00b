"""a method's name -> what it is, whether it is run unless others are asked for, and how long."""

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
        "TPE, the best of the nearest past study by meta-features enqueued",
    ),
    "tpe+past5": (
        baselines.tpe_after_past(5),
        "TPE, the five nearest past studies' best enqueued",
    ),
    "tpe+best-mean-rank": (
        baselines.tpe_after_best_mean_rank,
        "TPE, the configuration of best mean rank over all past tasks enqueued",
    ),
    "argmax": (
        baselines.tpe_after_argmax,
        f"TPE, what the meta-learner expects most of, of {baselines.N_POOL:,} random "
        "configurations, enqueued (its seconds are not counted)",
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
    "ours-reader": (ours.ours_reader, "a scripted model that adds up the prompt's evidence"),
    "ours-reader-permuted-shap": (
        ours.ours_reader_shuffled,
        "control: the same, the effects in its prompt shuffled",
    ),
    "ours-embedded": (ours.ours_embedded, "MetaLLMiXSampler with the embedded model"),
    "ours-embedded-permuted-shap": (
        ours.ours_embedded_shuffled,
        "control: the same, the effects in its prompt shuffled",
    ),
    "ours-permuted": (ours.ours_permuted, "control: past scores shuffled inside each study"),
    "ours-inverted": (ours.ours_inverted, "control: past scores with their signs turned"),
    "ours-unrelated": (
        ours.ours_unrelated,
        "control: a past whose scores are a random bowl's, much the same in all studies",
    ),
    "no-past": (
        ours.ours_without_past,
        "control: MetaLLMiXSampler(llm=False) without a past",
    ),
    "transfer": (ours.transfer, "TransferSampler alone, from the first trial on"),
    **{
        f"ours-{n}-{'study' if n == 1 else 'studies'}": (
            ours.ours_with_studies(n),
            f"a past of {n} random studies" if n > 1 else "a past of one random study",
        )
        for n in (1, 3, 10, 30)
    },
    **{
        f"ours-{n}-trials": (ours.ours_with_trials(n), f"a past of {n} random trials a study")
        for n in (10, 30, 100)
    },
}
SIZES = tuple(name for name in METHODS if name.endswith(("-study", "-studies", "-trials")))
ON_REQUEST = ("auto", "transfer", "ours-embedded", "ours-embedded-permuted-shap", *SIZES)
"""Left out unless asked for: a network is needed, half a minute a suggestion, or an hour more."""
USUAL = tuple(name for name in METHODS if name not in ON_REQUEST)
QUICK = ("random", "tpe", "tpe+past1", "ours-no-llm", "ours-hostile-worst")

_MODELS = tuple(
    name for name in METHODS if name.startswith(("ours-hostile", "ours-reader", "ours-embedded"))
)
TRIALS: Mapping[str, int] = {
    **dict.fromkeys(("ours-permuted", "ours-inverted", "ours-unrelated"), 25),
    **dict.fromkeys((*_MODELS, *SIZES), 10),
}
"""A bar looks no further at these, or they differ in the first trial only."""


def describe() -> Mapping[str, str]:
    """Return what each method is, in words."""
    return {name: text for name, (_, text) in METHODS.items()}

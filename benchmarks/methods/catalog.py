"""List the methods by name, with a description, which run by default, and how many trials."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.methods import baselines
from benchmarks.methods import ours
from benchmarks.methods.baselines import Method
from benchmarks.tasks.scenarios import COMPARED
from benchmarks.tasks.scenarios import CONTROLS
from benchmarks.tasks.scenarios import FLAWED
from benchmarks.tasks.scenarios import OTHER_SIZES
from benchmarks.tasks.scenarios import SCENARIOS
from benchmarks.tasks.scenarios import in_scenario


OURS, RIVAL = "ours-no-llm", "past-bests"
"""The methods compared in every scenario."""
METHODS: dict[str, tuple[Method, str]] = {
    "random": (baselines.random, "random search"),
    "tpe": (baselines.tpe, "Optuna's TPESampler"),
    "gp": (baselines.gp, "Optuna's GPSampler"),
    "auto": (baselines.auto, "OptunaHub's AutoSampler"),
    "tpe+default": (
        baselines.tpe_after_default,
        "TPE, the library's default configuration enqueued",
    ),
    "past-bests": (
        baselines.past_bests,
        f"TPE, the bests of up to {baselines.N_BESTS} past studies enqueued, nearest "
        "meta-features first, in random order if these are unknown",
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
    "meta-learn-tpe": (baselines.meta_learn_tpe, "OptunaHub's MetaLearnTPESampler"),
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
    "no-past": (
        ours.ours_without_past,
        "control: MetaLLMiXSampler(llm=False) without a past",
    ),
    "transfer": (ours.transfer, "TransferSampler from the first trial on"),
}
WITH_PAST = (
    "past-bests",
    "argmax",
    "meta-learn-tpe",
    "transfer",
    *(name for name in METHODS if name.startswith("ours")),
)
"""They read the past of a scenario; the others use none, or that of all tasks."""
NAMES: Mapping[str, str] = {
    in_scenario(name, scenario): kind.text if scenario else text
    for name, (_, text) in METHODS.items()
    for scenario, kind in SCENARIOS.items()
    if not scenario or name in WITH_PAST
}
"""The names of all methods with a description, each followed by those in its scenarios."""

_COMPARED = tuple(
    in_scenario(name, scenario)
    for name in (OURS, RIVAL)
    for scenario in (*COMPARED, *FLAWED)
    if scenario
)
_CONTROLS = tuple(in_scenario(OURS, scenario) for scenario in CONTROLS)
ON_REQUEST = (
    "auto",
    "meta-learn-tpe",
    "transfer",
    "ours-embedded",
    "ours-embedded-permuted-shap",
)
"""Run only if requested: they need a network, or 30 s per suggestion."""
USUAL = (*(name for name in METHODS if name not in ON_REQUEST), *_COMPARED, *_CONTROLS)
QUICK = (
    "random",
    "tpe",
    "past-bests",
    "ours-no-llm",
    "ours-hostile-worst",
    "past-bests@tpe-1",
    "ours-no-llm@tpe-1",
)

_MODELS = tuple(
    name for name in METHODS if name.startswith(("ours-hostile", "ours-reader", "ours-embedded"))
)
_SIZES = tuple(in_scenario(OURS, scenario) for scenario in OTHER_SIZES)
TRIALS: Mapping[str, int] = {
    **dict.fromkeys(_CONTROLS, 25),
    **dict.fromkeys((*_MODELS, *_SIZES), 10),
}
"""Their bars are at early trials, or they differ in the first trial only."""
SEEDS: Mapping[str, int] = dict.fromkeys(_COMPARED, 3)
"""There are many of them."""

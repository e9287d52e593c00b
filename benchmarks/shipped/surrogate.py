"""Search the tasks of the family `xgboost`, a surrogate made by others, with the shipped past."""

from __future__ import annotations

from functools import cache

from benchmarks.families import xgboost
from benchmarks.families.search import Searches
from benchmarks.families.search import trace
from benchmarks.methods.baselines import Search
from benchmarks.tasks.family import Options
from benchmarks.tasks.family import Step
from benchmarks.tasks.family import seed_of
from optuna_metallmix import MetaLLMiXSampler


SURROGATE = "surrogate"
"""What the names of its tasks begin with."""
ALIASES = {"n_estimators": "nrounds"}
"""R's name; the sampler knows the others."""


@cache
def searches() -> Searches:
    """Return the tasks and the space of the family."""
    return xgboost.searches(Options())


def run(name: str, seed: int, n_trials: int) -> list[Step]:
    """Search a task, whose meta-features are not known, with XGBoost's shipped past."""
    task = searches().tasks[name.partition("/")[2]]
    sampler = MetaLLMiXSampler(
        source_storage="shipped:xgboost",
        aliases=ALIASES,
        llm=False,
        seed=seed_of("xgboost", task.name, seed, "ours"),
    )
    return trace(task, searches().space, Search(sampler), n_trials)

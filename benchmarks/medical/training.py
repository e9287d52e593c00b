"""Run a search or a single pick on a held-out image set.

Every repetition has its own split; the past was recorded with split 0 on other sets. Selection
uses the validation images only; each training is scored once on the test images.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial

from benchmarks.medical.jobs import Bench
from benchmarks.medical.jobs import Job
from benchmarks.medical.jobs import Training
from benchmarks.medical.jobs import described
from benchmarks.medical.jobs import objective_of
from benchmarks.medical.jobs import seed_of_job
from benchmarks.medical.jobs import study_of
from benchmarks.medical.picks import pick
from benchmarks.tasks.family import SkippedError
from benchmarks.tasks.family import code_of_library
from optuna_metallmix import EmbeddedLLM
from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record
from optuna_metallmix.llm import is_embedded_installed
from shipped_table import complete
from timm_objective import Space


def run(bench: Bench, job: Job) -> list[Training]:
    """Search or pick, and train.

    Raises:
        SkippedError: The method cannot be run on this machine.
    """
    import torch

    torch.set_num_threads(1)  # there is a worker for each core
    if job.method == "random" and job.seed == 0:
        return _recorded(bench, job)
    make_sampler = SAMPLERS.get(job.method.partition(":")[0])  # "ours:ollama:qwen3:8b"
    sampler = make_sampler(bench, job) if make_sampler else None
    study = optuna.create_study(
        direction="maximize",
        sampler=sampler or RandomSampler(seed=seed_of_job(job)),
        pruner=optuna.pruners.NopPruner(),
    )
    start = time.perf_counter()
    if sampler is None:
        study.enqueue_trial(pick(bench, job))
    pick_seconds = time.perf_counter() - start
    return list(_trials(study, bench, job, pick_seconds))


def _trials(
    study: optuna.Study, bench: Bench, job: Job, pick_seconds: float
) -> Iterator[Training]:
    objective, space = objective_of(bench, job.task, job.seed), Space(**bench.recipe.space)
    for _ in range(job.n_trials):
        start = time.perf_counter()
        trial = study.ask()
        space.suggest(trial)
        response = time.perf_counter() - start + pick_seconds
        study.tell(trial, objective(trial))
        record = read_record(study.trials[-1])
        yield _trained(job, study.trials[-1], response, record["source"] if record else "")


def _trained(job: Job, trial: FrozenTrial, response: float, source: str) -> Training:
    assert trial.value is not None
    attrs = trial.user_attrs
    return Training(
        job.task,
        job.seed,
        job.method,
        int(attrs.get("number", trial.number)) + 1,
        trial.value,
        attrs["test_accuracy"],
        attrs["test_balanced_accuracy"],
        attrs["test_macro_auc"],
        attrs["seconds"],
        round(response, 3),
        source,
        json.dumps(_kept(job, trial.params)),
        code_of_library(),
    )


def _kept(job: Job, params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters to keep; of searches, those that identify a frozen network."""
    if job.method not in ("random", "tpe"):
        return params
    return {name: params[name] for name in ("network", "image_size") if name in params}


def _recorded(bench: Bench, job: Job) -> list[Training]:
    """Return the set's recorded study: a random search with the same split and weights."""
    trials = complete(study_of(bench, job.task))[: job.n_trials]
    if len(trials) < job.n_trials:
        raise SkippedError(f"{bench.past.name} has {len(trials)} trials of {job.task}")
    return [_trained(job, trial, 0.0, "") for trial in trials]


def _ours(bench: Bench, job: Job, llm: Any) -> MetaLLMiXSampler:
    return MetaLLMiXSampler(
        source_storage=str(bench.past),
        source_study_names=bench.others(job.task),
        meta_features=described(bench, job.task, job.seed),
        llm=llm,
        llm_timeout=None,
        seed=seed_of_job(job),
    )


def _ours_with_model(bench: Bench, job: Job) -> MetaLLMiXSampler:
    if bench.llm is None and not is_embedded_installed():
        raise SkippedError("the embedded model is not installed")
    return _ours(bench, job, bench.llm or EmbeddedLLM())


SAMPLERS: dict[str, Callable[[Bench, Job], optuna.samplers.BaseSampler]] = {
    "random": lambda bench, job: RandomSampler(seed=seed_of_job(job)),
    "tpe": lambda bench, job: TPESampler(seed=seed_of_job(job)),
    "ours": _ours_with_model,
    "meta-learner": lambda bench, job: _ours(bench, job, False),
}

"""an image set that is held out -> trainings: searches, and the first picks of each method.

Every repetition has a split of its own; what is learned from the past was recorded with split 0
on other sets. Selection is by the validation images, and the test images are looked at once a
training, by nobody who selects.
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

from benchmarks.families.family import SkippedError
from benchmarks.families.family import code_of_library
from benchmarks.medical.picks import pick
from benchmarks.medical.world import Bench
from benchmarks.medical.world import Job
from benchmarks.medical.world import Trained
from benchmarks.medical.world import described
from benchmarks.medical.world import objective_of
from benchmarks.medical.world import seed_of_job
from benchmarks.medical.world import study_of
from optuna_metallmix import EmbeddedLLM
from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import read_record
from optuna_metallmix.llm import is_embedded_installed
from shipped_table import complete
from timm_objective import Space


def run(bench: Bench, job: Job) -> list[Trained]:
    """Search or pick, and train.

    Raises:
        SkippedError: The method cannot be run here.
    """
    import torch

    torch.set_num_threads(1)  # as many workers as cores
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
    picked = time.perf_counter() - start
    return list(_trials(study, bench, job, picked))


def _trials(study: optuna.Study, bench: Bench, job: Job, picked: float) -> Iterator[Trained]:
    objective, space = objective_of(bench, job.task, job.seed), Space(**bench.recipe.space)
    for _ in range(job.n_trials):
        start = time.perf_counter()
        trial = study.ask()
        space.suggest(trial)
        response = time.perf_counter() - start + picked
        study.tell(trial, objective(trial))
        record = read_record(study.trials[-1])
        yield _trained(job, study.trials[-1], response, record["source"] if record else "")


def _trained(job: Job, trial: FrozenTrial, response: float, source: str) -> Trained:
    assert trial.value is not None
    said = trial.user_attrs
    return Trained(
        job.task,
        job.seed,
        job.method,
        int(said.get("number", trial.number)) + 1,
        trial.value,
        said["test_accuracy"],
        said["test_balanced_accuracy"],
        said["test_macro_auc"],
        said["seconds"],
        round(response, 3),
        source,
        json.dumps(_kept(job, trial.params)),
        code_of_library(),
    )


def _kept(job: Job, params: dict[str, Any]) -> dict[str, Any]:
    """Of searches what tells whether a network was frozen; the whole would be most of the file."""
    if job.method not in ("random", "tpe"):
        return params
    return {name: params[name] for name in ("network", "image_size") if name in params}


def _recorded(bench: Bench, job: Job) -> list[Trained]:
    """The set's own study is a random search with this split and these weights."""
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

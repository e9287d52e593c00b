"""a setting -> a search by this library, and the controls that tell what makes it good."""

from __future__ import annotations

from typing import Any

import numpy as np
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage

from benchmarks.families.family import SkippedError
from benchmarks.families.family import seed_of
from benchmarks.families.unrelated import unrelated
from benchmarks.methods.baselines import Method
from benchmarks.methods.baselines import Search
from benchmarks.methods.baselines import Setting
from benchmarks.methods.hostile import HostileLLM
from benchmarks.methods.reader import ReaderLLM
from benchmarks.methods.reader import ShuffledEvidence
from benchmarks.methods.scripted import N_ATTEMPTS
from optuna_metallmix import EmbeddedLLM
from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import TransferSampler
from optuna_metallmix.llm import is_embedded_installed


def ours(setting: Setting) -> Search:
    """The sampler of this library without a language model."""
    return Search(_sampler(setting))


def ours_then_tpe(setting: Setting) -> Search:
    """Only the first trial is the library's."""
    return Search(_sampler(setting, base_sampler=TPESampler(seed=setting.seed)))


def ours_without_past(setting: Setting) -> Search:
    """The library's sampler beside a storage with nothing in it."""
    return Search(_sampler(setting, source_storage=InMemoryStorage(), source_study_names=None))


def ours_permuted(setting: Setting) -> Search:
    """A past with nothing to learn."""
    return Search(_sampler(setting, source_storage=setting.past.permuted))


def ours_inverted(setting: Setting) -> Search:
    """A past where everything learned is wrong."""
    return Search(_sampler(setting, source_storage=setting.past.inverted))


def ours_unrelated(setting: Setting) -> Search:
    """A past where everything learned is right, and of something else."""
    return Search(_sampler(setting, source_storage=unrelated(setting.past, setting.seed)))


def ours_with_studies(n: int) -> Method:
    """A past of ``n`` studies, at random."""

    def search(setting: Setting) -> Search:
        if n > len(setting.others):
            raise SkippedError(f"there are only {len(setting.others)} past studies")
        rng = np.random.default_rng(seed_of("studies", setting.seed))
        names = rng.permutation(setting.others)[:n].tolist()  # the larger past has the smaller
        return Search(_sampler(setting, source_study_names=names))

    return search


def ours_with_trials(n: int) -> Method:
    """A past of ``n`` trials a study."""
    return lambda setting: Search(_sampler(setting, source_storage=setting.past_with(n).storage))


def ours_hostile(worst: bool) -> Method:
    """A language model that means harm."""

    def search(setting: Setting) -> Search:
        llm = HostileLLM(worst=worst, seed=setting.seed)
        return Search(_sampler(setting, llm=llm, n_attempts=N_ATTEMPTS))

    return search


def ours_reader(setting: Setting) -> Search:
    """A language model that reads the evidence and nothing else."""
    return Search(_sampler(setting, llm=ReaderLLM(), n_attempts=N_ATTEMPTS))


def ours_reader_shuffled(setting: Setting) -> Search:
    """The same, its evidence shuffled."""
    llm = ShuffledEvidence(ReaderLLM(), setting.seed)
    return Search(_sampler(setting, llm=llm, n_attempts=N_ATTEMPTS))


def ours_embedded(setting: Setting) -> Search:
    """The model from a package registry."""
    return Search(_sampler(setting, llm=_embedded()))


def ours_embedded_shuffled(setting: Setting) -> Search:
    """The same, its evidence shuffled."""
    return Search(_sampler(setting, llm=ShuffledEvidence(_embedded(), setting.seed)))


def transfer(setting: Setting) -> Search:
    """What makes trials 2 to n, from the first trial on."""
    storage, names = setting.past.storage, list(setting.others)
    return Search(
        TransferSampler(source_storage=storage, source_study_names=names, seed=setting.seed)
    )


def _embedded() -> EmbeddedLLM:
    if not is_embedded_installed():
        raise SkippedError("the embedded model is not installed")
    return EmbeddedLLM()


def _sampler(setting: Setting, **options: Any) -> MetaLLMiXSampler:
    usual: dict[str, Any] = {
        "source_storage": setting.past.storage,
        "source_study_names": list(setting.others),
        "meta_features": setting.task.attributes,
        "llm": False,
        "seed": setting.seed,
    }
    return MetaLLMiXSampler(**{**usual, **options})

"""Define the searches by this library, and the controls that show what its results depend on."""

from __future__ import annotations

from typing import Any

from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage

from benchmarks.methods.baselines import Method
from benchmarks.methods.baselines import Search
from benchmarks.methods.baselines import Setting
from benchmarks.methods.hostile import HostileLLM
from benchmarks.methods.reader import ReaderLLM
from benchmarks.methods.reader import ShuffledEvidence
from benchmarks.methods.scripted import N_ATTEMPTS
from benchmarks.tasks.family import SkippedError
from optuna_metallmix import EmbeddedLLM
from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix import TransferSampler
from optuna_metallmix.llm import is_embedded_installed


def ours(setting: Setting) -> Search:
    """Return this library's sampler without a language model."""
    return Search(_sampler(setting))


def ours_then_tpe(setting: Setting) -> Search:
    """Return the same sampler with TPE from the second trial on."""
    return Search(_sampler(setting, base_sampler=TPESampler(seed=setting.seed)))


def ours_without_past(setting: Setting) -> Search:
    """Return the same sampler with an empty past."""
    return Search(_sampler(setting, source_storage=InMemoryStorage(), source_study_names=None))


def ours_hostile(worst: bool) -> Method:
    """Use a language model that makes bad choices on purpose."""

    def search(setting: Setting) -> Search:
        llm = HostileLLM(worst=worst, seed=setting.seed)
        return Search(_sampler(setting, llm=llm, n_attempts=N_ATTEMPTS))

    return search


def ours_reader(setting: Setting) -> Search:
    """Use a scripted model that reads the evidence only."""
    return Search(_sampler(setting, llm=ReaderLLM(), n_attempts=N_ATTEMPTS))


def ours_reader_shuffled(setting: Setting) -> Search:
    """Use the scripted reader with shuffled evidence."""
    llm = ShuffledEvidence(ReaderLLM(), setting.seed)
    return Search(_sampler(setting, llm=llm, n_attempts=N_ATTEMPTS))


def ours_embedded(setting: Setting) -> Search:
    """Use the embedded language model."""
    return Search(_sampler(setting, llm=_embedded()))


def ours_embedded_shuffled(setting: Setting) -> Search:
    """Use the embedded language model with shuffled evidence."""
    return Search(_sampler(setting, llm=ShuffledEvidence(_embedded(), setting.seed)))


def transfer(setting: Setting) -> Search:
    """Return the sampler of the later trials, used from the first trial on."""
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
        "llm_timeout": None,  # searches share the processor
        "seed": setting.seed,
    }
    return MetaLLMiXSampler(**{**usual, **options})

"""a method's name -> the Optuna sampler and first trials that it is."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import TypeAlias

from optuna.samplers import BaseSampler
from optuna.samplers import GPSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage

from benchmarks._family import SkippedError
from benchmarks._hostile import N_ATTEMPTS
from benchmarks._hostile import HostileLLM
from benchmarks._past import Config
from benchmarks._past import Past
from benchmarks._past import Task
from optuna_metallmix import EmbeddedLLM
from optuna_metallmix import MetaLLMiXSampler
from optuna_metallmix.llm import is_embedded_installed


@dataclass(frozen=True)
class Setting:
    """What a method may use.

    Attributes:
        task: The task left out.
        seed: The search's own seed.
        past: The past of all tasks.
        others: The names of the tasks whose past may be read.
        default: What people who know nothing start from.
        best: Past studies' best configurations, the nearest study's first.
        best_mean_rank: The configuration that was best over all past tasks; costly, so asked for.
    """

    task: Task
    seed: int
    past: Past
    others: Sequence[str]
    default: Config
    best: Callable[[], Sequence[Config]]
    best_mean_rank: Callable[[], Config]


@dataclass(frozen=True)
class Search:
    """A sampler and the configurations that are tried before it is asked."""

    sampler: BaseSampler
    first: Sequence[Config] = ()


Method: TypeAlias = Callable[[Setting], Search]


def random(setting: Setting) -> Search:
    """Draw at random."""
    return Search(RandomSampler(seed=setting.seed))


def tpe(setting: Setting) -> Search:
    """Optuna's default."""
    return Search(TPESampler(seed=setting.seed))


def gp(setting: Setting) -> Search:
    """Optuna's Gaussian process."""
    _need_torch()
    return Search(GPSampler(seed=setting.seed))


def auto(setting: Setting) -> Search:
    """OptunaHub's AutoSampler, where it can be had."""
    import optunahub

    _need_torch()
    try:
        module = optunahub.load_module("samplers/auto_sampler")
    except Exception as error:  # it is other people's code, fetched through a network
        raise SkippedError(f"OptunaHub's AutoSampler cannot be had here: {error}") from error
    return Search(module.AutoSampler(seed=setting.seed))


def tpe_after_default(setting: Setting) -> Search:
    """TPE after the default of the library that trains."""
    return Search(TPESampler(seed=setting.seed), [setting.default])


def tpe_after_past(n: int) -> Method:
    """TPE after ``n`` past studies' best configurations."""
    return lambda setting: Search(TPESampler(seed=setting.seed), setting.best()[:n])


def tpe_after_best_mean_rank(setting: Setting) -> Search:
    """TPE after the best configuration over all past tasks."""
    return Search(TPESampler(seed=setting.seed), [setting.best_mean_rank()])


def ours(storage: str = "storage", **options: Any) -> Method:
    """The sampler of this library without a language model."""
    return lambda setting: Search(_sampler(setting, storage, llm=False, **options))


def ours_then_tpe(setting: Setting) -> Search:
    """Only the first trial is the library's."""
    base = TPESampler(seed=setting.seed)
    return Search(_sampler(setting, "storage", llm=False, base_sampler=base))


def ours_without_past(setting: Setting) -> Search:
    """The library's sampler beside a storage with nothing in it."""
    source = InMemoryStorage()
    return Search(MetaLLMiXSampler(source_storage=source, llm=False, seed=setting.seed))


def ours_hostile(worst: bool) -> Method:
    """The library's sampler with a language model that means harm."""
    return lambda setting: Search(
        _sampler(
            setting,
            "storage",
            llm=HostileLLM(worst=worst, seed=setting.seed),
            n_attempts=N_ATTEMPTS,
        )
    )


def ours_embedded(setting: Setting) -> Search:
    """The library's sampler with the model from a package registry."""
    if not is_embedded_installed():
        raise SkippedError("the embedded model is not installed")
    return Search(_sampler(setting, "storage", llm=EmbeddedLLM()))


def transfer(with_past: bool) -> Method:
    """What makes trials 2 to n, from the first trial on."""

    def search(setting: Setting) -> Search:
        try:
            from optuna_metallmix._transfer import TransferSampler as Found
        except ImportError as error:
            raise SkippedError("the library has no TransferSampler yet") from error
        past: dict[str, Any] = {"source_storage": InMemoryStorage()}
        if with_past:
            past = {
                "source_storage": setting.past.storage,
                "source_study_names": list(setting.others),
            }
        return Search(Found(**past, seed=setting.seed))

    return search


METHODS: dict[str, tuple[Method, str]] = {
    "random": (random, "random search"),
    "tpe": (tpe, "Optuna's TPESampler"),
    "gp": (gp, "Optuna's GPSampler"),
    "auto": (auto, "OptunaHub's AutoSampler"),
    "tpe+default": (tpe_after_default, "TPE, the library's default configuration enqueued"),
    "tpe+past1": (tpe_after_past(1), "TPE, the nearest past study's best enqueued"),
    "tpe+past5": (tpe_after_past(5), "TPE, the five nearest past studies' best enqueued"),
    "tpe+best-mean-rank": (
        tpe_after_best_mean_rank,
        "TPE, the configuration of best mean rank over all past tasks enqueued",
    ),
    "ours-no-llm": (ours(), "MetaLLMiXSampler(llm=False)"),
    "ours+tpe": (ours_then_tpe, "the same with base_sampler=TPESampler()"),
    "ours-hostile-random": (ours_hostile(False), "a model that picks a random candidate"),
    "ours-hostile-worst": (ours_hostile(True), "a model that always picks the last candidate"),
    "ours-permuted": (ours("permuted"), "control: past scores shuffled inside each study"),
    "ours-inverted": (ours("inverted"), "control: past scores with their signs turned"),
    "no-past": (ours_without_past, "control: MetaLLMiXSampler(llm=False) without a past"),
    "transfer": (transfer(True), "TransferSampler alone, from the first trial on"),
    "transfer-no-past": (transfer(False), "control: TransferSampler without a past"),
    "ours-embedded": (ours_embedded, "MetaLLMiXSampler with the embedded model"),
}
ON_REQUEST = ("auto", "ours-embedded")
"""Left out unless asked for: one needs a network, one takes half a minute a suggestion."""
USUAL = tuple(name for name in METHODS if name not in ON_REQUEST)
QUICK = ("random", "tpe", "tpe+past1", "ours-no-llm", "ours-hostile-worst")


def describe() -> Mapping[str, str]:
    """Return what each method is, in words."""
    return {name: text for name, (_, text) in METHODS.items()}


def _sampler(setting: Setting, storage: str, **options: Any) -> MetaLLMiXSampler:
    return MetaLLMiXSampler(
        source_storage=getattr(setting.past, storage),
        source_study_names=list(setting.others),
        meta_features=setting.task.attributes,
        seed=setting.seed,
        **options,
    )


def _need_torch() -> None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise SkippedError("GPSampler needs torch, which is not installed") from error

"""Check the arguments of the samplers when they are passed, so that errors appear early."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history import MetaFeatures
from optuna_metallmix.history import Source
from optuna_metallmix.history import check_aliases
from optuna_metallmix.history import open_source
from optuna_metallmix.history import read_history
from optuna_metallmix.history import rename_study
from optuna_metallmix.history import scalar_features
from optuna_metallmix.history import study_names
from optuna_metallmix.llm import LLMSpec
from optuna_metallmix.llm import check_spec
from optuna_metallmix.llm import resolve_llm
from optuna_metallmix.prompt import DEFAULT_VARIANT
from optuna_metallmix.prompt import variant_named
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.text import MAX_CELL
from optuna_metallmix.text import cut_middle


if TYPE_CHECKING:
    from optuna_metallmix.optuna_access import ArtifactStore


DEFAULT_TIMEOUT = 60.0
"""Seconds for the model's entire part of a suggestion."""


@dataclass(frozen=True)
class Settings:
    """The checked arguments of a suggestion; see :class:`MetaLLMiXSampler`.

    Arguments that are converted when they are checked have a function below.

    Raises:
        LLMError, TypeError, ValueError: See :class:`MetaLLMiXSampler`.
    """

    source_storage: Source | None = None
    source_study_names: tuple[str, ...] | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    search_space: SearchSpace | None = None
    meta_features: MetaFeatures = field(default_factory=dict)
    llm: LLMSpec = None
    judge: LLMSpec = None
    llm_timeout: float | None = DEFAULT_TIMEOUT
    n_attempts: int = 2
    seed: int = 0
    cost_aware: bool = False
    prompt: str = DEFAULT_VARIANT.name

    def __post_init__(self) -> None:
        n = self.n_attempts
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"n_attempts={n!r} must be an integer greater than or equal to 1.")
        check_timeout(self.llm_timeout)
        if not isinstance(self.cost_aware, bool):
            raise TypeError(f"cost_aware={self.cost_aware!r} must be True or False.")
        variant_named(self.prompt)
        for argument, model in (("llm", self.llm), ("judge", self.judge)):
            check_spec(model, argument)
            is_local = isinstance(model, str) and model.lower().endswith(("embedded", ".gguf"))
            if is_local or isinstance(model, os.PathLike):  # servers are not contacted yet
                resolve_llm(model, argument)


def numpy_defaults() -> np.errstate:
    """Return a context, or decorator, with NumPy's default handling of floating-point errors.

    Programs that raise on them, to find faults of their own, must not be stopped by an underflow.
    """
    return np.errstate(divide="warn", over="warn", under="ignore", invalid="warn")


def check_source(source: Source | None, names: Sequence[str] | None) -> tuple[str, ...] | None:
    """Check that the source exists and can be read; return the names of studies as a tuple.

    Whether the studies exist is checked when they are read, as without a source.

    Raises:
        HistoryError, TypeError, ValueError: See :class:`MetaLLMiXSampler`.
    """
    is_list = isinstance(names, Sequence | Set) and not isinstance(names, str)
    if names is not None and not (is_list and all(isinstance(name, str) for name in names)):
        raise TypeError(f"source_study_names={names!r} must be a list of study names.")
    if names is not None and not names:
        raise ValueError("source_study_names is empty. Name at least one study, or omit it.")
    if source is not None:
        with open_source(source) as storage:
            if names is not None:
                study_names(storage)  # raises if the storage cannot be read
    return None if names is None else tuple(names)


def check_past_names(
    source: Source | None, names: Sequence[str] | None, aliases: Mapping[str, str] | None
) -> dict[str, str]:
    """Return ``aliases`` as a dict, empty if there are none.

    Raises:
        TypeError: They do not map strings to strings.
        ValueError: A name is empty, or both a past and a present one, or a trial of the source has
            two parameters with the same present name.
    """
    checked = check_aliases(aliases)
    if source is None or not checked:
        return checked
    try:
        with open_source(source) as storage:
            history = read_history(storage, names=names)
    except HistoryError:  # logged when it is needed: the source may be readable by then
        return checked
    for study in history.studies:
        try:
            rename_study(study, checked)
        except HistoryError as error:
            raise ValueError(
                f"aliases={checked!r} cannot be used for study {study.name!r}: {error}. Correct "
                "them, or leave the study out of `source_study_names`."
            ) from error
    return checked


def check_timeout(seconds: float | None) -> None:
    """Raise ValueError if ``seconds`` is neither a positive number nor None."""
    is_number = isinstance(seconds, int | float | np.integer | np.floating)
    is_number = is_number and not isinstance(seconds, bool)
    if seconds is not None and not (is_number and 0 < seconds <= threading.TIMEOUT_MAX):
        raise ValueError(
            f"llm_timeout={seconds!r} must be a number of seconds greater than 0, or None for no "
            "limit."
        )


def check_base_sampler(sampler: BaseSampler | None) -> BaseSampler | None:
    """Return ``sampler``; raise TypeError if it is not an Optuna sampler."""
    if sampler is not None and not isinstance(sampler, BaseSampler):
        raise TypeError(f"base_sampler={sampler!r} must be an Optuna sampler.")
    return sampler


def check_store(store: ArtifactStore | None) -> ArtifactStore | None:
    """Return ``store``; raise TypeError if it is not an artifact store."""
    if store is not None and not callable(getattr(store, "write", None)):
        raise TypeError(
            f"artifact_store={store!r} must be an artifact store, such as "
            'optuna.artifacts.FileSystemArtifactStore("./artifacts").'
        )
    return store


def check_space(space: SearchSpace | None) -> SearchSpace | None:
    """Return a copy of ``space``; raise TypeError if it is not a search space."""
    if space is None:
        return None
    if not (isinstance(space, Mapping) and space) or not all(
        isinstance(name, str) and isinstance(distribution, BaseDistribution)
        for name, distribution in space.items()
    ):
        raise TypeError(
            f"search_space={space!r} must map parameter names to Optuna distributions, such as "
            '{"lr": FloatDistribution(1e-5, 1e-1, log=True)}.'
        )
    return dict(space)


def check_features(features: MetaFeatures | None) -> MetaFeatures:
    """Return ``features`` as Python scalars; raise TypeError or ValueError if they are invalid."""
    if features is None:
        return {}
    if not isinstance(features, Mapping) or not all(isinstance(name, str) for name in features):
        raise TypeError(f"meta_features={features!r} must map names to numbers or strings.")
    scalars = scalar_features(features)
    for name, value in features.items():
        if name not in scalars:
            raise ValueError(
                f"meta_features[{name!r}]={cut_middle(repr(value), MAX_CELL)} must be a finite "
                "number or a string of at most 64 characters."
            )
    return scalars


def check_seed(seed: int | None) -> int:
    """Return ``seed``, or a random one if ``None``; raise ValueError if it is not a valid seed."""
    if seed is None:
        return int(np.random.default_rng().integers(2**31))
    is_integer = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not is_integer or not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed!r} must be an integer from 0 to 2**32 - 1, or None.")
    return int(seed)

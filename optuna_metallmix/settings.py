"""what a person passes -> settings, checked at the moment they are given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history import MetaFeatures
from optuna_metallmix.history import Source
from optuna_metallmix.history import check_names
from optuna_metallmix.history import open_source
from optuna_metallmix.history import scalar_features
from optuna_metallmix.llm import LLMSpec
from optuna_metallmix.llm import check_spec
from optuna_metallmix.llm import resolve_llm
from optuna_metallmix.prompt import variant_named
from optuna_metallmix.space import SearchSpace


if TYPE_CHECKING:
    from optuna.artifacts._protocol import ArtifactStore


@dataclass(frozen=True)
class Settings:
    """What a person has said about the suggestion; see :class:`MetaLLMiXSampler`."""

    source_storage: Source | None
    source_study_names: tuple[str, ...] | None
    search_space: SearchSpace | None
    meta_features: MetaFeatures
    llm: LLMSpec
    judge: LLMSpec
    n_attempts: int
    seed: int
    cost_aware: bool
    prompt: str


def check_settings(
    *,
    source_storage: Source | None,
    source_study_names: Sequence[str] | None,
    search_space: SearchSpace | None,
    meta_features: Mapping[str, float | int | str] | None,
    llm: LLMSpec,
    judge: LLMSpec,
    n_attempts: int,
    seed: int | None,
    cost_aware: bool,
    prompt: str,
) -> Settings:
    """Check the arguments of :class:`MetaLLMiXSampler`.

    Raises:
        HistoryError, LLMError, TypeError, ValueError: See :class:`MetaLLMiXSampler`.
    """
    names = check_source(source_storage, source_study_names)
    _check_model(llm)
    _check_model(judge)
    if isinstance(n_attempts, bool) or not isinstance(n_attempts, int) or n_attempts < 1:
        raise ValueError(f"n_attempts={n_attempts!r} must be a whole number from 1.")
    if not isinstance(cost_aware, bool):
        raise TypeError(f"cost_aware={cost_aware!r} must be True or False.")
    return Settings(
        source_storage,
        names,
        _check_space(search_space),
        _check_features(meta_features),
        llm,
        judge,
        n_attempts,
        check_seed(seed),
        cost_aware,
        variant_named(prompt).name,
    )


def _names_in(storage: BaseStorage) -> list[str]:
    try:
        return [one.study_name for one in storage.get_all_studies()]
    except Exception as error:  # Other people's code and files: it may raise anything.
        raise HistoryError(
            f"source_storage cannot be read ({type(error).__name__}: {error}): check that it is "
            "there and whole."
        ) from error


def check_source(source: Source | None, names: Sequence[str] | None) -> tuple[str, ...] | None:
    """Check where the past is said to be, and return the names of its studies.

    Raises:
        HistoryError, TypeError, ValueError: See :class:`MetaLLMiXSampler`.
    """
    checked = _check_study_names(names)
    if source is not None:
        storage = open_source(source)
        if checked is not None:
            check_names(checked, _names_in(storage), storage)
    return checked


def check_base_sampler(sampler: BaseSampler | None) -> BaseSampler | None:
    """Return the sampler, or raise TypeError where it is none."""
    if sampler is not None and not isinstance(sampler, BaseSampler):
        raise TypeError(f"base_sampler={sampler!r} must be an Optuna sampler.")
    return sampler


def check_store(store: ArtifactStore | None) -> ArtifactStore | None:
    """Return the artifact store, or raise TypeError where it is none."""
    if store is not None and not callable(getattr(store, "write", None)):
        raise TypeError(
            f"artifact_store={store!r} must be an artifact store, such as "
            'optuna.artifacts.FileSystemArtifactStore("./artifacts").'
        )
    return store


def _check_model(spec: LLMSpec) -> None:
    """Look at a model file now, and at a server only when it is asked."""
    check_spec(spec)
    by_name = isinstance(spec, str) and not spec.startswith(("ollama", "openai"))
    if by_name or isinstance(spec, os.PathLike):
        resolve_llm(spec)


def _check_study_names(names: Sequence[str] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    listed = isinstance(names, Sequence | Set) and not isinstance(names, str)
    if not listed or not all(isinstance(name, str) for name in names):
        raise TypeError(f"source_study_names={names!r} must be a list of study names.")
    if not names:
        raise ValueError("source_study_names is empty: name at least one study, or leave it out.")
    return tuple(names)


def _check_space(space: SearchSpace | None) -> SearchSpace | None:
    if space is None:
        return None
    if not isinstance(space, Mapping) or not space:
        raise TypeError(
            f"search_space={space!r} must map parameter names to Optuna distributions, such as "
            '{"lr": FloatDistribution(1e-5, 1e-1, log=True)}.'
        )
    for name, distribution in space.items():
        if not isinstance(name, str) or not isinstance(distribution, BaseDistribution):
            raise TypeError(
                f"search_space[{name!r}]={distribution!r} must be an Optuna distribution, such as "
                "FloatDistribution(1e-5, 1e-1, log=True)."
            )
    return dict(space)


def _check_features(features: Mapping[str, float | int | str] | None) -> MetaFeatures:
    if features is None:
        return {}
    if not isinstance(features, Mapping) or not all(isinstance(one, str) for one in features):
        raise TypeError(f"meta_features={features!r} must map names to numbers or texts.")
    plain = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in features.items()
    }
    kept = scalar_features(plain)
    if dropped := [name for name in plain if name not in kept]:
        raise ValueError(
            f"meta_features[{dropped[0]!r}]={plain[dropped[0]]!r} must be a finite number or a "
            "text of at most 64 characters."
        )
    return kept


def check_seed(seed: int | None) -> int:
    """Return a seed, drawn where none is given; raises ValueError where it is none."""
    if seed is None:
        return int(np.random.default_rng().integers(2**31))
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed!r} must be a whole number from 0 to 2**32 - 1, or None.")
    return int(seed)

"""storage -> past studies: read only, one rank per trial, a reason for each study left out."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from threading import Lock
from typing import Any
from typing import TypeVar
from weakref import WeakKeyDictionary

from cachetools import LRUCache
from optuna import Study
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.history.meta_features import scalar_features
from optuna_metallmix.history.open_storage import Source
from optuna_metallmix.history.open_storage import open_source
from optuna_metallmix.history.rdb_reader import TrialReader
from optuna_metallmix.history.rdb_reader import trial_reader
from optuna_metallmix.history.scores import by_config
from optuna_metallmix.history.scores import ranks_of
from optuna_metallmix.history.scores import worth_of
from optuna_metallmix.optuna_access import PREFERENTIAL_ATTR
from optuna_metallmix.optuna_access import FrozenStudy
from optuna_metallmix.optuna_access import describe_storage
from optuna_metallmix.optuna_access import frozen_id
from optuna_metallmix.optuna_access import same_storage
from optuna_metallmix.optuna_access import storage_of
from optuna_metallmix.optuna_access import study_id_of
from optuna_metallmix.progress import counted
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import merge_spaces


_T = TypeVar("_T")

_SCORED: WeakKeyDictionary[BaseStorage, LRUCache[Hashable, PastStudy]] = WeakKeyDictionary()
"""By storage object, the studies scored before; see :func:`_read_study`."""
_MAX_SCORED = 1_000
_LOCK = Lock()


class _UnfitError(HistoryError):
    """Nothing can be learned from one study; the message is the reason."""


@dataclass(frozen=True)
class PastTrial:
    """One configuration that was tried.

    Attributes:
        params: Its values by name; parameters that were not active are absent.
        rank: In [0, 1]; 1 is the best of its study.
        value: The objective's value in the study's own unit; ``None`` where it failed.
        seconds: How long its longest complete run took; ``None`` where there is none, or the
            storage does not say.
    """

    params: Mapping[str, Any]
    rank: float
    value: float | None
    seconds: float | None


@dataclass(frozen=True)
class PastStudy:
    """One study of the past, best trial first.

    Attributes:
        name: The study's name.
        space: Its parameters' distributions by name.
        trials: Its trials, by falling rank.
        meta_features: The scalar user attributes of the study.
        is_target: Whether these are the earlier trials of the very study that asks.
        study_id: Its id in the storage it was read from; ``None`` where it was not read.
    """

    name: str
    space: SearchSpace
    trials: tuple[PastTrial, ...]
    meta_features: Mapping[str, float | int | str]
    is_target: bool = False
    study_id: int | None = None


@dataclass(frozen=True)
class History:
    """What the past offers.

    Attributes:
        studies: The studies something can be learned from.
        left_out: By the name of each other study, why nothing is learned from it.
        target_space: The distributions that the asking study's own trials used so far.
        tried: Those trials' configurations and values, as far as they are complete.
        is_own_storage: Whether the studies are in the asking study's own storage.
    """

    studies: tuple[PastStudy, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    target_space: SearchSpace = field(default_factory=dict)
    tried: tuple[tuple[Mapping[str, Any], float], ...] = ()
    is_own_storage: bool = False

    @property
    def n_trials(self) -> int:
        """How many past trials there are, over all studies."""
        return sum(len(study.trials) for study in self.studies)

    def sharing(self, names: Iterable[str]) -> History:
        """Keep the studies that have one of the parameters ``names``, where any study does."""
        wanted = set(names)
        kept = tuple(one for one in self.studies if one.is_target or wanted & set(one.space))
        if not any(not one.is_target for one in kept):
            return self
        reason = "none of its parameters is one that your objective asks for"
        dropped = {one.name: reason for one in self.studies if one not in kept}
        return replace(self, studies=kept, left_out={**self.left_out, **dropped})

    def with_target(self, study: PastStudy | None, trials: Sequence[FrozenTrial]) -> History:
        """Add what the asking study itself has tried; ``study`` where that can be learned from."""
        return replace(
            self,
            studies=self.studies if study is None else (*self.studies, study),
            target_space=merge_spaces(trial.distributions for trial in trials),
            tried=tuple(
                (one.params, one.values[0]) for one in trials if one.state is TrialState.COMPLETE
            ),
        )


def read_history(
    storage: BaseStorage,
    *,
    names: Sequence[str] | None = None,
    exclude: int | None = None,
) -> History:
    """Read the past studies of a storage.

    Args:
        storage: Where to read; nothing is written to it.
        names: The studies to read; all where ``None``.
        exclude: The id of a study to pass over: the one that asks.

    Raises:
        HistoryError: The storage cannot be read, or does not have one of ``names``.
    """
    found = [
        one for one in read_storage(storage, storage.get_all_studies) if frozen_id(one) != exclude
    ]
    if names is not None:
        check_names(names, [one.study_name for one in found], storage)
        found = [one for one in found if one.study_name in set(names)]
    reader = read_storage(storage, trial_reader, storage)
    studies: list[PastStudy] = []
    left_out: dict[str, str] = {}
    for one in counted(found, "Reading past studies", "study"):
        try:
            studies.append(_read_study(storage, reader, one))
        except _UnfitError as reason:
            left_out[one.study_name] = str(reason)
    return History(tuple(studies), left_out)


def _read_study(storage: BaseStorage, reader: TrialReader, study: FrozenStudy) -> PastStudy:
    """Read and score one study, unless it is as it was when that was done last."""
    if study.system_attrs.get(PREFERENTIAL_ATTR):
        raise _UnfitError("it is a preferential study: its trials have no values")
    if len(study.directions) != 1:
        n = len(study.directions)
        raise _UnfitError(f"it has {n} objectives, and so no one order of its trials")
    name, direction, key = study.study_name, study.directions[0], frozen_id(study)
    stamp = read_storage(
        storage, reader.stamp, key
    )  # before the trials: it may be older than they are
    place = (key, name, direction, stamp)
    with _LOCK:
        scored = _SCORED.setdefault(storage, LRUCache(_MAX_SCORED)).get(place)
    if scored is None:
        scored = score_study(name, direction, read_storage(storage, reader.read, key), {})
        with _LOCK:
            _SCORED[storage][place] = scored
    return replace(scored, meta_features=scalar_features(study.user_attrs), study_id=key)


def read_storage(storage: BaseStorage, call: Callable[..., _T], *args: Any, **options: Any) -> _T:
    """Call one method of a storage. Storages are other people's code and other people's files, on
    other machines: whatever one raises means that the past cannot be read."""
    try:
        return call(*args, **options)
    except Exception as error:
        raise HistoryError(
            f"The past studies in {describe_storage(storage)} cannot be read "
            f"({type(error).__name__}: {error}). Check that the storage is there and whole."
        ) from error


def check_names(
    names: Sequence[str],
    present: Sequence[str],
    storage: BaseStorage,
    argument: str = "source_study_names",
) -> None:
    """Raise :class:`HistoryError` where a study that was named by ``argument`` is not there."""
    if absent := [name for name in names if name not in present]:
        raise HistoryError(
            f"{describe_storage(storage)} has no study {', '.join(map(repr, absent))}. "
            f"It has: {', '.join(map(repr, sorted(present)[:20])) or 'no study at all'}. "
            f"Mend {argument}."
        )


def score_study(
    name: str,
    direction: StudyDirection,
    trials: Sequence[FrozenTrial],
    attributes: Mapping[str, Any],
    *,
    is_target: bool = False,
) -> PastStudy:
    """Score the trials of one study as ``_scoring.py`` says.

    Raises:
        HistoryError: Nothing can be learned from it; the message is the reason, told of "it".
    """
    sign = 1.0 if direction is StudyDirection.MAXIMIZE else -1.0
    measured = [one for one in trials if one.params and worth_of(one, sign) is not None]
    configs = by_config(measured, sign)
    _check_spread([one.worth for one in configs if one.state is TrialState.COMPLETE])
    past = [
        PastTrial(
            one.params,
            rank,
            sign * one.worth if math.isfinite(one.worth) else None,
            one.seconds,
        )
        for one, rank in zip(configs, ranks_of(configs), strict=True)
    ]
    space = merge_spaces(one.distributions for one in measured)
    ordered = tuple(sorted(past, key=lambda one: -one.rank))
    return PastStudy(name, space, ordered, scalar_features(attributes), is_target)


def _check_spread(values: Sequence[float]) -> None:
    if not values:
        raise _UnfitError("it has no complete trial with a finite value")
    if len(values) == 1:
        raise _UnfitError("it has only one complete trial, and nothing to compare it with")
    if min(values) == max(values):
        raise _UnfitError("all its complete trials have the same value")


def read_past(study: Study, source: Source | None, names: Sequence[str] | None) -> History:
    """Read the past of ``study``: from ``source``, by default from the study's own storage.

    Raises:
        HistoryError: It cannot be read, or has no study of one of ``names``.
    """
    own = storage_of(study)
    storage = own if source is None else open_source(source)
    is_own = same_storage(storage, own)
    exclude = study_id_of(study) if is_own else None
    return replace(read_history(storage, names=names, exclude=exclude), is_own_storage=is_own)

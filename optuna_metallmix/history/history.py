"""Read past studies from a storage and rank their trials.

Nothing is written to the storage. A study from which nothing can be learned is left out, with the
reason.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import lru_cache

import optuna
from cachetools import LRUCache
from cachetools import cached
from optuna import Study
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.fork_lock import ForkLock
from optuna_metallmix.history.meta_features import MetaFeatures
from optuna_metallmix.history.meta_features import scalar_features
from optuna_metallmix.history.names import rename
from optuna_metallmix.history.names import unknown_names
from optuna_metallmix.history.open_storage import Source
from optuna_metallmix.history.open_storage import open_source
from optuna_metallmix.history.rdb_reader import NOW
from optuna_metallmix.history.rdb_reader import Snapshot
from optuna_metallmix.history.rdb_reader import StudyRow
from optuna_metallmix.history.scores import PastStudy
from optuna_metallmix.history.scores import PastTrial
from optuna_metallmix.history.scores import UnusableStudyError
from optuna_metallmix.history.scores import score_study
from optuna_metallmix.history.snapshot import find_snapshot
from optuna_metallmix.history.snapshot import store_snapshot
from optuna_metallmix.history.study_reader import MAX_STUDIES
from optuna_metallmix.history.study_reader import list_studies
from optuna_metallmix.history.study_reader import read_storage
from optuna_metallmix.history.study_reader import read_studies
from optuna_metallmix.history.study_reader import reading_lock
from optuna_metallmix.history.study_reader import take_snapshot
from optuna_metallmix.optuna_access import all_trials
from optuna_metallmix.optuna_access import close_idle_connections
from optuna_metallmix.optuna_access import database_url
from optuna_metallmix.optuna_access import describe_storage
from optuna_metallmix.optuna_access import find_study
from optuna_metallmix.optuna_access import is_feasible_own
from optuna_metallmix.optuna_access import storage_of
from optuna_metallmix.optuna_access import study_id_of
from optuna_metallmix.shipped import ShippedPast
from optuna_metallmix.shipped import past_name
from optuna_metallmix.space import Config
from optuna_metallmix.space import SearchSpace
from optuna_metallmix.space import merge_spaces


_logger = optuna.logging.get_logger("optuna.metallmix")


@dataclass(frozen=True)
class History:
    """The past studies, and what the target study (being optimized) has tried so far.

    Attributes:
        studies: The usable studies.
        left_out: The reason for each study that is left out, by its name; those that are too many
            to be read, and trials of large studies, share the entry ``BEYOND_BOUNDS``.
        target_space: The distributions used by the target study's trials so far.
        tried: The configuration and value of each complete trial of the target study; the value
            is ``None`` if the trial is infeasible.
        unfinished: The trials of the target study that run or are enqueued, whose configurations
            are not to be suggested again.
        is_own_storage: Whether the past studies are in the target study's own storage.
        aliases: The present names of past parameters, by past name.
        problems: What was asked for but does not exist, a sentence each: studies and parameters.
        unrelated: Usable studies that are left out because they share no parameter.
        library: The library of a shipped past, whose parameters are known under other names, too.
    """

    studies: tuple[PastStudy, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    target_space: SearchSpace = field(default_factory=dict)
    tried: tuple[tuple[Config, float | None], ...] = ()
    unfinished: tuple[FrozenTrial, ...] = ()
    is_own_storage: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    unrelated: tuple[PastStudy, ...] = ()
    library: str | None = None

    @property
    def n_trials(self) -> int:
        """The number of past trials in all studies."""
        return sum(len(study.trials) for study in self.studies)

    @property
    def past_space(self) -> SearchSpace:
        """The search space of all usable past studies, also of unrelated ones."""
        studies = [study for study in self.studies if not study.is_target]
        return merge_spaces(study.space for study in [*studies, *self.unrelated])

    def with_aliases(self, aliases: Mapping[str, str]) -> History:
        """Rename parameters of the past studies; see :func:`check_aliases`.

        A study in which two parameters would have the same name is left out.
        """
        if not aliases:
            return self
        studies: list[PastStudy] = []
        left_out: dict[str, str] = {}
        for study in self.studies:
            try:
                studies.append(study if study.is_target else rename_study(study, aliases))
            except UnusableStudyError as error:
                left_out[study.name] = str(error)
        problems = [f"Past study {n!r} is left out: {why}." for n, why in left_out.items()][:3]
        present = {name for study in self.studies for name in study.space}
        if self.studies and (missing := unknown_names(aliases, present)):
            problems.append(
                f"`aliases` names past parameters that no past study has: {missing}. Check them."
            )
        return replace(
            self,
            studies=tuple(studies),
            left_out={**self.left_out, **left_out},
            aliases={**self.aliases, **aliases},
            problems=(*self.problems, *problems),
        )

    def of_task(self, features: MetaFeatures) -> History:
        """Leave out a shipped past's classifications for a regression, and the other way round.

        They have other parameters: a support vector machine has ``epsilon`` only in regressions.

        Args:
            features: The target's meta-features; all studies are kept if ``n_classes`` is unknown.
        """
        if self.library is None or "n_classes" not in features:
            return self
        classes = bool(features["n_classes"])
        kept = [s for s in self.studies if bool(s.meta_features["n_classes"]) is classes]
        if not kept or len(kept) == len(self.studies):
            return self
        tasks = ("classifications", "regressions")
        other, own = tasks if not classes else tasks[::-1]
        reason = f"the meta-features of this study are those of {own}"
        left_out = {**self.left_out, f"{other} of the shipped past": reason}
        return replace(self, studies=tuple(kept), left_out=left_out)

    def renamed_for(self, names: Iterable[str]) -> History:
        """Give the parameters of a shipped past the names by which an objective asks for them.

        So ``min_child_samples`` becomes ``min_data_in_leaf`` for an objective of LightGBM's own
        interface.
        """
        found = self.other_names(names, self.past_space) if self.library else {}
        return self.with_aliases({past: name for name, past in found.items()})

    def other_names(self, names: Iterable[str], known: Container[str]) -> dict[str, str]:
        """Return the parameters of a shipped past that an objective asks for by another name.

        Args:
            names: The names of the objective's parameters.
            known: The names of the past's parameters.

        Returns:
            The past's name by the objective's.
        """
        asked = list(dict.fromkeys(names))
        found: dict[str, str] = {}
        for name in asked:
            past = past_name(self.library, name) if self.library and name not in known else None
            if past and past in known and past not in asked and past not in found.values():
                found[name] = past
        return found

    def sharing(self, names: Iterable[str]) -> History:
        """Keep the studies that share a parameter with ``names``, or all if no study does."""
        wanted = set(names)
        kept = tuple(s for s in self.studies if s.is_target or not wanted.isdisjoint(s.space))
        if all(study.is_target for study in kept):
            return self
        reason = "it has no parameter that your objective asks for"
        ids = set(map(id, kept))
        dropped = [study for study in self.studies if id(study) not in ids]
        return replace(
            self,
            studies=kept,
            left_out={**self.left_out, **{study.name: reason for study in dropped}},
            unrelated=tuple(dropped),
        )


def read_past(
    study: Study,
    source: Source | None,
    names: Sequence[str] | None,
    aliases: Mapping[str, str] | None = None,
    *,
    is_sampling: bool = False,
) -> History:
    """Read the past studies for ``study`` from ``source``, by default its own storage.

    Trials of past studies that finished after the first sampler of this study has read them are
    left out, so that a study that is continued, or has several workers, has a single past. It is
    stored in a system attribute of ``study``. If past studies were deleted, or are in another
    storage than before, all finished trials are read.

    Args:
        study: The study being optimized.
        source: The storage with the past studies.
        names: The studies to read; all if ``None``.
        aliases: The present names of past parameters, by past name.
        is_sampling: Whether to store what is read as the past of the study, unless that is done.

    Raises:
        HistoryError: The source cannot be read.
    """
    # Optuna keeps two connections to a database open, so that this would be the third.
    if source is None or source == database_url(storage_of(study)):
        source = storage_of(study)
    elif source is not storage_of(study):
        close_idle_connections(storage_of(study))
    with open_source(source) as storage, reading_lock(storage):
        own_id = read_storage(storage, find_study, study, storage)
        rows = list_studies(storage)
        others = [row for row in rows if row.study_id != own_id]
        snapshot = find_snapshot(study, storage, others)
        taken = take_snapshot(storage, others) if is_sampling and snapshot is None else None
        history = _read_rows(storage, rows, own_id, names, aliases, snapshot or taken or NOW)
        if taken is not None and history.studies:
            store_snapshot(study, taken, storage, others)
        library = storage.library if isinstance(storage, ShippedPast) else None
    return replace(history, is_own_storage=own_id == study_id_of(study), library=library)


def with_own_trials(
    history: History, study: Study, before: int | None = None, without: Collection[int] = ()
) -> History:
    """Add the trials of ``study``.

    Args:
        history: The past studies.
        study: The study being optimized.
        before: Only trials with a lower number are added; all if ``None``.
        without: The numbers of unfinished trials to leave out.
    """
    trials = [t for t in all_trials(study) if before is None or t.number < before]
    finished = [trial for trial in trials if trial.state.is_finished()]
    unfinished = [trial for trial in trials if not trial.state.is_finished()]
    studies = history.studies
    try:
        scored = score_study(study.study_name, study.direction, finished)
        studies += (replace(scored, meta_features=own_features(study), is_target=True),)
    except HistoryError:  # too few trials to rank, but their values are known
        pass
    complete = [trial for trial in finished if trial.state is TrialState.COMPLETE]
    return replace(
        history,
        studies=studies,
        target_space=merge_spaces(trial.distributions for trial in finished),
        tried=tuple((t.params, t.values[0] if is_feasible_own(t) else None) for t in complete),
        unfinished=tuple(trial for trial in unfinished if trial.number not in without),
    )


def own_features(study: Study) -> dict[str, float | int | str]:
    """Return the meta-features among a study's own user attributes.

    Raises:
        HistoryError: They cannot be read.
    """
    storage = storage_of(study)
    attributes = read_storage(storage, storage.get_study_user_attrs, study_id_of(study))
    return scalar_features(attributes)


def read_history(
    storage: BaseStorage,
    *,
    names: Sequence[str] | None = None,
    exclude: str | None = None,
    aliases: Mapping[str, str] | None = None,
) -> History:
    """Read the past studies of a storage.

    Args:
        storage: The storage to read; nothing is written to it.
        names: The studies to read; all if ``None``. Those that do not exist are named in
            :attr:`History.problems`.
        exclude: The name of a study to skip, such as the target study.
        aliases: The present names of past parameters, by past name.

    Raises:
        HistoryError: The storage cannot be read. A study that cannot be read is left out, unless
            that is true of all.
    """
    with reading_lock(storage):
        rows = list_studies(storage)
        excluded = next((row.study_id for row in rows if row.name == exclude), None)
        return _read_rows(storage, rows, excluded, names, aliases, NOW)


def _read_rows(
    storage: BaseStorage,
    rows: Sequence[StudyRow],
    excluded: int | None,
    names: Sequence[str] | None,
    aliases: Mapping[str, str] | None,
    snapshot: Snapshot,
) -> History:
    present = {row.name: row for row in rows}
    problems = describe_unknown(names or (), present, storage)
    named = present.keys() if names is None else set(names)
    wanted = [row for row in rows if row.study_id != excluded and row.name in named]
    reading = read_studies(storage, wanted, snapshot)
    if reading.unreadable:
        reasons = {name: reading.left_out[name] for name in reading.unreadable}
        _report_unreadable(reasons, len(wanted), storage)
    history = History(tuple(reading.studies), reading.left_out, problems=problems)
    return history.with_aliases(aliases or {})


def _report_unreadable(reasons: Mapping[str, str], n_wanted: int, storage: BaseStorage) -> None:
    """Warn of damaged studies; raise :class:`HistoryError` if no study can be read."""
    shown = "; ".join(f"{name!r}: {reason}" for name, reason in list(reasons.items())[:3])
    place = describe_storage(storage)
    if len(reasons) == n_wanted:
        raise HistoryError(
            f"No past study in {place} can be read ({shown}). Check that the storage is intact."
        )
    _warn_once(f"{len(reasons)} of {n_wanted} past studies in {place} cannot be used. {shown}.")


@lru_cache(maxsize=1_000)
def _warn_once(message: str) -> None:
    # The same studies are read by the samplers of each trial, by reports and by commands.
    _logger.warning(message)


def study_names(storage: BaseStorage) -> list[str]:
    """Return the names of all studies, also of those that cannot be read.

    Raises:
        HistoryError: The storage cannot be read.
    """
    return [row.name for row in list_studies(storage)]


def describe_unknown(
    names: Sequence[str],
    present: Iterable[str],
    storage: BaseStorage,
    argument: str = "source_study_names",
) -> tuple[str, ...]:
    """Return a sentence on the studies named in ``argument`` that are not in the storage."""
    if not (missing := unknown_names(names, present)):
        return ()
    return (
        f"{describe_storage(storage)} has no study {missing}. "
        f"It has: {', '.join(map(repr, sorted(present)[:20])) or 'no study at all'}. "
        f"Check `{argument}`.",
    )


def rename_study(study: PastStudy, aliases: Mapping[str, str]) -> PastStudy:
    """Return a past study with the present names of its parameters.

    Raises:
        UnusableStudyError: Two parameters of a trial would have the same name.
    """
    if study.space.keys().isdisjoint(aliases):
        return study
    _, trials = _rename_trials(study.trials, tuple(sorted(aliases.items())))
    space = merge_spaces({aliases.get(n, n): dist} for n, dist in study.space.items())
    return replace(study, space=space, trials=trials)


@cached(
    LRUCache(MAX_STUDIES),
    key=lambda trials, aliases: (id(trials), aliases),  # safe: the trials are kept in the result
    lock=ForkLock(),
)
def _rename_trials(
    trials: tuple[PastTrial, ...], aliases: tuple[tuple[str, str], ...]
) -> tuple[tuple[PastTrial, ...], tuple[PastTrial, ...]]:
    """Return the trials as they are, and renamed: meta-learners are cached by their id."""
    names = dict(aliases)
    renamed = tuple(replace(trial, params=rename(trial.params, names)) for trial in trials)
    return trials, renamed

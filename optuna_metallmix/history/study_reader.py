"""Read the past studies of any storage, within bounds, and remember them for the next reader.

A meta-learner needs some hundreds of trials; a storage may have millions. So the number of
studies, of trials a study and of values in total is bounded. Each study is read and ranked once
in a process as long as its finished trials stay the same, also through another storage object for
the same address.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Any
from typing import TypeAlias
from typing import TypeVar
from weakref import WeakKeyDictionary

from cachetools import LRUCache
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_metallmix.errors import HistoryError
from optuna_metallmix.fork_lock import ForkLock
from optuna_metallmix.history.meta_features import scalar_features
from optuna_metallmix.history.rdb_reader import FINISHED
from optuna_metallmix.history.rdb_reader import NOW
from optuna_metallmix.history.rdb_reader import Request
from optuna_metallmix.history.rdb_reader import Snapshot
from optuna_metallmix.history.rdb_reader import StudyRow
from optuna_metallmix.history.rdb_reader import Summary
from optuna_metallmix.history.rdb_reader import cannot_read
from optuna_metallmix.history.rdb_reader import read_foreign
from optuna_metallmix.history.rdb_reader import read_tables
from optuna_metallmix.history.rdb_reader import select_snapshot
from optuna_metallmix.history.rdb_reader import select_studies
from optuna_metallmix.history.rdb_reader import select_summaries
from optuna_metallmix.history.rdb_reader import select_trials
from optuna_metallmix.history.scores import NO_COMPLETE
from optuna_metallmix.history.scores import PastStudy
from optuna_metallmix.history.scores import UnreadableStudyError
from optuna_metallmix.history.scores import UnusableStudyError
from optuna_metallmix.history.scores import sample_trials
from optuna_metallmix.history.scores import score_study
from optuna_metallmix.history.scores import sign_of
from optuna_metallmix.optuna_access import PREFERENTIAL_ATTR
from optuna_metallmix.optuna_access import FrozenStudy
from optuna_metallmix.optuna_access import location_of
from optuna_metallmix.optuna_access import plain_rdb_engine
from optuna_metallmix.optuna_access import study_id_of
from optuna_metallmix.optuna_access import trial_id_of
from optuna_metallmix.progress import progress_bar


_T = TypeVar("_T")

BEYOND_BOUNDS = "beyond the bounds"
"""The entry of :attr:`History.left_out` for all studies and trials that are too many."""
MAX_STUDIES = 1_000
MAX_TRIALS = 300
"""Maximum number of trials of a study."""
MAX_ROWS = 40_000
"""Maximum number of trials of all studies, unless they have fewer than 20 each."""
MAX_CELLS = 800_000
"""Maximum number of parameter values of all studies: 60 studies of 300 trials with 40 parameters
are below it, and take 0.1 GB."""
MIN_TRIALS = 10
"""Studies with fewer finished trials come last."""
_MAX_BATCH = 100_000
"""Number of parameter values, and of trials without them, that are read at once."""
_MAX_BATCH_TRIALS = 5_000
"""Number of trials whose parameters are read at once."""


@dataclass(frozen=True)
class Reading:
    """What was read of the studies of a storage.

    Attributes:
        studies: The usable studies, in the order of the storage.
        left_out: The reason for each study that is not used, by its name; those that exceed the
            bounds share an entry.
        unreadable: Names of the studies among these that cannot be read.
    """

    studies: list[PastStudy] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)


Outcome: TypeAlias = PastStudy | UnusableStudyError
"""A ranked study, or why it is not used."""


class _Ranked(LRUCache[Hashable, Outcome]):
    """The studies of a storage that were ranked, and the lock of who reads them."""

    def __init__(self) -> None:
        super().__init__(2 * MAX_CELLS, getsizeof=_size)  # room for a past that changes
        self.lock = ForkLock()


def _size(outcome: Outcome) -> int:
    """Return the number of values in memory, and some for the study itself."""
    return 10 + (_n_cells(outcome) if isinstance(outcome, PastStudy) else 0)


def _n_cells(study: PastStudy) -> int:
    return sum(len(trial.params) for trial in study.trials)


_RANKED: LRUCache[str, _Ranked] = LRUCache(4)
"""The ranked studies by the address of their storage."""
_RANKED_IN_MEMORY: WeakKeyDictionary[BaseStorage, _Ranked] = WeakKeyDictionary()
_LOCK = ForkLock()


def _ranked_studies(storage: BaseStorage) -> _Ranked:
    location = location_of(storage)
    with _LOCK:
        if location is None:
            return _RANKED_IN_MEMORY.setdefault(storage, _Ranked())
        return _RANKED.setdefault(location, _Ranked())


def reading_lock(storage: BaseStorage) -> ForkLock:
    """Return the lock of who reads the studies at this address.

    Who waits for it finds them in memory, and a process has one connection to read them.
    """
    return _ranked_studies(storage).lock


def list_studies(storage: BaseStorage) -> list[StudyRow]:
    """Return all studies in the order of the storage, also those that cannot be read.

    Raises:
        HistoryError: The storage cannot be read.
    """
    rows = read_tables(storage, select_studies)
    if rows is None:
        rows = [_study_row(study) for study in read_storage(storage, storage.get_all_studies)]
    return rows


def _study_row(study: FrozenStudy) -> StudyRow:
    is_preferential = bool(study.system_attrs.get(PREFERENTIAL_ATTR))
    return StudyRow(
        study.study_name,
        study_id_of(study),
        study.directions,
        study.user_attrs,
        is_preferential,
    )


def read_storage(storage: BaseStorage, call: Callable[..., _T], *args: Any) -> _T:
    """Call a method that reads a storage.

    Raises:
        HistoryError: The call failed. Storages may be third-party code, or files and servers on
            other machines, so any exception means that the past studies cannot be read.
    """
    try:
        return call(*args)
    except Exception as error:
        raise HistoryError(cannot_read(storage, error)) from error


def read_studies(
    storage: BaseStorage, rows: Sequence[StudyRow], snapshot: Snapshot = NOW
) -> Reading:
    """Read and rank studies, or take those from memory that have no new trials.

    Args:
        storage: The storage to read; the caller has its :func:`reading_lock`.
        rows: The studies to read.
        snapshot: The finished trials to read; by default all.

    Raises:
        HistoryError: The database cannot be reached.
    """
    return _Reader(storage, snapshot, _ranked_studies(storage)).read(rows)


def take_snapshot(storage: BaseStorage, rows: Sequence[StudyRow]) -> Snapshot:
    """Return which trials of a storage are finished now.

    Raises:
        HistoryError: The database cannot be reached.
    """
    snapshot = read_tables(storage, select_snapshot)
    if snapshot is not None:
        return snapshot
    trials = [trial for row in rows for trial in _all_trials(storage, row)]
    unfinished = [trial_id_of(trial) for trial in trials if not trial.state.is_finished()]
    return Snapshot(max(map(trial_id_of, trials), default=-1), frozenset(unfinished))


def _all_trials(storage: BaseStorage, row: StudyRow) -> Sequence[FrozenTrial]:
    try:
        return read_foreign(storage.get_all_trials, row.study_id, deepcopy=False)
    except UnreadableStudyError:  # reported when it is read
        return ()


def count_finished(
    storage: BaseStorage, rows: Sequence[StudyRow], snapshot: Snapshot
) -> dict[str, int] | None:
    """Return how many trials of a snapshot each study has, by its name; those with none are left
    out. ``None`` if a study cannot be read.

    Raises:
        HistoryError: The database cannot be reached.
    """
    summaries = summarize(storage, rows, snapshot)
    sizes: dict[str, int] = {}
    for row in rows:
        summary = summaries.get(row.study_id)
        if isinstance(summary, UnreadableStudyError):
            return None
        if summary is not None and summary.n_finished:
            sizes[row.name] = summary.n_finished
    return sizes


def summarize(
    storage: BaseStorage, rows: Sequence[StudyRow], snapshot: Snapshot
) -> Mapping[int, Summary | UnreadableStudyError]:
    """Return the size of each study that has finished trials, or why it is unknown."""
    found = read_tables(storage, select_summaries, snapshot)
    if found is not None:
        return found
    summaries: dict[int, Summary | UnreadableStudyError] = {}
    for row in rows:
        try:
            trials = _finished_trials(storage, row.study_id, snapshot)
        except UnreadableStudyError as error:
            summaries[row.study_id] = error
        else:
            summaries[row.study_id] = _summary_of(row.study_id, trials)
    return summaries


def _finished_trials(storage: BaseStorage, study_id: int, snapshot: Snapshot) -> list[FrozenTrial]:
    trials = read_foreign(storage.get_all_trials, study_id, deepcopy=False, states=FINISHED)
    return [trial for trial in trials if trial_id_of(trial) in snapshot]


def _summary_of(study_id: int, trials: Sequence[FrozenTrial]) -> Summary:
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    latest = max(complete, key=trial_id_of, default=None)
    newest = max(map(trial_id_of, trials), default=None)
    shown = latest and repr((latest.datetime_complete, latest.values, latest.params))
    key = (study_id, len(trials), len(complete), newest, shown)
    return Summary(len(trials), len(complete), len(latest.params) if latest else 0, key)


@dataclass(frozen=True)
class _Wanted:
    """A study to read, in a form that depends on the bounds."""

    row: StudyRow
    summary: Summary
    limit: int

    @property
    def request(self) -> Request:
        return Request(self.row.study_id, sign_of(self.row.directions[0]), self.limit)

    @property
    def key(self) -> Hashable:
        return self.row.name, self.row.directions[0], self.n_trials, self.summary.key

    @property
    def n_trials(self) -> int:
        return min(self.summary.n_finished, self.limit)

    @property
    def n_cells(self) -> int:
        """The number of values to read, if all trials have as many as the latest."""
        return self.n_trials * self.summary.n_params


@dataclass(frozen=True)
class _Reader:
    """Reads studies, and remembers them in ``ranked``."""

    storage: BaseStorage
    snapshot: Snapshot
    ranked: _Ranked

    def read(self, rows: Sequence[StudyRow]) -> Reading:
        """Read studies within the bounds."""
        outcomes: dict[int, Outcome] = {}
        usable: list[_Wanted] = []
        summaries = summarize(self.storage, rows, self.snapshot)
        for row in rows:
            try:
                usable.append(_Wanted(row, self._check(row, summaries), MAX_TRIALS))
            except UnusableStudyError as error:
                outcomes[row.study_id] = error
        read = self._outcomes(_choose(usable))
        outcomes.update((wanted.row.study_id, outcome) for wanted, outcome in read)
        reading = _collect(rows, outcomes)
        reading.left_out.update(_describe_bounds(usable, [wanted for wanted, _ in read]))
        return reading

    def _check(
        self, row: StudyRow, summaries: Mapping[int, Summary | UnreadableStudyError]
    ) -> Summary:
        """Return the size of a study; raise UnusableStudyError if it cannot be used."""
        if row.problem:
            raise UnreadableStudyError(row.problem)
        if row.is_preferential:
            raise UnusableStudyError("preferential studies have no objective values")
        if len(row.directions) > 1:
            n = len(row.directions)
            raise UnusableStudyError(f"multi-objective studies cannot be ranked ({n} objectives)")
        if not row.directions or row.directions[0] is StudyDirection.NOT_SET:
            raise UnusableStudyError("it has no direction, minimize or maximize")
        summary = summaries.get(row.study_id)
        if isinstance(summary, UnreadableStudyError):
            raise summary
        if summary is None or not summary.n_complete:
            later = "it had no complete trial when this study began"
            raise UnusableStudyError(later if self.snapshot.is_earlier else NO_COMPLETE)
        return summary

    def _outcomes(self, wanted: Sequence[_Wanted]) -> list[tuple[_Wanted, Outcome]]:
        """Read studies in this order, until their values are too many."""
        outcomes: list[tuple[_Wanted, Outcome]] = []
        size = 0
        for batch in progress_bar(_batches(wanted), "Reading past studies", "batch"):
            if size > MAX_CELLS:
                break
            known = [self.ranked.get(study.key) for study in batch]
            fresh = self._rank([s for s, k in zip(batch, known, strict=True) if k is None])
            read = [next(fresh) if outcome is None else outcome for outcome in known]
            outcomes += zip(batch, read, strict=True)
            size += sum(map(_size, read))
        return self._remember(outcomes)

    def _rank(self, wanted: Sequence[_Wanted]) -> Iterator[Outcome]:
        """Read studies from the storage and rank them."""
        found: Mapping[int, Sequence[FrozenTrial]] = {}
        if wanted:
            found = self._read_tables([study.request for study in wanted])
        for study in wanted:
            trials = found.get(study.row.study_id)
            try:
                if trials is None:
                    trials = self._read_by_optuna(study)
                yield score_study(study.row.name, study.row.directions[0], trials)
            except UnusableStudyError as error:
                yield type(error)(str(error))  # without its traceback, which holds the trials

    def _read_tables(self, requests: Sequence[Request]) -> Mapping[int, Sequence[FrozenTrial]]:
        """Read studies from tables; those that cannot be are left to Optuna."""
        found = read_tables(self.storage, select_trials, requests, self.snapshot)
        if found is not None or len(requests) == 1:
            return found or {}
        singly: dict[int, Sequence[FrozenTrial]] = {}
        if plain_rdb_engine(self.storage) is not None:  # one of them may be damaged
            for request in requests:
                singly.update(self._read_tables([request]))
        return singly

    def _read_by_optuna(self, study: _Wanted) -> Sequence[FrozenTrial]:
        study_id, sign, limit = study.request
        trials = _finished_trials(self.storage, study_id, self.snapshot)
        return sample_trials(trials, sign, limit)

    def _remember(
        self, outcomes: Sequence[tuple[_Wanted, Outcome]]
    ) -> list[tuple[_Wanted, Outcome]]:
        """Remember what was read, unless it has changed or was deleted meanwhile."""
        if all(study.key in self.ranked for study, _ in outcomes):
            return list(outcomes)
        rows = [study.row for study, _ in outcomes]
        summaries = summarize(self.storage, rows, self.snapshot)
        checked: list[tuple[_Wanted, Outcome]] = []
        for study, outcome in outcomes:
            summary = summaries.get(study.row.study_id)
            if summary is None or isinstance(summary, UnreadableStudyError):
                outcome = summary or UnreadableStudyError("it was deleted while it was read")
            elif summary == study.summary and _is_kept(outcome, self.ranked):
                self.ranked[study.key] = outcome
            checked.append((study, outcome))
        return checked


def _is_kept(outcome: Outcome, ranked: _Ranked) -> bool:
    return not isinstance(outcome, UnreadableStudyError) and _size(outcome) < ranked.maxsize


def _choose(usable: Sequence[_Wanted]) -> list[_Wanted]:
    """Return the studies to read within the bounds, the most useful first."""
    order = sorted(usable, key=lambda study: study.row.study_id, reverse=True)
    order.sort(key=lambda study: study.summary.n_finished < MIN_TRIALS)
    chosen = order[:MAX_STUDIES]
    for limit in _limits():
        chosen = [replace(study, limit=limit) for study in chosen]
        n_trials = sum(study.n_trials for study in chosen)
        if n_trials <= MAX_ROWS and sum(study.n_cells for study in chosen) <= MAX_CELLS:
            break
    return chosen


def _limits() -> Iterator[int]:
    """Yield numbers of trials of a study, the first that is within the bounds is used.

    They are few: all studies are read again when a storage that grows needs the next one.
    """
    limit = MAX_TRIALS
    while limit > 2 * MIN_TRIALS:
        yield limit
        limit = limit * 4 // 5
    yield min(MAX_TRIALS, 2 * MIN_TRIALS)


def _batches(wanted: Sequence[_Wanted]) -> list[list[_Wanted]]:
    """Divide studies into parts that fit into memory, even if later trials have more values."""
    batches: list[list[_Wanted]] = []
    filled = 1.0
    for study in wanted:
        share = max(
            study.n_cells / _MAX_BATCH,
            study.summary.n_finished / _MAX_BATCH,
            study.n_trials / _MAX_BATCH_TRIALS,
        )
        filled += share
        if filled > 1:
            batches.append([])
            filled = share
        batches[-1].append(study)
    return batches


def _collect(rows: Sequence[StudyRow], outcomes: Mapping[int, Outcome]) -> Reading:
    reading = Reading()
    for row in rows:
        outcome = outcomes.get(row.study_id)
        if isinstance(outcome, PastStudy):
            features = scalar_features(row.user_attrs)
            study = replace(outcome, meta_features=features, study_id=row.study_id)
            reading.studies.append(study)
        elif outcome is not None:
            reading.left_out[row.name] = str(outcome)
            reading.unreadable.extend([row.name] * isinstance(outcome, UnreadableStudyError))
    return reading


def _describe_bounds(usable: Sequence[_Wanted], read: Sequence[_Wanted]) -> dict[str, str]:
    """Return an entry for the studies and trials beyond the bounds, if there are any."""
    n_studies = len(usable) - len(read)
    n_trials = sum(study.summary.n_finished - study.n_trials for study in read)
    if not (n_studies or n_trials):
        return {}
    counts = [(n_studies, "study", "studies"), (n_trials, "trial", "trials")]
    parts = [f"{n:,} {one if n == 1 else many}" for n, one, many in counts if n]
    verb = "is" if n_studies + n_trials == 1 else "are"
    limit = min(study.limit for study in read)
    return {
        BEYOND_BOUNDS: f"{' and '.join(parts)} {verb} not used, as at most {MAX_STUDIES:,} past "
        f"studies with {limit} trials each, {MAX_ROWS:,} trials and {MAX_CELLS:,} parameter "
        f"values are read: the latest studies of {MIN_TRIALS} trials or more come first, then the "
        "latest smaller ones; "
        "of a large study the best trials are read, and others from good to bad"
    }
